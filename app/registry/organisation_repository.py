"""Queries and locks organisations and API keys.

Functions with the parameter `visible` find only rows in that tenant scope. The caller decides and commits.
Also creates the platform's organisation with its first API key, and counts what blocks the deletion of an
organisation.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    column,
    func,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.database import WriteSession
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    uuid_sort_key,
)
from app.platform.identity.api_keys import ApiKey
from app.platform.identity.caller_authentication import ALL_SCOPES
from app.platform.kernel.errors import ConflictError, NotFoundError
from app.platform.kernel.ids import new_id, parse_id
from app.platform.kernel.secret_tokens import hash_key, make_key_hint
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Organisation, Site

# Ids are UUIDv7, in the order of creation: `created_at` needs no column of its own.
ORGANISATIONS: Final = SortOrders(
    "organisations",
    (uuid_sort_key(Organisation.id),),
    {"created_at": (), "name": (name_sort_key(Organisation.name),)},
    "created_at",
)
API_KEYS: Final = SortOrders(
    "api_keys",
    (uuid_sort_key(ApiKey.id),),
    {
        "created_at": (),
        "name": (name_sort_key(ApiKey.name),),
        "last_used_at": (instant_sort_key(ApiKey.last_used_at, nullable=True),),
        "expires_at": (instant_sort_key(ApiKey.expires_at, nullable=True),),
    },
    "created_at",
)


def contains_ignoring_case(column: SQLColumnExpression[Any], part: str) -> ColumnElement[bool]:
    """Make the condition that a text contains a part, case-insensitive."""
    return func.strpos(func.lower(column), part.lower()) > 0


async def find_organisation(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> Organisation | None:
    """Find an organisation.

    Args:
        session: The session.
        identifier: The organisation's id.
        visible: The caller's tenant scope.
        lock: Lock the row until the transaction ends. Other rows may still be inserted that refer to it.
    """
    statement = select(Organisation).where(Organisation.id == identifier)
    statement = statement.where(*visible.within(Organisation.id))
    return await session.scalar(statement.with_for_update(key_share=True) if lock else statement)


async def get_organisation(
    session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False
) -> Organisation:
    """Get an organisation.

    Args:
        session: The session.
        identifier: The organisation's id, as in the path.
        visible: The caller's tenant scope.
        lock: As in `find_organisation`.

    Raises:
        NotFoundError: The organisation does not exist, or is outside the tenant scope.
    """
    row = await find_organisation(session, parse_id(identifier, "organisation"), visible, lock=lock)
    if row is None:
        raise NotFoundError("organisation", identifier)
    return row


async def list_organisations(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    kind: str | None,
    parent: UUID | None,
    search: str | None,
) -> Sequence[Organisation]:
    """List organisations: a page and one more row.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        kind: Only organisations of this kind.
        parent: Only clients of this organisation.
        search: A part of the name, case-insensitive.
    """
    statement = select(Organisation).where(*visible.within(Organisation.id))
    if kind is not None:
        statement = statement.where(Organisation.kind == kind)
    if parent is not None:
        statement = statement.where(Organisation.parent_id == parent)
    if search is not None:
        statement = statement.where(contains_ignoring_case(Organisation.name, search))
    return (await session.scalars(ORGANISATIONS.page(statement, page_request))).all()


async def list_client_ids(session: AsyncSession, parent: UUID) -> Sequence[UUID]:
    """List the ids of an organisation's clients."""
    return (await session.scalars(select(Organisation.id).where(Organisation.parent_id == parent))).all()


def _keys(visible: TenantScope, *, revoked: bool) -> Select[ApiKey]:
    statement = select(ApiKey).where(
        ApiKey.revoked_at.is_not(None) if revoked else ApiKey.revoked_at.is_(None)
    )
    return statement.where(*visible.within(ApiKey.organisation_id))


async def find_api_key(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> ApiKey | None:
    """Find an API key that is not revoked.

    Args:
        session: The session.
        identifier: The key's id.
        visible: The caller's tenant scope.
        lock: Lock the row until the transaction ends.
    """
    statement = _keys(visible, revoked=False).where(ApiKey.id == identifier)
    return await session.scalar(statement.with_for_update(key_share=True) if lock else statement)


async def list_api_keys(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    organisation: UUID | None,
    revoked: bool,
    search: str | None,
) -> Sequence[ApiKey]:
    """List API keys: a page and one more row.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        organisation: Only keys of this organisation.
        revoked: List revoked keys instead of keys in use.
        search: A part of the name, case-insensitive.
    """
    statement = _keys(visible, revoked=revoked)
    if organisation is not None:
        statement = statement.where(ApiKey.organisation_id == organisation)
    if search is not None:
        statement = statement.where(contains_ignoring_case(ApiKey.name, search))
    return (await session.scalars(API_KEYS.page(statement, page_request))).all()


async def bootstrap_platform(session: WriteSession, key: str | None, now: datetime) -> None:
    """Create the platform's organisation and its first administrator key, unless they exist.

    Several processes may run it concurrently. A key that was revoked stays revoked. After the first start it
    writes nothing.
    """
    the_platforms = select(Organisation.id).where(Organisation.platform)
    platform_id = await session.scalar(the_platforms)
    if platform_id is None:
        await session.execute(
            insert(Organisation)
            .values(
                id=new_id(), name="Platform", platform=True, kind="platform", created_at=now, updated_at=now
            )
            .on_conflict_do_nothing()
        )
        platform_id = (await session.scalars(the_platforms)).one()
    if (
        key is not None
        and await session.scalar(select(ApiKey.id).where(ApiKey.hash == hash_key(key))) is None
    ):
        await session.execute(
            insert(ApiKey)
            .values(
                id=new_id(),
                organisation_id=platform_id,
                name="bootstrap",
                hint=make_key_hint(key),
                hash=hash_key(key),
                scopes=[ALL_SCOPES],
                platform=True,
                created_at=now,
            )
            .on_conflict_do_nothing()
        )


# A table of `app.notifications`, a higher layer: only counted here.
_ENDPOINTS: Final = table("webhook_endpoints", column("organisation_id"), column("kind"))
_WEBHOOK: Final = "webhook"


class _Blocker(NamedTuple):
    """A kind of rows that block the deletion of an organisation: singular, plural, and the remedy."""

    singular: str
    plural: str
    remedy: str


# In the order in which they can be deleted. Rules and alerts belong to sites and are deleted with them.
_BLOCKERS: Final[Mapping[str, _Blocker]] = {
    "clients": _Blocker("client", "clients", "delete its clients, each in the same way"),
    "boxes": _Blocker("box", "boxes", "delete its boxes"),
    "deleted_boxes": _Blocker(
        "deleted box whose samples are being removed",
        "deleted boxes whose samples are being removed",
        "wait until those samples are removed, which takes some minutes",
    ),
    "sites": _Blocker("site", "sites", "delete its sites, after the rules of each site"),
    "webhooks": _Blocker("webhook", "webhooks", "delete its webhooks"),
    "channels": _Blocker("channel", "channels", "delete its channels"),
}


def _number(of: type[Any] | FromClause, *where: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(of).where(*where).scalar_subquery()


async def count_deletion_blockers(session: AsyncSession, organisation_id: UUID) -> dict[str, int]:
    """Count the rows in the caller's tenant scope that block the deletion of an organisation, by kind.

    Kinds without rows are left out.
    """
    own_box = Box.organisation_id == organisation_id
    own_endpoint = _ENDPOINTS.c.organisation_id == organisation_id
    counts = {
        "clients": _number(Organisation, Organisation.parent_id == organisation_id),
        "boxes": _number(Box, own_box, Box.deleted_at.is_(None)),
        "deleted_boxes": _number(Box, own_box, Box.deleted_at.is_not(None)),
        "sites": _number(Site, Site.organisation_id == organisation_id),
        "webhooks": _number(_ENDPOINTS, own_endpoint, _ENDPOINTS.c.kind == _WEBHOOK),
        "channels": _number(_ENDPOINTS, own_endpoint, _ENDPOINTS.c.kind != _WEBHOOK),
    }
    found = await session.execute(select(*(count.label(kind) for kind, count in counts.items())))
    return {str(kind): number for kind, number in found.mappings().one().items() if number}


def make_not_empty_error(remaining: Mapping[str, int]) -> ConflictError:
    """Make the error of a blocked deletion. `remaining` is empty if the blockers are new or not visible."""
    if remaining:
        items = ", ".join(
            f"{number} {_BLOCKERS[kind].singular if number == 1 else _BLOCKERS[kind].plural}"
            for kind, number in remaining.items()
        )
        steps = "; ".join(_BLOCKERS[kind].remedy for kind in remaining)
        detail = f"The organisation still has {items}. First {steps}."
    else:
        detail = (
            "The organisation still has items that were just added, or that you cannot see. Delete its "
            "clients, boxes, sites, webhooks and channels, then try again."
        )
    return ConflictError(detail, code="organisation_not_empty", extra={"remaining": dict(remaining)})
