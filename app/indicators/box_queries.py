"""What city computations need: the boxes of a site, and how much is read of them.

Owns the bounds. What the boxes measured is read by `app.indicators.input_queries`.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.indicators.index_definitions import IndexDefinition, InputSource
from app.indicators.period_selection import HOUR_US, TimePeriod
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.instants import EARLIEST_US, LATEST_US
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_repository import parse_box_id
from app.registry.models import Box
from app.timeseries.series.latest_queries import find_metrics_of_boxes

MAX_BOXES: Final = 100
MAX_SAMPLES: Final = 600_000
"""So many samples are looked at in one call: a year of minutes."""
MAX_HOURS: Final = 1_000_000
"""So many hourly means are."""
HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class IndexedBox:
    """A box, as far as its figures need it.

    Attributes:
        key: what samples refer to.
        id: its name.
        interval_s: how often it samples.
        kind: what its client calls it.
        metrics: what it ever measured.
    """

    key: int
    id: str
    interval_s: int
    kind: str | None
    metrics: frozenset[str]


async def find_indexed_boxes(
    session: AsyncSession, site_id: UUID, named: Sequence[str], visible: TenantScope
) -> list[IndexedBox]:
    """The boxes of a site, or those that are named, by their ids (NotFoundError, `too_many_boxes`)."""
    wanted = {parse_box_id(identifier) for identifier in named}
    query = select(Box.key, Box.id, Box.interval_s, Box.kind).where(
        Box.site_id == site_id, Box.deleted_at.is_(None), *visible.within(Box.organisation_id, Box.site_id)
    )
    if wanted:
        query = query.where(Box.id.in_(wanted))
    rows = (await session.execute(query.order_by(Box.id).limit(MAX_BOXES + 1))).all()
    for identifier in sorted(wanted - {row.id for row in rows}):
        raise NotFoundError("box", identifier)
    if len(rows) > MAX_BOXES:
        raise InvalidError(
            f"The site has more than {MAX_BOXES} boxes: name up to {MAX_BOXES} of them with `box`.",
            code="too_many_boxes",
            extra={"maximum_boxes": MAX_BOXES},
        )
    measured = await find_metrics_of_boxes(session, [row.key for row in rows]) if rows else {}
    return [IndexedBox(*row, measured.get(row.id, frozenset())) for row in rows]


def too_many_samples_error(found: int) -> InvalidError:
    """More samples than are looked at (`range_too_large`)."""
    return InvalidError(
        f"About {found:,} samples would be looked at, of {MAX_SAMPLES:,} at most. Ask for a shorter "
        "`period`, or for fewer boxes with `box`.",
        code="range_too_large",
        extra={"maximum_samples": MAX_SAMPLES},
    )


@dataclass(slots=True)
class InputNeeds:
    """What has to be read of a box, by metric."""

    hours: dict[str, list[TimePeriod]] = field(default_factory=lambda: defaultdict(list))
    samples: dict[str, list[TimePeriod]] = field(default_factory=lambda: defaultdict(list))

    def add(self, figure: IndexDefinition, metrics: Iterable[str], period: TimePeriod) -> None:
        """Add what a figure of a period reads of some metrics."""
        span = compute_read_range(figure, period)
        wanted = self.hours if figure.source == "hours" else self.samples
        for metric in metrics:
            wanted[metric].append(span)


def compute_read_range(figure: IndexDefinition, period: TimePeriod) -> TimePeriod:
    """From where to where a figure of a period reads: in whole hours."""
    first = period.start_us // HOUR_US * HOUR_US - figure.lead_h * HOUR_US
    if figure.source == "samples":
        # What sounds as the period begins may have begun before.
        first -= HOUR_US
    last = -(-period.end_us // HOUR_US) * HOUR_US
    return TimePeriod(max(first, EARLIEST_US), min(last, LATEST_US))


def estimate_read_count(
    figure: IndexDefinition, metrics: int, period: TimePeriod, interval_s: int
) -> tuple[InputSource, int]:
    """How much a figure of a period reads: of which sort, and how many values."""
    seconds = compute_read_range(figure, period).seconds
    per = HOUR_S if figure.source == "hours" else interval_s
    return figure.source, metrics * max(1, round(seconds / per))
