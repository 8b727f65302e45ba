"""Queries and locks sites.

Functions with the parameter `visible` find only rows in that tenant scope. The caller decides and commits.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Select, column, exists, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.tenant_reader import CompiledStatement, compile_statement
from app.platform.http.contract.sorting import PageRequest, SortOrders, name_sort_key, uuid_sort_key
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Site
from app.registry.organisation_repository import contains_ignoring_case

# Tables of `app.rules` and `app.timeseries`, higher layers: read only to know whether there are any rows.
_RULES: Final = table("rules", column("site_id"), column("deleted_at"))
_ERASURES: Final = table("erasures", column("site_id"), column("finished_at"))

# Ids are UUIDv7, in the order of creation: `created_at` needs no column of its own.
SITES: Final = SortOrders(
    "sites", (uuid_sort_key(Site.id),), {"created_at": (), "name": (name_sort_key(Site.name),)}, "created_at"
)


def _sites(visible: TenantScope) -> Select[Site]:
    statement = select(Site)
    return statement.where(*visible.within(Site.organisation_id, Site.id))


async def find_site(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False, closed: bool = False
) -> Site | None:
    """Find a site.

    Args:
        session: The session.
        identifier: The site's id.
        visible: The caller's tenant scope.
        lock: Lock the row until the transaction ends.
        closed: Lock it against new rows that refer to it, too. Only for a deletion: the lock waits for
            running batches, which may count a refusal of this site.
    """
    statement = _sites(visible).where(Site.id == identifier)
    if lock or closed:
        statement = statement.with_for_update(key_share=not closed)
    return await session.scalar(statement)


async def get_site(
    session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False, closed: bool = False
) -> Site:
    """Get a site.

    Args:
        session: The session.
        identifier: The site's id, as in the path.
        visible: The caller's tenant scope.
        lock: As in `find_site`.
        closed: As in `find_site`.

    Raises:
        NotFoundError: The site does not exist, or is outside the tenant scope.
    """
    row = await find_site(session, parse_id(identifier, "site"), visible, lock=lock, closed=closed)
    if row is None:
        raise NotFoundError("site", identifier)
    return row


async def lock_sites(
    session: AsyncSession, identifiers: Sequence[UUID], visible: TenantScope
) -> dict[UUID, Site]:
    """Lock sites against deletion until the transaction ends. Returns those that exist, by id."""
    statement = _sites(visible).where(Site.id.in_(identifiers)).order_by(Site.id)
    found = await session.scalars(statement.with_for_update(read=True, key_share=True))
    return {site.id: site for site in found}


# Lists are polled: a statement that was built before is not built again.
@lru_cache(512)
def compile_site_page(
    visible: TenantScope,
    page_request: PageRequest,
    *,
    organisation: UUID | None,
    kind: str | None,
    search: str | None,
) -> CompiledStatement:
    """Compile the query of a page of sites and one more row, with the columns of `Site`.

    Args:
        visible: The caller's tenant scope.
        page_request: The page and its order.
        organisation: Only sites of this organisation.
        kind: Only sites of this kind.
        search: A part of the name, case-insensitive.
    """
    statement = _sites(visible)
    if organisation is not None:
        statement = statement.where(Site.organisation_id == organisation)
    if kind is not None:
        statement = statement.where(Site.kind == kind)
    if search is not None:
        statement = statement.where(contains_ignoring_case(Site.name, search))
    return compile_statement(SITES.page(statement, page_request))


async def has_boxes(session: AsyncSession, site_id: UUID) -> bool:
    """Whether a site has boxes that are not deleted."""
    found = await session.scalar(select(exists().where(Box.site_id == site_id, Box.deleted_at.is_(None))))
    return bool(found)


async def has_rules(session: AsyncSession, site_id: UUID) -> bool:
    """Whether a site has rules that are not deleted. If the site is locked, none can be added afterwards."""
    found = await session.scalar(
        select(exists().where(_RULES.c.site_id == site_id, _RULES.c.deleted_at.is_(None)))
    )
    return bool(found)


async def has_open_erasures(session: AsyncSession, site_id: UUID) -> bool:
    """Whether erasures of a site are not finished: they would end with it."""
    found = await session.scalar(
        select(exists().where(_ERASURES.c.site_id == site_id, _ERASURES.c.finished_at.is_(None)))
    )
    return bool(found)


class SiteLabel(NamedTuple):
    """The name and the time zone of a site."""

    name: str
    timezone: str


async def read_site_labels(session: AsyncSession, sites: Sequence[UUID]) -> dict[UUID, SiteLabel]:
    """Read the names and time zones of some sites."""
    if not sites:
        return {}
    rows = await session.execute(select(Site.id, Site.name, Site.timezone).where(Site.id.in_(set(sites))))
    return {row.id: SiteLabel(row.name, row.timezone) for row in rows}


async def find_home_zone(session: AsyncSession, visible: TenantScope, organisation_id: UUID) -> str | None:
    """Return the time zone of the organisation's first site in the tenant scope; None without a site."""
    statement = select(Site.timezone).where(Site.organisation_id == organisation_id)
    statement = statement.where(*visible.within(Site.organisation_id, Site.id))
    return await session.scalar(statement.order_by(Site.id).limit(1))


async def read_site_names(session: AsyncSession, sites: Sequence[UUID]) -> dict[UUID, str]:
    """Read the names of some sites."""
    if not sites:
        return {}
    rows = await session.execute(select(Site.id, Site.name).where(Site.id.in_(set(sites))))
    return {row.id: row.name for row in rows}
