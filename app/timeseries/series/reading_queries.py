"""Queries samples of boxes and the events that boxes recognised, in pages.

Column names come from the catalogue, never from the client.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from operator import eq, ge, lt
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, Double, Integer, Row, Text, bindparam, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import METRICS_BY_NAME, Metric
from app.platform.db.driver_query import DriverQuery
from app.platform.http.contract.pagination import decode_cursor
from app.platform.http.contract.sorting import PageRequest, SortOrders, uuid_sort_key
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, to_datetime
from app.platform.kernel.tenant_scope import TenantScope
from app.registry import box_repository
from app.registry.models import Box
from app.timeseries.series.series_parameters import clamp_span
from app.timeseries.storage.models import TENANT_SAMPLES, Event

EVENTS: Final = SortOrders("events", (uuid_sort_key(Event.id, lambda row: row[0].id),), {"id": ()}, "-id")

_WIDENING: Final = 8


@dataclass(frozen=True, slots=True)
class SampledBox:
    """The attributes of a box that its samples need."""

    key: int
    id: str
    interval_s: int
    timezone: str


@dataclass(frozen=True, slots=True)
class MeasuredBox(SampledBox):
    """The attributes of a box that its readings need."""

    site_id: UUID
    came_at: datetime | None = None
    """When it was moved to its site; None: it was never at another one."""

    def limit_span(
        self, visible: TenantScope, metric: str, span: tuple[datetime, datetime]
    ) -> tuple[datetime, datetime] | None:
        """Limit a time range to what the caller may read of a metric of the box; None: nothing."""
        first, last = visible.limit_to_site(span, self.came_at)
        return (first, last) if first < last and visible.may_read(self.site_id, metric) else None


async def get_measured_box(session: AsyncSession, identifier: str, visible: TenantScope) -> MeasuredBox:
    """Return a box with its site's time zone (NotFoundError)."""
    return MeasuredBox(*await box_repository.get_box_sampling_info(session, identifier, visible))


def decode_time_cursor(kind: str, cursor: str) -> datetime:
    """Decode the time of a series cursor (InvalidError `invalid_cursor`)."""
    found: datetime
    (found,) = decode_cursor(kind, cursor, parse_sample_instant)
    return found


def parse_sample_instant(micros: Any) -> datetime:  # noqa: ANN401 (whatever a cursor has)
    """Parse a time (µs since the epoch) that a sample may have, or the end of that range (ValueError)."""
    if type(micros) is not int or not EARLIEST_US <= micros <= LATEST_US:
        raise ValueError(micros)
    return to_datetime(micros)


def _as_shortest_decimal(column: ColumnElement[float], metric: Metric) -> ColumnElement[float]:
    """Return a column's value as its shortest decimal: the cast to text gives 12.4."""
    return cast(cast(column, Text), Double) if metric.storage == "real" else column


class SamplingBox(Protocol):
    """A box's key and sampling interval."""

    @property
    def key(self) -> int:
        """The box's key in `samples`."""
        ...

    @property
    def interval_s(self) -> int:
        """Its sampling interval (s)."""
        ...


async def read_metric_values(
    session: AsyncSession, box: SamplingBox, metric: Metric, *, first: datetime, last: datetime, limit: int
) -> Sequence[tuple[datetime, float]]:
    """Read (time, value) pairs in ascending order, one more than `limit`.

    Through the tenant view the index gives no order, hence PostgreSQL sorts all rows of the range before it
    applies the limit. So the first range is about as long as a page, and longer ones follow if that is not
    enough.

    Args:
        session: reads them, in a transaction that has begun.
        box: the box.
        metric: of the catalogue.
        first: start, inclusive.
        last: end, exclusive.
        limit: values of a page.
    """
    query = _readings(metric.name)
    rows: list[tuple[datetime, float]] = []
    first, last = clamp_span(first, last)
    width = timedelta(seconds=2 * (limit + 1) * box.interval_s)
    while first < last:
        end = last if last - first <= width else first + width
        rows += await query.fetch(session, key=box.key, first=first, last=end, limit=limit + 1 - len(rows))
        if len(rows) > limit:
            break
        first = end
        width *= _WIDENING
    return rows


# Built once per metric: building it takes as long as executing it.
@cache
def _readings(name: str) -> DriverQuery:
    column, time = TENANT_SAMPLES.c[name], TENANT_SAMPLES.c.time
    statement = select(time, _as_shortest_decimal(column, METRICS_BY_NAME[name])).where(
        TENANT_SAMPLES.c.box_key == bindparam("key"),
        time >= bindparam("first"),
        time < bindparam("last"),
        column.is_not(None),
    )
    return DriverQuery(statement.order_by(time).limit(bindparam("limit", type_=Integer)))


OptionalCondition = tuple[Any, Callable[[Any, Any], Any], Any]
"""A value, a comparison and a column; no condition if the value is None."""


def build_conditions(comparisons: Iterable[OptionalCondition]) -> list[ColumnElement[bool]]:
    """Build the conditions whose values are not None."""
    return [compare(column, value) for value, compare, column in comparisons if value is not None]


async def read_events(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    box_key: int | None = None,
    site: UUID | None = None,
    kind: str | None = None,
    first: datetime | None = None,
    last: datetime | None = None,
) -> Sequence[Row[Event, str, UUID]]:
    """Read events with their box's id and site, one more than requested.

    Args:
        session: reads them.
        visible: the tenant scope.
        page_request: order, limit and cursor.
        box_key: only of this box.
        site: only at this site.
        kind: only of this type.
        first: measured at or after this.
        last: measured before this.
    """
    statement = select(Event, Box.id, Box.site_id).join(Box, Box.key == Event.box_key)
    statement = statement.where(Box.deleted_at.is_(None))
    comparisons: tuple[OptionalCondition, ...] = (
        (box_key, eq, Event.box_key),
        (site, eq, Box.site_id),
        (kind, eq, Event.type),
        (first, ge, Event.time),
        (last, lt, Event.time),
    )
    statement = statement.where(
        *build_conditions(comparisons), *visible.within(Event.organisation_id, Box.site_id)
    )
    return (await session.execute(EVENTS.page(statement, page_request))).all()
