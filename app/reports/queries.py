"""Reads box names, hourly summaries and counts of quality flags for a report, with limits on their number."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import METRICS_BY_NAME
from app.environmental_indices.boxes_and_read_limits import IndexedBox
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import EARLIEST_US, HOUR_US, LATEST_US
from app.registry.models import Box
from app.reports.report_input import REPORTED_METRICS, FlagCounts, HourlySummaries
from app.timeseries.quality.sample_flagging import FLAGS, Flag, FlagEvaluator
from app.timeseries.quality.samples_with_neighbours import (
    SampleSpan,
    SamplesWithContext,
    read_samples_with_context,
)
from app.timeseries.rollups.hourly_means import HourlyMeansQuery, HourMeans, read_hourly_means
from app.timeseries.rollups.rollup_merging import RollupColumns, round_to_stored_precision

MAX_FLAG_SAMPLES: Final = 600_000
"""Greatest number of samples that are evaluated for flags."""
# Hours per query.
_BATCH_HOURS: Final = 60_000


async def read_box_names(session: AsyncSession, keys: Sequence[int]) -> dict[int, str | None]:
    """Read the names of boxes, by key."""
    rows = await session.execute(select(Box.key, Box.name).where(Box.key.in_(keys)))
    return {key: name for key, name in rows}  # noqa: C416 (dict() does not take rows as pairs)


async def read_hourly_summaries(
    session: AsyncSession, stations: Sequence[IndexedBox], period: TimePeriod
) -> dict[int, list[HourlySummaries]]:
    """Read the hourly summaries of boxes, by box key and with the same values as series."""
    first = max(period.start_us // HOUR_US * HOUR_US, EARLIEST_US)
    last = min(-(-period.end_us // HOUR_US) * HOUR_US, LATEST_US)
    requests = [
        HourlyMeansQuery(station.key, METRICS_BY_NAME[name], first, last, station.interval_s)
        for station in stations
        for name in REPORTED_METRICS
        if name in station.metrics
    ]
    found: dict[int, list[HourlySummaries]] = {station.key: [] for station in stations}
    size = max(1, _BATCH_HOURS * HOUR_US // (last - first))
    for start in range(0, len(requests), size):
        batch = requests[start : start + size]
        read = await read_hourly_means(session, batch, highs=True)
        for each, means in zip(batch, await asyncio.to_thread(_pack, batch, read), strict=True):
            found[each.key].append(means)
    return found


def _pack(requests: Sequence[HourlyMeansQuery], read: Sequence[HourMeans]) -> list[HourlySummaries]:
    packed: list[HourlySummaries] = []
    for each, found in zip(requests, read, strict=True):
        means = round_to_stored_precision(each.metric, found.means, found.lows, found.counts)
        highs = np.empty(0) if found.highs is None else found.highs
        packed.append(
            HourlySummaries.of(
                each.metric.name, RollupColumns(found.times, found.counts, means, found.lows, highs)
            )
        )
    return packed


async def count_flags(
    session: AsyncSession, stations: Sequence[IndexedBox], period: TimePeriod
) -> FlagCounts | None:
    """Count the samples of a period with each flag; None: there are more than `MAX_FLAG_SAMPLES`."""
    series = [(station, name) for station in stations for name in REPORTED_METRICS if name in station.metrics]
    expected = sum(period.seconds / station.interval_s for station, _ in series)
    if expected > MAX_FLAG_SAMPLES:
        return None
    total, found = 0, Counter[Flag]()
    for station, name in series:
        metric = METRICS_BY_NAME[name]
        evaluator = FlagEvaluator.of(metric, station.interval_s, FLAGS)
        # The interval of the box may have changed since, so twice the expected number is allowed.
        span = SampleSpan(station.key, metric, period.start_us, period.end_us, 2 * MAX_FLAG_SAMPLES)
        try:
            async for piece in read_samples_with_context(session, span, evaluator):
                count, flags = await asyncio.to_thread(_count, evaluator, piece)
                total += count
                found.update(flags)
        except InvalidError:
            return None
        if total > MAX_FLAG_SAMPLES:
            return None
    return FlagCounts(total, {flag: found[flag] for flag in FLAGS})


def _count(evaluator: FlagEvaluator, piece: SamplesWithContext) -> tuple[int, dict[Flag, int]]:
    flags = evaluator.flags(piece.samples)
    there = np.isfinite(piece.samples.values[piece.own])
    return int(there.sum()), {name: int((which[piece.own] & there).sum()) for name, which in flags.items()}
