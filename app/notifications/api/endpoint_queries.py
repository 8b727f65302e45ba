"""Queries webhooks and channels for the REST API, inside the caller's tenant scope.

Queries on deliveries are in `delivery_queries`. Nothing is committed here.
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
"""The sort orders of webhooks."""

CHANNELS: Final = replace(ENDPOINTS, kind="channels")
"""The sort orders of channels."""


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
    """Find an endpoint of one of the kinds.

    Args:
        session: The transaction.
        identifier: The endpoint's id.
        visible: The caller's tenant scope.
        kinds: The kinds to search.
        lock: Lock the row exclusively: no deliveries or groups can be inserted for it (FOR UPDATE).
        hold: Lock the row, but allow these inserts (FOR NO KEY UPDATE).
    """
    statement = _endpoints(visible, kinds).where(Endpoint.id == identifier)
    if lock or hold:
        statement = statement.with_for_update(key_share=not lock)
    return await session.scalar(statement)


async def list_endpoints(
    session: AsyncSession,
    visible: TenantScope,
    page: PageRequest,
    *,
    organisation: UUID | None,
    enabled: bool | None,
    kinds: Sequence[str] = ("webhook",),
    orders: SortOrders = ENDPOINTS,
) -> Sequence[Endpoint]:
    """List endpoints; one more than the page has, if there are more.

    Args:
        session: For queries.
        visible: The caller's tenant scope.
        page: The sort order, the limit and the cursor.
        organisation: Only endpoints of this organisation; None: of all visible ones.
        enabled: Only enabled or only disabled endpoints; None: both.
        kinds: The kinds to list.
        orders: The sort orders of this list.
    """
    statement = _endpoints(visible, kinds)
    if organisation is not None:
        statement = statement.where(Endpoint.organisation_id == organisation)
    if enabled is not None:
        statement = statement.where(Endpoint.enabled.is_(enabled))
    return (await session.scalars(orders.page(statement, page))).all()


_TESTS: Final = text(
    "SELECT count(*), min(created_at) FROM ("
    "SELECT created_at FROM deliveries "
    "WHERE endpoint_id = :endpoint AND id >= :first AND type = :type AND created_at > :since "
    # Test events without deliveries so far.
    "UNION ALL SELECT created_at FROM outbox "
    "WHERE fanned_out_at IS NULL AND organisation_id = :organisation AND type = :type "
    "AND created_at > :since AND payload ->> 'endpoint_id' = :named) AS test"
)


async def count_recent_tests(
    session: AsyncSession, endpoint: Endpoint, since: datetime
) -> tuple[int, datetime | None]:
    """Count an endpoint's test events after an instant, with queued ones; return the first one's time too."""
    parameters = {
        "endpoint": endpoint.id,
        "named": str(endpoint.id),
        "organisation": endpoint.organisation_id,
        "type": TEST_EVENT,
        "since": since,
        # A delivery's id is later than its event's time, unless clocks differ: by less than 5 minutes.
        "first": first_id(since - timedelta(minutes=5)),
    }
    count, first = (await session.execute(_TESTS, parameters)).one()
    return count, first
