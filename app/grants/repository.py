"""Queries grants, their keys and acceptances. The caller decides and commits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.grants.models import Grant, GrantAcceptance, GrantKey, GrantState
from app.platform.db.database import WriteSession
from app.platform.http.contract.sorting import PageRequest, SortOrders, name_sort_key, uuid_sort_key
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Organisation, Site
from app.registry.organisation_repository import contains_ignoring_case

GRANTS: Final = SortOrders(
    "grants",
    (uuid_sort_key(Grant.id),),
    {"created_at": (), "recipient": (name_sort_key(Grant.recipient),)},
    "-created_at",
)
"""The sort orders of grants."""


async def get_grant(
    session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False
) -> Grant:
    """Get a grant (NotFoundError).

    Args:
        session: The transaction.
        identifier: Its id, as in the path.
        visible: The caller's tenant scope.
        lock: Lock the row until the transaction ends.
    """
    statement = select(Grant).where(
        Grant.id == parse_id(identifier, "grant"), *visible.within(Grant.organisation_id)
    )
    found = await session.scalar(statement.with_for_update() if lock else statement)
    if found is None:
        raise NotFoundError("grant", identifier)
    return found


async def list_grants(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    organisation: UUID | None,
    site: UUID | None,
    state: GrantState | None,
    search: str | None,
) -> Sequence[Grant]:
    """List grants: a page and one more.

    Args:
        session: Reads them.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        organisation: Only grants of this organisation.
        site: Only grants that include this site.
        state: Only grants in this state.
        search: A part of the recipient's name, case-insensitive.
    """
    statement = select(Grant).where(*visible.within(Grant.organisation_id))
    if organisation is not None:
        statement = statement.where(Grant.organisation_id == organisation)
    if site is not None:
        statement = statement.where(Grant.site_ids.contains([site]))
    if state is not None:
        statement = statement.where(_in_state(state))
    if search is not None:
        statement = statement.where(contains_ignoring_case(Grant.recipient, search))
    return (await session.scalars(GRANTS.page(statement, page_request))).all()


def _in_state(state: GrantState) -> ColumnElement[bool]:
    """Return the condition of `Grant.state`."""
    if state == "revoked":
        return Grant.revoked_at.is_not(None)
    if state == "expired":
        return and_(Grant.revoked_at.is_(None), Grant.valid_until <= func.now())
    usable = and_(Grant.revoked_at.is_(None), Grant.valid_until > func.now())
    if state == "offered":
        return and_(usable, Grant.accepted_at.is_(None))
    suspended = Grant.suspended_at.is_not(None) if state == "suspended" else Grant.suspended_at.is_(None)
    return and_(usable, Grant.accepted_at.is_not(None), suspended)


async def find_grant_by_link(session: AsyncSession, digest: bytes, *, lock: bool = False) -> Grant | None:
    """Find the grant of a link by the hash of its token, in any organisation."""
    statement = select(Grant).where(Grant.link_hash == digest)
    return await session.scalar(statement.with_for_update() if lock else statement)


async def list_grant_keys(session: AsyncSession, grant_id: UUID) -> Sequence[GrantKey]:
    """List the keys of a grant, the oldest first."""
    statement = select(GrantKey).where(GrantKey.grant_id == grant_id).order_by(GrantKey.id)
    return (await session.scalars(statement)).all()


async def count_working_keys(session: AsyncSession, grant_id: UUID) -> int:
    """Count the keys of a grant that are not revoked."""
    statement = select(func.count()).where(GrantKey.grant_id == grant_id, GrantKey.revoked_at.is_(None))
    return (await session.execute(statement)).scalar_one()


async def revoke_key(session: WriteSession, grant_id: UUID, identifier: str, now: datetime) -> None:
    """Revoke a key of a grant (NotFoundError); one that was revoked before stays as it is."""
    key = await session.get(GrantKey, parse_id(identifier, "key"))
    if key is None or key.grant_id != grant_id:
        raise NotFoundError("key", identifier)
    key.revoked_at = key.revoked_at or now
    await session.flush()


async def revoke_all_keys(session: WriteSession, grant_id: UUID, now: datetime) -> None:
    """Revoke all keys of a grant."""
    await session.execute(
        update(GrantKey)
        .where(GrantKey.grant_id == grant_id, GrantKey.revoked_at.is_(None))
        .values(revoked_at=now)
    )


async def list_acceptances(session: AsyncSession, grant_id: UUID) -> Sequence[GrantAcceptance]:
    """List the acceptances of a grant, the oldest first."""
    statement = select(GrantAcceptance).where(GrantAcceptance.grant_id == grant_id)
    return (await session.scalars(statement.order_by(GrantAcceptance.id))).all()


async def read_names(session: AsyncSession, grant: Grant, site_ids: Sequence[UUID]) -> tuple[str, list[str]]:
    """Read the name of the organisation that gave a grant, and the names of its sites."""
    organisation = await session.scalar(
        select(Organisation.name).where(Organisation.id == grant.organisation_id)
    )
    sites = select(Site.name).where(Site.id.in_(site_ids), Site.organisation_id == grant.organisation_id)
    return organisation or "", list(await session.scalars(sites.order_by(Site.name)))
