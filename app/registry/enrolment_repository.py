"""Reads and writes claim codes and provisioning keys, by which boxes are enrolled.

The caller decides and commits. Functions with the parameter `visible` find only rows in that tenant scope.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.database import WriteSession
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.tenant_scope import FULL_SCOPE, TenantScope
from app.registry.models import Claim, ProvisioningKey
from app.registry.organisation_repository import contains_ignoring_case

CLAIMS: Final = SortOrders(
    "claims",
    (uuid_sort_key(Claim.id),),
    {
        "created_at": (),
        "name": (name_sort_key(Claim.name, nullable=True),),
        "expires_at": (instant_sort_key(Claim.expires_at),),
        "last_used_at": (instant_sort_key(Claim.last_used_at, nullable=True),),
    },
    "created_at",
)
PROVISIONING_KEYS: Final = SortOrders(
    "provisioning_keys",
    (uuid_sort_key(ProvisioningKey.id),),
    {
        "created_at": (),
        "name": (name_sort_key(ProvisioningKey.name),),
        "expires_at": (instant_sort_key(ProvisioningKey.expires_at, nullable=True),),
        "last_used_at": (instant_sort_key(ProvisioningKey.last_used_at, nullable=True),),
    },
    "created_at",
)


def _claims(visible: TenantScope) -> Select[Claim]:
    statement = select(Claim)
    return statement.where(*visible.within(Claim.organisation_id, Claim.site_id))


def _in_state(state: str, now: datetime) -> ColumnElement[bool]:
    revoked = Claim.revoked_at.is_not(None)
    used_up = and_(~revoked, Claim.used >= Claim.boxes)
    living = and_(~revoked, Claim.used < Claim.boxes)
    return {
        "revoked": revoked,
        "used_up": used_up,
        "expired": and_(living, Claim.expires_at <= now),
        "open": and_(living, Claim.expires_at > now),
    }[state]


async def find_claim(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> Claim | None:
    """Find a claim.

    Args:
        session: The session.
        identifier: The claim's id.
        visible: The caller's tenant scope.
        lock: Lock the row until the transaction ends.
    """
    statement = _claims(visible).where(Claim.id == identifier)
    return await session.scalar(statement.with_for_update(key_share=True) if lock else statement)


async def find_claim_by_hash(session: AsyncSession, digest: bytes) -> Claim | None:
    """Find the claim of a code by the code's hash."""
    return await session.scalar(_claims(FULL_SCOPE).where(Claim.hash == digest))


async def list_claims(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    organisation: UUID | None,
    site: UUID | None,
    state: str | None,
    search: str | None,
    now: datetime,
) -> Sequence[Claim]:
    """List claims: a page and one more row.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        organisation: Only claims of this organisation.
        site: Only claims for this site.
        state: Only claims in this state.
        search: A part of the name, case-insensitive.
        now: The time, which decides whether a claim has expired.
    """
    statement = _claims(visible)
    if organisation is not None:
        statement = statement.where(Claim.organisation_id == organisation)
    if site is not None:
        statement = statement.where(Claim.site_id == site)
    if state is not None:
        statement = statement.where(_in_state(state, now))
    if search is not None:
        statement = statement.where(contains_ignoring_case(Claim.name, search))
    return (await session.scalars(CLAIMS.page(statement, page_request))).all()


async def use_claim(session: WriteSession, identifier: UUID, now: datetime) -> bool:
    """Count one more box, and lock the claim. False if the claim is no longer open."""
    statement = update(Claim).where(Claim.id == identifier, _in_state("open", now))
    statement = statement.values(used=Claim.used + 1, last_used_at=now)
    return (await session.scalar(statement.returning(Claim.id))) is not None


def _keys(visible: TenantScope) -> Select[ProvisioningKey]:
    statement = select(ProvisioningKey)
    return statement.where(*visible.within(ProvisioningKey.organisation_id, ProvisioningKey.site_id))


async def find_provisioning_key(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> ProvisioningKey | None:
    """Find a provisioning key, revoked or not.

    Args:
        session: The session.
        identifier: The key's id.
        visible: The caller's tenant scope.
        lock: Lock the row until the transaction ends.
    """
    statement = _keys(visible).where(ProvisioningKey.id == identifier)
    return await session.scalar(statement.with_for_update(key_share=True) if lock else statement)


async def find_provisioning_key_by_hash(session: AsyncSession, digest: bytes) -> ProvisioningKey | None:
    """Find a provisioning key by its hash."""
    return await session.scalar(_keys(FULL_SCOPE).where(ProvisioningKey.hash == digest))


async def list_provisioning_keys(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    organisation: UUID | None,
    site: UUID | None,
    revoked: bool,
    search: str | None,
) -> Sequence[ProvisioningKey]:
    """List provisioning keys: a page and one more row.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        organisation: Only keys of this organisation.
        site: Only keys for this site.
        revoked: List revoked keys instead of keys in use.
        search: A part of the name, case-insensitive.
    """
    gone = ProvisioningKey.revoked_at.is_not(None)
    statement = _keys(visible).where(gone if revoked else ~gone)
    if organisation is not None:
        statement = statement.where(ProvisioningKey.organisation_id == organisation)
    if site is not None:
        statement = statement.where(ProvisioningKey.site_id == site)
    if search is not None:
        statement = statement.where(contains_ignoring_case(ProvisioningKey.name, search))
    return (await session.scalars(PROVISIONING_KEYS.page(statement, page_request))).all()


async def use_provisioning_key(session: WriteSession, identifier: UUID, now: datetime) -> bool:
    """Count one more box, and lock the key. False if it was revoked, has expired, or is used up."""
    key = ProvisioningKey
    statement = update(key).where(
        key.id == identifier,
        key.revoked_at.is_(None),
        or_(key.expires_at.is_(None), key.expires_at > now),
        or_(key.box_limit.is_(None), key.used < key.box_limit),
    )
    statement = statement.values(used=key.used + 1, last_used_at=now)
    return (await session.scalar(statement.returning(key.id))) is not None
