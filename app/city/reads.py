"""Reads what city computations need: the boxes of a site, and what they measured.

Owns which stretches are read of which metric, each once. Hourly means are those that series show: right at
any moment, with as many digits, and with the same coverage.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import numpy as np
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.city.figures import Figure, Material, Source
from app.city.periods import DAY_US, HOUR_US, Period
from app.city.series import Floats, Hourly, Levels, Samples, Times
from app.core.errors import InvalidError, NotFoundError
from app.core.instants import EARLIEST_US, LATEST_US, from_datetime, to_datetime
from app.core.reach import Reach
from app.observations.latest_reads import metrics_of_boxes
from app.observations.reads import readings
from app.observations.rollups.columns import shortened
from app.observations.rollups.reads import Series, summaries
from app.observations.series import Bucket
from app.sites.box_repository import box_path
from app.sites.catalogue import BY_NAME
from app.sites.models import Box

MAX_BOXES: Final = 100
MAX_SAMPLES: Final = 600_000
"""So many samples are looked at in one call: a year of minutes."""
MAX_HOURS: Final = 1_000_000
"""So many hourly means are."""
_HOURS: Final = Bucket.parse("1h")
_HOUR_S: Final = 3_600
# It is cheaper to read two days too many than to ask once more.
_NEAR_US: Final = 2 * DAY_US


@dataclass(frozen=True, slots=True)
class Station:
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


async def stations_of(
    session: AsyncSession, site_id: UUID, named: Sequence[str], visible: Reach
) -> list[Station]:
    """The boxes of a site, or those that are named, by their ids (NotFoundError, `too_many_boxes`)."""
    wanted = {box_path(identifier) for identifier in named}
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
    measured = await metrics_of_boxes(session, [row.key for row in rows]) if rows else {}
    return [Station(*row, measured.get(row.id, frozenset())) for row in rows]


def too_many_samples(found: int) -> InvalidError:
    """More samples than are looked at (`range_too_large`)."""
    return InvalidError(
        f"About {found:,} samples would be looked at, of {MAX_SAMPLES:,} at most. Ask for a shorter "
        "`period`, or for fewer boxes with `box`.",
        code="range_too_large",
        extra={"maximum_samples": MAX_SAMPLES},
    )


@dataclass(slots=True)
class Needs:
    """What has to be read of a box, by metric."""

    hours: dict[str, list[Period]] = field(default_factory=lambda: defaultdict(list))
    samples: dict[str, list[Period]] = field(default_factory=lambda: defaultdict(list))

    def add(self, figure: Figure, metrics: Iterable[str], period: Period) -> None:
        """Add what a figure of a period reads of some metrics."""
        span = reach(figure, period)
        wanted = self.hours if figure.source == "hours" else self.samples
        for metric in metrics:
            wanted[metric].append(span)


def reach(figure: Figure, period: Period) -> Period:
    """From where to where a figure of a period reads: in whole hours."""
    first = period.start_us // HOUR_US * HOUR_US - figure.lead_h * HOUR_US
    if figure.source == "samples":
        # What sounds as the period begins may have begun before.
        first -= HOUR_US
    last = -(-period.end_us // HOUR_US) * HOUR_US
    return Period(max(first, EARLIEST_US), min(last, LATEST_US))


def effort(figure: Figure, metrics: int, period: Period, interval_s: int) -> tuple[Source, int]:
    """How much a figure of a period reads: of which sort, and how many values."""
    seconds = reach(figure, period).seconds
    per = _HOUR_S if figure.source == "hours" else interval_s
    return figure.source, metrics * max(1, round(seconds / per))


async def material_of(session: AsyncSession, station: Station, timezone: str, needs: Needs) -> Material:
    """Read what is needed of a box, as far as it measures that."""
    hourly: dict[str, Hourly] = {}
    levels: dict[str, Levels] = {}
    for metric, periods in _measured(station, needs.hours):
        times, means, counts = await _hours(session, station, timezone, metric, periods)
        if BY_NAME[metric].kind == "level":
            levels[metric] = Levels.of_hours(times, means, counts, station.interval_s)
        else:
            covered = np.minimum(100.0, 100.0 * counts * station.interval_s / _HOUR_S)
            hourly[metric] = Hourly.of(times, means, covered)
    samples = {
        metric: await _samples(session, station, metric, periods)
        for metric, periods in _measured(station, needs.samples)
    }
    return Material(hourly, levels, samples)


def _measured(station: Station, wanted: Mapping[str, list[Period]]) -> list[tuple[str, list[Period]]]:
    return [(name, _merged(periods)) for name, periods in wanted.items() if name in station.metrics]


def _merged(periods: Iterable[Period]) -> list[Period]:
    """Stretches that hold all periods, ascending, none near the next one."""
    found: list[Period] = []
    for period in sorted(periods):
        if found and period.start_us - found[-1].end_us <= _NEAR_US:
            found[-1] = Period(found[-1].start_us, max(found[-1].end_us, period.end_us))
        elif period.start_us < period.end_us:
            found.append(period)
    return found


async def _hours(
    session: AsyncSession, station: Station, timezone: str, metric: str, periods: Sequence[Period]
) -> tuple[Times, Floats, Times]:
    """Of each hour that has a value: when it begins, its mean, how many values that is of."""
    of = BY_NAME[metric]
    parts = []
    for first, last in periods:
        asked = Series(station.key, of, _HOURS, timezone, to_datetime(first), to_datetime(last))
        found = await summaries(session, asked)
        parts.append((found.times, shortened(of, found.means, found.lows, found.counts), found.counts))
    if not parts:
        return np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
    times, means, counts = zip(*parts, strict=True)
    return np.concatenate(times), np.concatenate(means), np.concatenate(counts)


async def _samples(
    session: AsyncSession, station: Station, metric: str, periods: Sequence[Period]
) -> Samples:
    times: list[int] = []
    values: list[float] = []
    for period in periods:
        first, last = to_datetime(period.start_us), to_datetime(period.end_us)
        room = MAX_SAMPLES - len(times)
        rows = await readings(session, station, BY_NAME[metric], first=first, last=last, limit=room)
        if len(rows) > room:
            raise too_many_samples(len(times) + len(rows))
        times += [from_datetime(time) for time, _ in rows]
        values += [value for _, value in rows]
    return Samples.of(times, values, float(station.interval_s))
