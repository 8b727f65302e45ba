"""Reads privacy requests, and counts a site's samples, events and alerts of the requested period."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.models import Alert
from app.platform.http.contract.sorting import PageRequest, SortOrders, instant_sort_key, uuid_sort_key
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.privacy_requests.models import RightsRequest
from app.registry.models import Box
from app.timeseries.storage.models import Event

REQUESTS: Final = SortOrders(
    "rights_requests",
    (uuid_sort_key(RightsRequest.id),),
    {
        "received_at": (instant_sort_key(RightsRequest.received_at),),
        "due_at": (instant_sort_key(RightsRequest.due_at),),
        "closed_at": (instant_sort_key(RightsRequest.closed_at, nullable=True),),
    },
    "received_at",
)
MAX_COUNTED_SAMPLES: Final = 1_000_000
_SAMPLES: Final = text(
    "SELECT count(*) FROM (SELECT FROM tenant_samples s WHERE s.box_key = ANY (:keys) "
    "AND s.time >= :begins AND s.time < :ends LIMIT :most) AS found"
)


async def list_requests(
    session: AsyncSession,
    visible: TenantScope,
    page: PageRequest,
    *,
    organisation: UUID | None,
    site: UUID | None,
    state: str | None,
    kind: str | None,
    overdue_at: datetime | None,
) -> Sequence[RightsRequest]:
    """List the requests of a page.

    Args:
        session: The session.
        visible: The tenant scope of the caller.
        page: Order, cursor and size of the page.
        organisation: Only requests to this organisation.
        site: Only requests about this site.
        state: Only requests in this state.
        kind: Only requests of this kind.
        overdue_at: Only open requests with a deadline before this time.
    """
    query = select(RightsRequest).where(*visible.within(RightsRequest.organisation_id, RightsRequest.site_id))
    filters = {
        RightsRequest.organisation_id: organisation,
        RightsRequest.site_id: site,
        RightsRequest.state: state,
        RightsRequest.kind: kind,
    }
    query = query.where(*(column == value for column, value in filters.items() if value is not None))
    if overdue_at is not None:
        query = query.where(RightsRequest.closed_at.is_(None), RightsRequest.due_at < overdue_at)
    return (await session.scalars(REQUESTS.page(query, page))).all()


async def get_request(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> RightsRequest:
    """Return a request.

    Args:
        session: The session.
        identifier: The id of the request.
        visible: The tenant scope of the caller.
        lock: Whether to lock the row for an update.

    Raises:
        NotFoundError: The request does not exist, or is outside the tenant scope.
    """
    query = select(RightsRequest).where(
        RightsRequest.id == identifier,
        *visible.within(RightsRequest.organisation_id, RightsRequest.site_id),
    )
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFoundError("request", identifier)
    return row


async def find_by_reference(
    session: AsyncSession, reference: str, *, lock: bool = False
) -> RightsRequest | None:
    """Find a request in any tenant. The caller must check its token."""
    if "\0" in reference:
        return None  # PostgreSQL refuses to compare it with anything
    query = select(RightsRequest).where(RightsRequest.reference == reference)
    return await session.scalar(query.with_for_update() if lock else query)


async def list_box_keys(session: AsyncSession, site_id: UUID) -> Sequence[int]:
    """List the keys of a site's boxes."""
    query = select(Box.key).where(Box.site_id == site_id, Box.deleted_at.is_(None))
    return (await session.scalars(query)).all()


async def count_samples(
    session: AsyncSession, keys: Sequence[int], begins_at: datetime, ends_at: datetime
) -> int:
    """Count the samples of boxes in a period, up to `MAX_COUNTED_SAMPLES`.

    Args:
        session: The session.
        keys: The keys of the boxes.
        begins_at: Start of the period (inclusive).
        ends_at: End of the period (exclusive).
    """
    values = {"keys": list(keys), "begins": begins_at, "ends": ends_at, "most": MAX_COUNTED_SAMPLES}
    return int((await session.execute(_SAMPLES, values)).scalar_one())


async def count_events(
    session: AsyncSession, keys: Sequence[int], begins_at: datetime, ends_at: datetime
) -> Sequence[tuple[str, int]]:
    """Count the events of boxes in a period, by type.

    Args:
        session: The session.
        keys: The keys of the boxes.
        begins_at: Start of the period (inclusive).
        ends_at: End of the period (exclusive).
    """
    query = (
        select(Event.type, func.count())
        .where(Event.box_key.in_(keys), Event.time >= begins_at, Event.time < ends_at)
        .group_by(Event.type)
        .order_by(Event.type)
    )
    return [(type_, number) for type_, number in await session.execute(query)]


async def count_alerts(session: AsyncSession, site_id: UUID, begins_at: datetime, ends_at: datetime) -> int:
    """Count the alerts of a site that began in a period.

    Args:
        session: The session.
        site_id: The site.
        begins_at: Start of the period (inclusive).
        ends_at: End of the period (exclusive).
    """
    query = select(func.count()).where(
        Alert.site_id == site_id, Alert.started_at >= begins_at, Alert.started_at < ends_at
    )
    return int((await session.execute(query)).scalar_one())
