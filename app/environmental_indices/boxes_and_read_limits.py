"""Finds the boxes of a site for indices, and estimates how many values an index reads.

Defines the read limits of a request. `app.environmental_indices.input_queries` reads the measurements.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.environmental_indices.index_definitions import IndexDefinition, InputSource
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.instants import EARLIEST_US, HOUR_US, LATEST_US
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_repository import parse_box_id
from app.registry.models import Box
from app.timeseries.series.latest_value_queries import find_metrics_of_boxes

MAX_BOXES: Final = 100
MAX_SAMPLES: Final = 600_000
"""The most samples that one request reads: a year of minutes."""
MAX_HOURS: Final = 1_000_000
"""The most hourly means that one request reads."""
HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class IndexedBox:
    """The properties of a box that indices need.

    Attributes:
        key: the internal key, to which samples refer.
        id: the id of the box.
        interval_s: the sampling interval, s.
        kind: the kind of place that the client registered.
        metrics: all metrics that it has measured.
    """

    key: int
    id: str
    interval_s: int
    kind: str | None
    metrics: frozenset[str]


async def find_indexed_boxes(
    session: AsyncSession, site_id: UUID, named: Sequence[str], visible: TenantScope
) -> list[IndexedBox]:
    """Find the boxes of a site, in the order of their ids.

    Args:
        session: a session of the API.
        site_id: the site.
        named: ids of boxes to select; empty for all.
        visible: the tenant scope of the caller.

    Raises:
        NotFoundError: a named box does not exist at the site.
        InvalidError: `too_many_boxes`.
    """
    selected = {parse_box_id(identifier) for identifier in named}
    query = select(Box.key, Box.id, Box.interval_s, Box.kind).where(
        Box.site_id == site_id, Box.deleted_at.is_(None), *visible.within(Box.organisation_id, Box.site_id)
    )
    if selected:
        query = query.where(Box.id.in_(selected))
    rows = (await session.execute(query.order_by(Box.id).limit(MAX_BOXES + 1))).all()
    for identifier in sorted(selected - {row.id for row in rows}):
        raise NotFoundError("box", identifier)
    if len(rows) > MAX_BOXES:
        raise InvalidError(
            f"The site has more than {MAX_BOXES} boxes. Select up to {MAX_BOXES} of them with `box`.",
            code="too_many_boxes",
            extra={"maximum_boxes": MAX_BOXES},
        )
    measured = await find_metrics_of_boxes(session, [row.key for row in rows]) if rows else {}
    return [IndexedBox(*row, measured.get(row.id, frozenset())) for row in rows]


def too_many_samples_error(found: int) -> InvalidError:
    """Make the error of a request that would read too many samples (`range_too_large`)."""
    return InvalidError(
        f"The request would read about {found:,} samples; the limit is {MAX_SAMPLES:,}. Choose a shorter "
        "`period`, or fewer boxes with `box`.",
        code="range_too_large",
        extra={"maximum_samples": MAX_SAMPLES},
    )


@dataclass(slots=True)
class InputNeeds:
    """The time ranges to read of a box, by metric: of hourly means and of samples."""

    hours: dict[str, list[TimePeriod]] = field(default_factory=lambda: defaultdict(list))
    samples: dict[str, list[TimePeriod]] = field(default_factory=lambda: defaultdict(list))

    def add(self, figure: IndexDefinition, metrics: Iterable[str], period: TimePeriod) -> None:
        """Add the range that an index of a period reads of some metrics."""
        span = compute_read_range(figure, period)
        ranges = self.hours if figure.source == "hours" else self.samples
        for metric in metrics:
            ranges[metric].append(span)


def compute_read_range(figure: IndexDefinition, period: TimePeriod) -> TimePeriod:
    """Compute the time range that an index of a period reads, in whole hours."""
    first = period.start_us // HOUR_US * HOUR_US - figure.lead_h * HOUR_US
    if figure.source == "samples":
        # The interval of an earlier sample may extend into the period.
        first -= HOUR_US
    last = -(-period.end_us // HOUR_US) * HOUR_US
    return TimePeriod(max(first, EARLIEST_US), min(last, LATEST_US))


def estimate_read_count(
    figure: IndexDefinition, metrics: int, period: TimePeriod, interval_s: int
) -> tuple[InputSource, int]:
    """Estimate how many values an index of a period reads.

    Args:
        figure: the index.
        metrics: the number of metrics that it reads.
        period: the period.
        interval_s: the sampling interval of the box, s.

    Returns:
        The kind of values, and their number.
    """
    seconds = compute_read_range(figure, period).seconds
    per = HOUR_S if figure.source == "hours" else interval_s
    return figure.source, metrics * max(1, round(seconds / per))
