"""Queries on organisations, API keys and sites; `app.registry.box_repository` has those on boxes.

Every function takes what the caller may see: the id of an organisation, or None for all of them. What is
outside of it is not found. Nothing is decided here, and nothing committed.

The platform's own organisation, and the first administrator's key.

What keeps an organisation from being deleted: how much of it there is, and what to do first.
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
    exists,
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
from app.platform.identity.principals import ALL_SCOPES, ApiKey
from app.platform.kernel.api_keys import hash_key, make_key_hint
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.ids import new_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Organisation, Site

# Rules belong to a room above this one: only whether there are any matters here.
_RULES: Final = table("rules", column("site_id"), column("deleted_at"))

# Ids are made in the order of creation.
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
SITES: Final = SortOrders(
    "sites", (uuid_sort_key(Site.id),), {"created_at": (), "name": (name_sort_key(Site.name),)}, "created_at"
)


def contains_ignoring_case(column: SQLColumnExpression[Any], part: str) -> ColumnElement[bool]:
    """The condition that a part occurs in a text, in any case."""
    return func.strpos(func.lower(column), part.lower()) > 0


async def find_organisation(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> Organisation | None:
    """One organisation; with `lock` nobody else changes it, while what refers to it may come."""
    statement = select(Organisation).where(Organisation.id == identifier)
    statement = statement.where(*visible.within(Organisation.id))
    return await session.scalar(statement.with_for_update(key_share=True) if lock else statement)


async def list_organisations(
    session: AsyncSession,
    visible: TenantScope,
    asked: PageRequest,
    *,
    kind: str | None,
    parent: UUID | None,
    search: str | None,
) -> Sequence[Organisation]:
    """Organisations; `search` is a part of the name."""
    statement = select(Organisation).where(*visible.within(Organisation.id))
    if kind is not None:
        statement = statement.where(Organisation.kind == kind)
    if parent is not None:
        statement = statement.where(Organisation.parent_id == parent)
    if search is not None:
        statement = statement.where(contains_ignoring_case(Organisation.name, search))
    return (await session.scalars(ORGANISATIONS.page(statement, asked))).all()


async def list_client_ids(session: AsyncSession, parent: UUID) -> Sequence[UUID]:
    """The organisations whose parent this is."""
    return (await session.scalars(select(Organisation.id).where(Organisation.parent_id == parent))).all()


def _keys(visible: TenantScope, *, revoked: bool) -> Select[ApiKey]:
    statement = select(ApiKey).where(
        ApiKey.revoked_at.is_not(None) if revoked else ApiKey.revoked_at.is_(None)
    )
    return statement.where(*visible.within(ApiKey.organisation_id))


async def find_api_key(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> ApiKey | None:
    """One key that was not revoked; with `lock` nobody else changes it until the transaction ends."""
    statement = _keys(visible, revoked=False).where(ApiKey.id == identifier)
    return await session.scalar(statement.with_for_update(key_share=True) if lock else statement)


async def list_api_keys(
    session: AsyncSession,
    visible: TenantScope,
    asked: PageRequest,
    *,
    organisation: UUID | None,
    revoked: bool,
    search: str | None,
) -> Sequence[ApiKey]:
    """Keys: those in use, or those that were revoked; `search` is a part of the name."""
    statement = _keys(visible, revoked=revoked)
    if organisation is not None:
        statement = statement.where(ApiKey.organisation_id == organisation)
    if search is not None:
        statement = statement.where(contains_ignoring_case(ApiKey.name, search))
    return (await session.scalars(API_KEYS.page(statement, asked))).all()


def _sites(visible: TenantScope) -> Select[Site]:
    statement = select(Site)
    return statement.where(*visible.within(Site.organisation_id, Site.id))


async def find_site(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False, closed: bool = False
) -> Site | None:
    """One site.

    Args:
        session: The caller's.
        identifier: Which.
        visible: What the caller may see.
        lock: It cannot be changed until the transaction ends.
        closed: Nothing can be put there either. Not for who changes it: that waits for batches under way,
            which may be about to count a refusal of this site.
    """
    statement = _sites(visible).where(Site.id == identifier)
    if lock or closed:
        statement = statement.with_for_update(key_share=not closed)
    return await session.scalar(statement)


async def lock_sites(
    session: AsyncSession, identifiers: Sequence[UUID], visible: TenantScope
) -> dict[UUID, Site]:
    """Those of the sites that exist, by id; they cannot be deleted until the transaction ends."""
    statement = _sites(visible).where(Site.id.in_(identifiers)).order_by(Site.id)
    found = await session.scalars(statement.with_for_update(read=True, key_share=True))
    return {site.id: site for site in found}


async def list_sites(
    session: AsyncSession,
    visible: TenantScope,
    asked: PageRequest,
    *,
    organisation: UUID | None,
    kind: str | None,
    search: str | None,
) -> Sequence[Site]:
    """Sites; `search` is a part of the name."""
    statement = _sites(visible)
    if organisation is not None:
        statement = statement.where(Site.organisation_id == organisation)
    if kind is not None:
        statement = statement.where(Site.kind == kind)
    if search is not None:
        statement = statement.where(contains_ignoring_case(Site.name, search))
    return (await session.scalars(SITES.page(statement, asked))).all()


async def has_boxes(session: AsyncSession, site_id: UUID) -> bool:
    """Tell whether a box that was not deleted stands at a site."""
    found = await session.scalar(select(exists().where(Box.site_id == site_id, Box.deleted_at.is_(None))))
    return bool(found)


async def has_rules(session: AsyncSession, site_id: UUID) -> bool:
    """Tell whether a site has rules that were not deleted; of a locked site none comes after the answer."""
    found = await session.scalar(
        select(exists().where(_RULES.c.site_id == site_id, _RULES.c.deleted_at.is_(None)))
    )
    return bool(found)


async def bootstrap_platform(session: WriteSession, key: str | None, now: datetime) -> None:
    """Make the platform's organisation where there is none, and let `key` be its administrator's.

    May run in several processes at once. A key that was set before and revoked stays revoked. Where all is
    there, as at each start but the first, nothing is written.
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


# Webhooks and channels belong to a room above this one: only how many there are matters here.
_ENDPOINTS: Final = table("webhook_endpoints", column("organisation_id"), column("kind"))
_WEBHOOK: Final = "webhook"


class _Kind(NamedTuple):
    """One kind of what can be left: what one is called, what several are, and what to do."""

    one: str
    several: str
    first: str


# In the order in which they can be deleted. Rules and alerts are at sites, and go with them.
_KINDS: Final[Mapping[str, _Kind]] = {
    "clients": _Kind("client", "clients", "delete its clients, each in the same way"),
    "boxes": _Kind("box", "boxes", "delete its boxes"),
    "deleted_boxes": _Kind(
        "deleted box whose samples are being removed",
        "deleted boxes whose samples are being removed",
        "wait until those samples are removed, which takes some minutes",
    ),
    "sites": _Kind("site", "sites", "delete its sites, and before each one the rules there"),
    "webhooks": _Kind("webhook", "webhooks", "delete its webhooks"),
    "channels": _Kind("channel", "channels", "delete its channels"),
}


def _number(of: type[Any] | FromClause, *where: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(of).where(*where).scalar_subquery()


async def count_deletion_blockers(session: AsyncSession, organisation_id: UUID) -> dict[str, int]:
    """How much an organisation has of what keeps it, by kind, as far as the caller sees it.

    Kinds that it has none of are left out.
    """
    mine = Box.organisation_id == organisation_id
    own = _ENDPOINTS.c.organisation_id == organisation_id
    counts = {
        "clients": _number(Organisation, Organisation.parent_id == organisation_id),
        "boxes": _number(Box, mine, Box.deleted_at.is_(None)),
        "deleted_boxes": _number(Box, mine, Box.deleted_at.is_not(None)),
        "sites": _number(Site, Site.organisation_id == organisation_id),
        "webhooks": _number(_ENDPOINTS, own, _ENDPOINTS.c.kind == _WEBHOOK),
        "channels": _number(_ENDPOINTS, own, _ENDPOINTS.c.kind != _WEBHOOK),
    }
    found = await session.execute(select(*(count.label(kind) for kind, count in counts.items())))
    return {str(kind): number for kind, number in found.mappings().one().items() if number}


def make_not_empty_error(remaining: Mapping[str, int]) -> ConflictError:
    """The refusal to delete an organisation that has this left; empty: it came just now, or is not shown."""
    if remaining:
        said = ", ".join(
            f"{number} {_KINDS[kind].one if number == 1 else _KINDS[kind].several}"
            for kind, number in remaining.items()
        )
        steps = "; ".join(_KINDS[kind].first for kind in remaining)
        detail = f"The organisation still has {said}. First {steps}."
    else:
        detail = (
            "The organisation still has something that came just now, or that you do not see. Have its "
            "clients, boxes, sites, webhooks and channels deleted, then try again."
        )
    return ConflictError(detail, code="organisation_not_empty", extra={"remaining": dict(remaining)})
