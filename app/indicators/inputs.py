"""Reads what city computations need of many boxes: hourly means and samples, some boxes at a time.

Owns which stretches are read of which metric, each once, and of how many boxes at once. Hourly means are
those that series show: right at any moment, with as many digits, and with the same coverage.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import BY_NAME
from app.indicators.box_queries import HOUR_S, MAX_SAMPLES, Needs, Station, too_many_samples
from app.indicators.calendar_periods import DAY_US, Period
from app.indicators.index_definitions import Material
from app.indicators.input_types import Hourly, Levels, Samples
from app.timeseries.rollups.hourly_means import HourMeans, Hours, hourly_means
from app.timeseries.rollups.rollup_columns import shortened
from app.timeseries.series.bulk_values import Stretch, Values, values_of

# It is cheaper to read two days too many than to ask once more.
_NEAR_US: Final = 2 * DAY_US
# So much is read of some boxes at once, one box at least: hours are held as they come, some 150 bytes each.
_HOURS: Final = 60_000
_SAMPLES: Final = 200_000


class Wanted(NamedTuple):
    """A box and what is needed of it."""

    station: Station
    needs: Needs


class _Part(NamedTuple):
    """A stretch of a metric of a box."""

    station: Station
    metric: str
    period: Period


type Materials = dict[int, Material]
"""What was measured, by the boxes' keys."""


async def materials(session: AsyncSession, wanted: Sequence[Wanted]) -> AsyncIterator[Materials]:
    """Read what is needed of boxes, as far as they measure that, some boxes at a time, in their order.

    Raises:
        InvalidError: `range_too_large`: a box has more samples than are looked at.
    """
    left = list(_portions(wanted))[::-1]
    while left:
        portion = left.pop()
        samples = await _samples(session, portion)
        if samples is None:
            # They sample more often than they say: fewer of them at a time.
            middle = len(portion) // 2
            left += [portion[middle:], portion[:middle]]
            continue
        hourly, levels = await _hourly(session, portion)
        yield {
            station.key: Material(hourly[station.key], levels[station.key], samples[station.key])
            for station, _ in portion
        }


def _portions(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    portion: list[Wanted] = []
    hours = samples = 0.0
    for each in wanted:
        more_hours = _seconds(_parts(each.station, each.needs.hours)) / HOUR_S
        more_samples = _seconds(_parts(each.station, each.needs.samples)) / each.station.interval_s
        if portion and (hours + more_hours > _HOURS or samples + more_samples > _SAMPLES):
            yield portion
            portion, hours, samples = [], 0.0, 0.0
        portion.append(each)
        hours, samples = hours + more_hours, samples + more_samples
    if portion:
        yield portion


def _seconds(parts: Iterable[_Part]) -> float:
    return sum(part.period.seconds for part in parts)


def _measured(station: Station, needed: Mapping[str, list[Period]]) -> list[str]:
    return [metric for metric in needed if metric in station.metrics]


def _parts(station: Station, needed: Mapping[str, list[Period]]) -> list[_Part]:
    """The stretches that are read, of metrics that the box measures."""
    return [
        _Part(station, metric, period)
        for metric in _measured(station, needed)
        for period in _merged(needed[metric])
    ]


def _merged(periods: Iterable[Period]) -> list[Period]:
    """Stretches that hold all periods, ascending, none near the next one."""
    found: list[Period] = []
    for period in sorted(periods):
        if found and period.start_us - found[-1].end_us <= _NEAR_US:
            found[-1] = Period(found[-1].start_us, max(found[-1].end_us, period.end_us))
        elif period.start_us < period.end_us:
            found.append(period)
    return found


async def _hourly(
    session: AsyncSession, wanted: Sequence[Wanted]
) -> tuple[dict[int, dict[str, Hourly]], dict[int, dict[str, Levels]]]:
    parts = [part for station, needs in wanted for part in _parts(station, needs.hours)]
    found = await hourly_means(
        session,
        [
            Hours(part.station.key, BY_NAME[part.metric], *part.period, part.station.interval_s)
            for part in parts
        ],
    )
    of: dict[tuple[int, str], list[HourMeans]] = defaultdict(list)
    for part, means in zip(parts, found, strict=True):
        of[part.station.key, part.metric].append(means)
    return await asyncio.to_thread(_shaped, wanted, of)


def _shaped(
    wanted: Sequence[Wanted], of: Mapping[tuple[int, str], Sequence[HourMeans]]
) -> tuple[dict[int, dict[str, Hourly]], dict[int, dict[str, Levels]]]:
    """By box and metric: of each hour that has a value its mean, and how much of it was measured."""
    hourly: dict[int, dict[str, Hourly]] = defaultdict(dict)
    levels: dict[int, dict[str, Levels]] = defaultdict(dict)
    for station, needs in wanted:
        for metric in _measured(station, needs.hours):
            whole = HourMeans.joined(of.get((station.key, metric), ()))
            means = shortened(BY_NAME[metric], whole.means, whole.lows, whole.counts)
            if BY_NAME[metric].kind == "level":
                levels[station.key][metric] = Levels.of_hours(
                    whole.times, means, whole.counts, station.interval_s
                )
            else:
                covered = np.minimum(100.0, 100.0 * whole.counts * station.interval_s / HOUR_S)
                hourly[station.key][metric] = Hourly.of(whole.times, means, covered)
    return hourly, levels


async def _samples(session: AsyncSession, wanted: Sequence[Wanted]) -> dict[int, dict[str, Samples]] | None:
    """By box and metric; None: of these boxes there are more than are looked at."""
    by_metric: dict[str, list[_Part]] = defaultdict(list)
    for station, needs in wanted:
        for part in _parts(station, needs.samples):
            by_metric[part.metric].append(part)
    of: dict[tuple[int, str], list[Values]] = defaultdict(list)
    for metric, parts in by_metric.items():
        stretches = [Stretch(part.station.key, *part.period) for part in parts]
        found = await values_of(session, BY_NAME[metric], stretches, most=MAX_SAMPLES)
        if found is None:
            if len(wanted) > 1:
                return None
            raise too_many_samples(MAX_SAMPLES + 1)
        for part, values in zip(parts, found, strict=True):
            of[part.station.key, metric].append(values)
    return {
        station.key: {
            metric: Samples.of(
                np.concatenate([np.empty(0, np.int64), *(each.times for each in of[station.key, metric])]),
                np.concatenate([np.empty(0), *(each.values for each in of[station.key, metric])]),
                float(station.interval_s),
            )
            for metric in _measured(station, needs.samples)
        }
        for station, needs in wanted
    }
