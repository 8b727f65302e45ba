"""Queries on endpoints, deliveries and attempts, for the REST side; the dispatcher's are in `claims`.

Every function takes what the caller may see: the id of an organisation, or None for all of them. What is
outside of it is not found. Nothing is decided here, and nothing committed.
"""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from app.core.pagination import decode_cursor
from app.sites.repository import after
from app.webhooks.models import Attempt, Delivery, Endpoint

ENDPOINTS = "webhooks"
DELIVERIES = "deliveries"


def _endpoints(visible: UUID | None) -> Select[Endpoint]:
    statement = select(Endpoint)
    return statement if visible is None else statement.where(Endpoint.organisation_id == visible)


async def find_endpoint(
    session: AsyncSession, identifier: UUID, visible: UUID | None, *, lock: bool = False
) -> Endpoint | None:
    """One endpoint."""
    statement = _endpoints(visible).where(Endpoint.id == identifier)
    return await session.scalar(statement.with_for_update() if lock else statement)


async def list_endpoints(
    session: AsyncSession,
    visible: UUID | None,
    cursor: str | None,
    limit: int,
    *,
    organisation: UUID | None,
    enabled: bool | None,
) -> Sequence[Endpoint]:
    """Endpoints, the oldest first, and one more than `limit` where there are more."""
    statement = _endpoints(visible)
    if organisation is not None:
        statement = statement.where(Endpoint.organisation_id == organisation)
    if enabled is not None:
        statement = statement.where(Endpoint.enabled.is_(enabled))
    return (await session.scalars(after(statement, Endpoint.id.expression, ENDPOINTS, cursor, limit))).all()


async def find_delivery(session: AsyncSession, identifier: UUID, visible: UUID | None) -> Delivery | None:
    """One delivery, with its body."""
    statement = select(Delivery).where(Delivery.id == identifier)
    if visible is not None:
        statement = statement.where(Delivery.organisation_id == visible)
    return await session.scalar(statement)


async def list_deliveries(
    session: AsyncSession, endpoint_id: UUID, cursor: str | None, limit: int, *, state: str | None
) -> Sequence[Delivery]:
    """An endpoint's deliveries, the newest first, without their bodies; one more than `limit`."""
    statement = select(Delivery).where(Delivery.endpoint_id == endpoint_id)
    if state is not None:
        statement = statement.where(Delivery.state == state)
    if cursor is not None:
        (last,) = decode_cursor(DELIVERIES, cursor, UUID)
        statement = statement.where(Delivery.id < last)
    statement = statement.options(defer(Delivery.body, raiseload=True))
    return (await session.scalars(statement.order_by(Delivery.id.desc()).limit(limit + 1))).all()


async def attempts_of(session: AsyncSession, delivery_ids: Sequence[UUID]) -> dict[UUID, list[Attempt]]:
    """The attempts of each of the deliveries, the first first; empty for one without any."""
    found: defaultdict[UUID, list[Attempt]] = defaultdict(list)
    if delivery_ids:
        statement = select(Attempt).where(Attempt.delivery_id.in_(delivery_ids))
        for attempt in await session.scalars(statement.order_by(Attempt.delivery_id, Attempt.number)):
            found[attempt.delivery_id].append(attempt)
    return found


async def replay(session: AsyncSession, identifier: UUID, visible: UUID | None) -> Delivery | None:
    """Make a delivery due now, at the beginning of its schedule; None where there is no such delivery.

    An attempt that is under way loses its lease: if it fails, that changes nothing any more.
    """
    statement = (
        update(Delivery)
        .where(Delivery.id == identifier)
        .values(state="pending", attempt_count=0, due_at=func.now(), leased_until=None, delivered_at=None)
        .returning(Delivery)
    )
    if visible is not None:
        statement = statement.where(Delivery.organisation_id == visible)
    return await session.scalar(statement)
