"""Reads the hourly means and samples that indices need, in batches of boxes with bounded memory.

Each time range of a metric is read once. Hourly means equal those of series, with the same precision and
coverage, also for recent hours.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import METRICS_BY_NAME
from app.environmental_indices.boxes_and_read_limits import (
    HOUR_S,
    MAX_SAMPLES,
    IndexedBox,
    InputNeeds,
    too_many_samples_error,
)
from app.environmental_indices.index_definitions import BoxMeasurements
from app.environmental_indices.input_types import HourlySeries, SampleSeries, SoundLevels
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.instants import DAY_US
from app.timeseries.rollups.hourly_means import HourlyMeansQuery, HourMeans, read_hourly_means
from app.timeseries.rollups.rollup_merging import round_to_stored_precision
from app.timeseries.series.bulk_values import BoxTimeRange, TimedValues, read_bulk_values

# Reading two extra days is cheaper than another query.
_MERGE_GAP_US: Final = 2 * DAY_US
# Limits of a batch of boxes (at least one box). An hourly mean takes about 150 bytes of memory.
_BATCH_HOURS: Final = 60_000
_BATCH_SAMPLES: Final = 200_000


class InputRequest(NamedTuple):
    """A box and the time ranges to read of it."""

    station: IndexedBox
    needs: InputNeeds


class _Part(NamedTuple):
    """A time range of a metric of a box."""

    station: IndexedBox
    metric: str
    period: TimePeriod


type MeasurementsByBox = dict[int, BoxMeasurements]
"""Measurements by box key."""


async def read_measurements(
    session: AsyncSession, requests: Sequence[InputRequest]
) -> AsyncIterator[MeasurementsByBox]:
    """Read the requested measurements, batch by batch, in the order of the requests.

    Raises:
        InvalidError: `range_too_large`: a box has too many samples.
    """
    queue = list(_split_batches(requests))[::-1]
    while queue:
        batch = queue.pop()
        samples = await _samples(session, batch)
        if samples is None:
            # Boxes sample more often than registered: halve the batch.
            middle = len(batch) // 2
            queue += [batch[middle:], batch[:middle]]
            continue
        hourly, levels = await _hourly(session, batch)
        yield {
            station.key: BoxMeasurements(hourly[station.key], levels[station.key], samples[station.key])
            for station, _ in batch
        }


def _split_batches(requests: Iterable[InputRequest]) -> Iterator[list[InputRequest]]:
    batch: list[InputRequest] = []
    hours = samples = 0.0
    for each in requests:
        more_hours = _seconds(_parts(each.station, each.needs.hours)) / HOUR_S
        more_samples = _seconds(_parts(each.station, each.needs.samples)) / each.station.interval_s
        if batch and (hours + more_hours > _BATCH_HOURS or samples + more_samples > _BATCH_SAMPLES):
            yield batch
            batch, hours, samples = [], 0.0, 0.0
        batch.append(each)
        hours, samples = hours + more_hours, samples + more_samples
    if batch:
        yield batch


def _seconds(parts: Iterable[_Part]) -> float:
    return sum(part.period.seconds for part in parts)


def _measured(station: IndexedBox, needed: Mapping[str, list[TimePeriod]]) -> list[str]:
    return [metric for metric in needed if metric in station.metrics]


def _parts(station: IndexedBox, needed: Mapping[str, list[TimePeriod]]) -> list[_Part]:
    """List the time ranges to read, of metrics that the box measures."""
    return [
        _Part(station, metric, period)
        for metric in _measured(station, needed)
        for period in _merged(needed[metric])
    ]


def _merged(periods: Iterable[TimePeriod]) -> list[TimePeriod]:
    """Merge periods that overlap or are close to each other; ascending."""
    found: list[TimePeriod] = []
    for period in sorted(periods):
        if found and period.start_us - found[-1].end_us <= _MERGE_GAP_US:
            found[-1] = TimePeriod(found[-1].start_us, max(found[-1].end_us, period.end_us))
        elif period.start_us < period.end_us:
            found.append(period)
    return found


async def _hourly(
    session: AsyncSession, requests: Sequence[InputRequest]
) -> tuple[dict[int, dict[str, HourlySeries]], dict[int, dict[str, SoundLevels]]]:
    parts = [part for station, needs in requests for part in _parts(station, needs.hours)]
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
    return await asyncio.to_thread(_to_series, requests, of)


def _to_series(
    requests: Sequence[InputRequest], of: Mapping[tuple[int, str], Sequence[HourMeans]]
) -> tuple[dict[int, dict[str, HourlySeries]], dict[int, dict[str, SoundLevels]]]:
    """Convert hourly means to series with coverage, and sound levels to levels with measured time."""
    hourly: dict[int, dict[str, HourlySeries]] = defaultdict(dict)
    levels: dict[int, dict[str, SoundLevels]] = defaultdict(dict)
    for station, needs in requests:
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
    session: AsyncSession, requests: Sequence[InputRequest]
) -> dict[int, dict[str, SampleSeries]] | None:
    """Read samples by box and metric; None if the boxes together have too many."""
    by_metric: dict[str, list[_Part]] = defaultdict(list)
    for station, needs in requests:
        for part in _parts(station, needs.samples):
            by_metric[part.metric].append(part)
    of: dict[tuple[int, str], list[TimedValues]] = defaultdict(list)
    for metric, parts in by_metric.items():
        ranges = [BoxTimeRange(part.station.key, *part.period) for part in parts]
        found = await read_bulk_values(session, METRICS_BY_NAME[metric], ranges, most=MAX_SAMPLES)
        if found is None:
            if len(requests) > 1:
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
        for station, needs in requests
    }
