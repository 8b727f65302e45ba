"""Queries on endpoints, for the REST side; those on deliveries are in `delivery_reads`.

Every function takes what the caller may see: the id of an organisation, or None for all of them. What is
outside of it is not found. Nothing is decided here, and nothing committed.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Select, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.notifications.delivery.models import Endpoint
from app.notifications.events.event_types import TEST_EVENT
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.ids import first_id
from app.platform.kernel.tenant_scope import TenantScope

ENDPOINTS: Final = SortOrders(
    "webhooks",
    (uuid_sort_key(Endpoint.id),),
    {
        "created_at": (),
        "updated_at": (instant_sort_key(Endpoint.updated_at),),
        "description": (name_sort_key(Endpoint.description, nullable=True),),
    },
    "created_at",
)
"""The orders of webhooks."""

CHANNELS: Final = replace(ENDPOINTS, kind="channels")
"""The orders of channels."""


def _endpoints(visible: TenantScope, kinds: Sequence[str]) -> Select[Endpoint]:
    statement = select(Endpoint).where(Endpoint.kind.in_(kinds))
    return statement.where(*visible.within(Endpoint.organisation_id))


async def find_endpoint(
    session: AsyncSession,
    identifier: UUID,
    visible: TenantScope,
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
    visible: TenantScope,
    asked: PageRequest,
    *,
    organisation: UUID | None,
    enabled: bool | None,
    kinds: Sequence[str] = ("webhook",),
    orders: SortOrders = ENDPOINTS,
) -> Sequence[Endpoint]:
    """Endpoints, and one more than are asked for where there are more."""
    statement = _endpoints(visible, kinds)
    if organisation is not None:
        statement = statement.where(Endpoint.organisation_id == organisation)
    if enabled is not None:
        statement = statement.where(Endpoint.enabled.is_(enabled))
    return (await session.scalars(orders.page(statement, asked))).all()


_TESTS: Final = text(
    "SELECT count(*), min(created_at) FROM ("
    "SELECT created_at FROM deliveries "
    "WHERE endpoint_id = :endpoint AND id >= :first AND type = :type AND created_at > :since "
    # Those that are not fanned out yet.
    "UNION ALL SELECT created_at FROM outbox "
    "WHERE fanned_out_at IS NULL AND organisation_id = :organisation AND type = :type "
    "AND created_at > :since AND payload ->> 'endpoint_id' = :named) AS test"
)


async def count_recent_tests(
    session: AsyncSession, endpoint: Endpoint, since: datetime
) -> tuple[int, datetime | None]:
    """How many tests an endpoint was sent after an instant, or is about to be, and when the first was."""
    asked = {
        "endpoint": endpoint.id,
        "named": str(endpoint.id),
        "organisation": endpoint.organisation_id,
        "type": TEST_EVENT,
        "since": since,
        # A delivery is made after its event; clocks differ by less than this.
        "first": first_id(since - timedelta(minutes=5)),
    }
    count, first = (await session.execute(_TESTS, asked)).one()
    return count, first
