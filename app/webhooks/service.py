"""What happens when endpoints are made, changed and tested. Works inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from app.core.auth import Principal
from app.core.database import WriteSession
from app.core.errors import ConflictError, NotFoundError
from app.core.fields import given
from app.core.ids import new_id
from app.core.sealing import Sealer
from app.sites.repository import hold_sites
from app.sites.service import named_organisation
from app.webhooks import groups, repository
from app.webhooks.event_types import TEST_EVENT
from app.webhooks.guard import check_url
from app.webhooks.models import Endpoint
from app.webhooks.outbox import OutboxRecord, enqueue_in
from app.webhooks.schemas import EndpointChange, EndpointCreate
from app.webhooks.secrets import seal_secret
from app.webhooks.signing import generate_secret


async def add_endpoint(
    session: WriteSession,
    principal: Principal,
    wanted: EndpointCreate,
    *,
    allow_private: bool,
    sealer: Sealer,
    now: datetime,
) -> tuple[Endpoint, str]:
    """Make an endpoint, with a new secret, which is given too.

    Raises:
        InvalidError: `webhook_url_not_allowed`, `foreign_organisation`.
        NotFoundError: The organisation, or one of the sites in it, does not exist.
    """
    check_url(wanted.url, allow_private=allow_private)
    owner = await named_organisation(session, principal, wanted.organisation_id)
    await _check_sites(session, wanted.site_ids, owner.id)
    identifier, secret = new_id(), generate_secret()
    endpoint = Endpoint(
        id=identifier,
        organisation_id=owner.id,
        url=wanted.url,
        description=wanted.description,
        events=wanted.events,
        site_ids=wanted.site_ids,
        grouping=wanted.grouping.model_dump() if wanted.grouping else None,
        secret=seal_secret(sealer, identifier, secret),
        enabled=wanted.enabled,
        created_at=now,
        updated_at=now,
    )
    session.add(endpoint)
    await session.flush()
    return endpoint, secret


async def change_endpoint(
    session: WriteSession,
    endpoint: Endpoint,
    change: EndpointChange,
    *,
    allow_private: bool,
    now: datetime,
) -> None:
    """Change what is given of an endpoint (errors as for a new one).

    Where its grouping becomes another one, what waits is due at once, as it was put together.

    Args:
        session: The transaction.
        endpoint: Locked.
        change: What is given.
        allow_private: Whether http and private addresses are taken.
        now: The time of the change.
    """
    fields = given(change)
    if "url" in fields:
        check_url(change.url, allow_private=allow_private)
    if "site_ids" in fields:
        await _check_sites(session, change.site_ids, endpoint.organisation_id)
    if "grouping" in fields:
        fields["grouping"] = change.grouping.model_dump() if change.grouping else None
        if fields["grouping"] != endpoint.grouping:
            await groups.flush(session, endpoint.id)
    for name, value in fields.items():
        setattr(endpoint, name, value)
    if fields:
        endpoint.updated_at = now
    await session.flush()


async def get_endpoint(
    session: WriteSession, identifier: UUID, principal: Principal, *, lock: bool = False
) -> Endpoint:
    """One endpoint that the caller may see (NotFoundError)."""
    endpoint = await repository.find_endpoint(session, identifier, principal.visible(), lock=lock)
    if endpoint is None:
        raise NotFoundError("webhook", identifier)
    return endpoint


async def send_test(session: WriteSession, endpoint: Endpoint, now: datetime) -> UUID:
    """Put a test event for one endpoint into the outbox; return the event's id.

    Raises:
        ConflictError: `endpoint_disabled`.
    """
    if not endpoint.enabled:
        raise ConflictError("The endpoint is disabled: enable it first.", code="endpoint_disabled")
    event = OutboxRecord(
        id=new_id(),
        organisation_id=endpoint.organisation_id,
        site_id=None,
        type=TEST_EVENT,
        payload={
            "endpoint_id": endpoint.id,
            "organisation_id": endpoint.organisation_id,
            "message": "A test event: whoever verifies its signature is ready for alerts.",
        },
        created_at=now,
    )
    await enqueue_in(session, [event])
    return event.id


async def _check_sites(session: WriteSession, site_ids: Sequence[UUID] | None, owner: UUID) -> None:
    """Refuse sites that are not the endpoint's own organisation's (NotFoundError)."""
    if site_ids is None:
        return
    found = await hold_sites(session, site_ids, owner)
    for site_id in site_ids:
        if site_id not in found:
            raise NotFoundError("site", site_id)
