"""Creates portal links, and finds the webhook that a token opens."""

from datetime import datetime, timedelta
from typing import Annotated, Final, NamedTuple
from uuid import UUID

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import func, select, update

from app.notifications.api.portal_schemas import LINK_PREFIX, PortalLinkCreate
from app.notifications.delivery.models import Endpoint, PortalLink
from app.platform.db.database import Database, ReadSession, WriteSession
from app.platform.http.contract.sorting import PageRequest, SortOrders, uuid_sort_key
from app.platform.kernel.errors import ConflictError, UnauthorisedError
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.secret_tokens import generate_key, hash_key, is_well_formed_key, make_key_hint
from app.platform.kernel.tenant_scope import (
    ScopedCaller,
    TenantScope,
    format_actor,
    run_as_caller,
    set_current_caller,
)

PORTAL_LINKS: Final = SortOrders(
    "portal-links", (uuid_sort_key(PortalLink.id),), {"created_at": ()}, "created_at"
)
"""The sort orders of portal links."""

MOST_LINKS: Final = 50
"""The most links of a webhook."""

_TOUCH_EVERY: Final = timedelta(minutes=1)
_bearer: Final = HTTPBearer(
    auto_error=False,
    scheme_name="PortalLink",
    description="The token of a portal link, `vgl_…`. Only calls below `/v1/portal` accept it.",
)


async def create_portal_link(
    session: WriteSession, endpoint: Endpoint, body: PortalLinkCreate, now: datetime
) -> tuple[PortalLink, str]:
    """Create a link, and return it with its token. The caller has locked the webhook.

    Raises:
        ConflictError: `too_many_links`.
    """
    present = select(func.count()).where(PortalLink.endpoint_id == endpoint.id)
    if (await session.execute(present)).scalar_one() >= MOST_LINKS:
        raise ConflictError(
            f"The webhook has {MOST_LINKS} portal links already. Delete one that is not needed any more.",
            code="too_many_links",
        )
    token = generate_key(LINK_PREFIX)
    row = PortalLink(
        id=new_id(),
        organisation_id=endpoint.organisation_id,
        endpoint_id=endpoint.id,
        name=body.name,
        hint=make_key_hint(token, LINK_PREFIX),
        token_hash=hash_key(token),
        created_at=now,
        expires_at=now + timedelta(seconds=parse_iso_duration(body.lifetime)),
    )
    session.add(row)
    await session.flush()
    return row, token


async def list_portal_links(session: ReadSession, endpoint_id: UUID, page: PageRequest) -> list[PortalLink]:
    """List the links of a webhook; one more than the page has, if there are more."""
    statement = select(PortalLink).where(PortalLink.endpoint_id == endpoint_id)
    return list((await session.scalars(PORTAL_LINKS.page(statement, page))).all())


class OpenedPortal(NamedTuple):
    """What a valid token opens.

    Attributes:
        link: The link.
        endpoint: Its webhook.
        scope: The tenant scope of the queries: the webhook's organisation.
    """

    link: PortalLink
    endpoint: Endpoint
    scope: TenantScope


async def open_portal(database: Database, token: str | None, now: datetime) -> OpenedPortal:
    """Find what a token opens, and set the caller of this task.

    Raises:
        UnauthorisedError: There is no token, or it opens nothing; `link_expired` if it has expired.
    """
    if token is None or not is_well_formed_key(token, LINK_PREFIX):
        raise UnauthorisedError("Send the token of a portal link: `Authorization: Bearer vgl_…`.")
    statement = (
        select(PortalLink, Endpoint)
        .join(Endpoint, Endpoint.id == PortalLink.endpoint_id)
        .where(PortalLink.token_hash == hash_key(token))
    )
    async with database.look_up() as session:
        found = (await session.execute(statement)).one_or_none()
    if found is None:
        raise UnauthorisedError("The link does not work any more. Ask whoever sent it for another one.")
    link, endpoint = found
    if link.expires_at <= now:
        raise UnauthorisedError(
            "The link has expired. Ask whoever sent it for another one.", code="link_expired"
        )
    scope = TenantScope.of([link.organisation_id])
    caller = ScopedCaller(scope, format_actor("portal_link", link.id, link.name), link.organisation_id)
    set_current_caller(caller)
    if link.last_used_at is None or now - link.last_used_at > _TOUCH_EVERY:
        with run_as_caller(caller):
            async with database.write(changes_access=False) as writer:
                await writer.execute(
                    update(PortalLink).where(PortalLink.id == link.id).values(last_used_at=now)
                )
    return OpenedPortal(link, endpoint, scope)


BearerToken = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
"""The token of a request below `/v1/portal`."""
