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

from app.catalogue.metrics import METRICS_BY_NAME
from app.indicators.box_queries import HOUR_S, MAX_SAMPLES, IndexedBox, InputNeeds, too_many_samples_error
from app.indicators.index_definitions import BoxMeasurements
from app.indicators.input_types import HourlySeries, SampleSeries, SoundLevels
from app.indicators.period_selection import DAY_US, TimePeriod
from app.timeseries.rollups.hourly_means import HourlyMeansQuery, HourMeans, read_hourly_means
from app.timeseries.rollups.rollup_columns import round_to_stored_precision
from app.timeseries.series.bulk_values import BoxTimeRange, TimedValues, read_bulk_values

# It is cheaper to read two days too many than to ask once more.
_NEAR_US: Final = 2 * DAY_US
# So much is read of some boxes at once, one box at least: hours are held as they come, some 150 bytes each.
_HOURS: Final = 60_000
_SAMPLES: Final = 200_000


class InputRequest(NamedTuple):
    """A box and what is needed of it."""

    station: IndexedBox
    needs: InputNeeds


class _Part(NamedTuple):
    """A stretch of a metric of a box."""

    station: IndexedBox
    metric: str
    period: TimePeriod


type MeasurementsByBox = dict[int, BoxMeasurements]
"""What was measured, by the boxes' keys."""


async def read_measurements(
    session: AsyncSession, wanted: Sequence[InputRequest]
) -> AsyncIterator[MeasurementsByBox]:
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
            station.key: BoxMeasurements(hourly[station.key], levels[station.key], samples[station.key])
            for station, _ in portion
        }


def _portions(wanted: Iterable[InputRequest]) -> Iterator[list[InputRequest]]:
    portion: list[InputRequest] = []
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


def _measured(station: IndexedBox, needed: Mapping[str, list[TimePeriod]]) -> list[str]:
    return [metric for metric in needed if metric in station.metrics]


def _parts(station: IndexedBox, needed: Mapping[str, list[TimePeriod]]) -> list[_Part]:
    """The stretches that are read, of metrics that the box measures."""
    return [
        _Part(station, metric, period)
        for metric in _measured(station, needed)
        for period in _merged(needed[metric])
    ]


def _merged(periods: Iterable[TimePeriod]) -> list[TimePeriod]:
    """Stretches that hold all periods, ascending, none near the next one."""
    found: list[TimePeriod] = []
    for period in sorted(periods):
        if found and period.start_us - found[-1].end_us <= _NEAR_US:
            found[-1] = TimePeriod(found[-1].start_us, max(found[-1].end_us, period.end_us))
        elif period.start_us < period.end_us:
            found.append(period)
    return found


async def _hourly(
    session: AsyncSession, wanted: Sequence[InputRequest]
) -> tuple[dict[int, dict[str, HourlySeries]], dict[int, dict[str, SoundLevels]]]:
    parts = [part for station, needs in wanted for part in _parts(station, needs.hours)]
    found = await read_hourly_means(
        session,
        [
            HourlyMeansQuery(
                part.station.key, METRICS_BY_NAME[part.metric], *part.period, part.station.interval_s
            )
            for part in parts
        ],
    )
    of: dict[tuple[int, str], list[HourMeans]] = defaultdict(list)
    for part, means in zip(parts, found, strict=True):
        of[part.station.key, part.metric].append(means)
    return await asyncio.to_thread(_shaped, wanted, of)


def _shaped(
    wanted: Sequence[InputRequest], of: Mapping[tuple[int, str], Sequence[HourMeans]]
) -> tuple[dict[int, dict[str, HourlySeries]], dict[int, dict[str, SoundLevels]]]:
    """By box and metric: of each hour that has a value its mean, and how much of it was measured."""
    hourly: dict[int, dict[str, HourlySeries]] = defaultdict(dict)
    levels: dict[int, dict[str, SoundLevels]] = defaultdict(dict)
    for station, needs in wanted:
        for metric in _measured(station, needs.hours):
            whole = HourMeans.joined(of.get((station.key, metric), ()))
            means = round_to_stored_precision(METRICS_BY_NAME[metric], whole.means, whole.lows, whole.counts)
            if METRICS_BY_NAME[metric].kind == "level":
                levels[station.key][metric] = SoundLevels.of_hours(
                    whole.times, means, whole.counts, station.interval_s
                )
            else:
                covered = np.minimum(100.0, 100.0 * whole.counts * station.interval_s / HOUR_S)
                hourly[station.key][metric] = HourlySeries.of(whole.times, means, covered)
    return hourly, levels


async def _samples(
    session: AsyncSession, wanted: Sequence[InputRequest]
) -> dict[int, dict[str, SampleSeries]] | None:
    """By box and metric; None: of these boxes there are more than are looked at."""
    by_metric: dict[str, list[_Part]] = defaultdict(list)
    for station, needs in wanted:
        for part in _parts(station, needs.samples):
            by_metric[part.metric].append(part)
    of: dict[tuple[int, str], list[TimedValues]] = defaultdict(list)
    for metric, parts in by_metric.items():
        stretches = [BoxTimeRange(part.station.key, *part.period) for part in parts]
        found = await read_bulk_values(session, METRICS_BY_NAME[metric], stretches, most=MAX_SAMPLES)
        if found is None:
            if len(wanted) > 1:
                return None
            raise too_many_samples_error(MAX_SAMPLES + 1)
        for part, values in zip(parts, found, strict=True):
            of[part.station.key, metric].append(values)
    return {
        station.key: {
            metric: SampleSeries.of(
                np.concatenate([np.empty(0, np.int64), *(each.times for each in of[station.key, metric])]),
                np.concatenate([np.empty(0), *(each.values for each in of[station.key, metric])]),
                float(station.interval_s),
            )
            for metric in _measured(station, needs.samples)
        }
        for station, needs in wanted
    }
