"""Queries on endpoints, for the REST side; those on deliveries are in `delivery_reads`.

Every function takes what the caller may see: the id of an organisation, or None for all of them. What is
outside of it is not found. Nothing is decided here, and nothing committed.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.sites.repository import after
from app.webhooks.models import Endpoint

ENDPOINTS: Final = "webhooks"
"""The name of the cursors of webhooks."""


def _endpoints(visible: UUID | None, kinds: Sequence[str]) -> Select[Endpoint]:
    statement = select(Endpoint).where(Endpoint.kind.in_(kinds))
    return statement if visible is None else statement.where(Endpoint.organisation_id == visible)


async def find_endpoint(
    session: AsyncSession,
    identifier: UUID,
    visible: UUID | None,
    *,
    kinds: Sequence[str] = ("webhook",),
    lock: bool = False,
    hold: bool = False,
) -> Endpoint | None:
    """One endpoint of one of the kinds.

    Args:
        session: The transaction.
        identifier: The endpoint's.
        visible: What the caller may see.
        kinds: Of one of these.
        lock: Lock it, also against deliveries and groups that would be made for it.
        hold: Lock it, but not against these.
    """
    statement = _endpoints(visible, kinds).where(Endpoint.id == identifier)
    if lock or hold:
        statement = statement.with_for_update(key_share=not lock)
    return await session.scalar(statement)


async def list_endpoints(
    session: AsyncSession,
    visible: UUID | None,
    cursor: str | None,
    limit: int,
    *,
    organisation: UUID | None,
    enabled: bool | None,
    kinds: Sequence[str] = ("webhook",),
    cursors: str = ENDPOINTS,
) -> Sequence[Endpoint]:
    """Endpoints, the oldest first, and one more than `limit` where there are more."""
    statement = _endpoints(visible, kinds)
    if organisation is not None:
        statement = statement.where(Endpoint.organisation_id == organisation)
    if enabled is not None:
        statement = statement.where(Endpoint.enabled.is_(enabled))
    return (await session.scalars(after(statement, Endpoint.id.expression, cursors, cursor, limit))).all()
