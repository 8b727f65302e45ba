"""Queries on organisations, API keys and sites; `app.registry.box_repository` has those on boxes.

Every function takes what the caller may see: the id of an organisation, or None for all of them. What is
outside of it is not found. Nothing is decided here, and nothing committed.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, column, exists, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    uuid_sort_key,
)
from app.platform.identity.principals import ApiKey
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
