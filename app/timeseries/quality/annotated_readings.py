"""Adds quality flags and corrections to samples at read time, and aggregates them without flagged values.

Arithmetic runs in a thread, a slice at a time, so that the event loop stays responsive. Aggregates equal
those of SQL if no sample is flagged.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import Metric
from app.platform.kernel.array_types import FloatArray, IntArray
from app.platform.kernel.instants import US_PER_S, from_datetime, to_datetime
from app.timeseries.quality import correction_queries
from app.timeseries.quality.correction_arithmetic import (
    MAX_HUMIDITY_DISTANCE_US,
    CorrectionDefinition,
    apply_corrections,
    find_nearest_values,
)
from app.timeseries.quality.quality_parameters import QualityOptions
from app.timeseries.quality.sample_flagging import (
    FLAGS,
    FLAGS_VERSION,
    Flag,
    FlagEvaluator,
    combine_flags,
)
from app.timeseries.quality.samples_with_neighbours import (
    SampleSpan,
    SamplesWithContext,
    make_too_large_error,
    read_samples_with_context,
)
from app.timeseries.rollups.rollup_merging import (
    RollupColumns,
    list_bucket_starts,
    make_empty_columns,
    round_to_stored_precision,
)
from app.timeseries.rollups.rollup_queries import QUANTILES, BoxSeriesQuery
from app.timeseries.series.bucket_request import MAX_SAMPLES
from app.timeseries.series.reading_queries import SampledBox
from app.timeseries.series.series_parameters import to_shortest_decimal


def summarise_by_bucket(
    times: IntArray, values: FloatArray, edges: IntArray, quantiles: Sequence[str], *, level: bool
) -> RollupColumns:
    """Aggregate samples by bucket.

    Args:
        times: ascending (µs since the epoch), none before the first edge.
        values: none of them NaN.
        edges: start of each bucket; the last one contains all later samples.
        quantiles: by name; interpolated between neighbours.
        level: values are decibels: the mean is that of the energy, 10·log10(mean(10^(L/10))).

    Returns:
        An aggregate of each bucket that has a value. Extremes are not rounded.
    """
    if not len(times):
        return make_empty_columns(quantiles)
    buckets = np.searchsorted(edges, times, side="right") - 1
    starts = np.concatenate([[0], np.flatnonzero(buckets[1:] != buckets[:-1]) + 1])
    counts = np.diff(starts, append=len(times)).astype(np.int64)
    totals = np.add.reduceat(10.0 ** (values / 10.0) if level else values, starts)
    means = totals / counts
    return RollupColumns(
        edges[buckets[starts]],
        counts,
        10.0 * np.log10(means) if level else means,
        np.minimum.reduceat(values, starts),
        np.maximum.reduceat(values, starts),
        _quantiles(buckets, values, starts, counts, quantiles),
    )


def _quantiles(
    buckets: IntArray, values: FloatArray, starts: IntArray, counts: IntArray, names: Sequence[str]
) -> dict[str, FloatArray]:
    if not names:
        return {}
    ascending = values[np.lexsort((values, buckets))]
    found = {}
    for name in names:
        place = QUANTILES[name] * (counts - 1)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, counts - 1)
        low, high = ascending[starts + below], ascending[starts + above]
        found[name] = low + (place - below) * (high - low)
    return found


_MICROSECOND: Final = timedelta(microseconds=1)
# The names of the flags in each bitmask.
_NAMES: Final = tuple(
    [flag for place, flag in enumerate(FLAGS) if bits >> place & 1] for bits in range(1 << len(FLAGS))
)


@dataclass(frozen=True, slots=True)
class AnnotatedReadings:
    """Raw values with flags and corrections.

    Attributes:
        points: one object each.
        metadata: fields of the response about flags and corrections.
    """

    points: Sequence[dict[str, Any]]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedBuckets:
    """Aggregates of unflagged samples; `metadata` as for AnnotatedReadings."""

    columns: RollupColumns
    metadata: dict[str, Any]


async def annotate_readings(
    session: AsyncSession,
    box: SampledBox,
    metric: Metric,
    rows: Sequence[tuple[datetime, float]],
    options: QualityOptions,
) -> AnnotatedReadings:
    """Add the requested flags and corrections to a page of raw values.

    Args:
        session: in which they were read.
        box: their box.
        metric: of the catalogue.
        rows: time and value, ascending.
        options: requested flags and corrections.

    Raises:
        InvalidError: `range_too_large`.
    """
    definitions: list[CorrectionDefinition] = []
    if options.corrected and rows:
        definitions = await correction_queries.find_corrections_in_force(
            session, box.key, metric.name, rows[0][0], rows[-1][0] + _MICROSECOND
        )
    times = np.array([from_datetime(time) for time, _ in rows], np.int64)
    values = np.array([value for _, value in rows], np.float64)
    needs_humidity = _needs_humidity(definitions)
    bits, humidity = np.zeros(len(rows), np.uint8), np.full(len(rows), np.nan)
    if rows and (options.flags or needs_humidity):
        evaluator = FlagEvaluator.of(metric, box.interval_s, FLAGS if options.flags else ())
        range_us = int(times[0]), int(times[-1]) + 1
        span = _plan_span(box.key, metric, range_us, evaluator, needs_humidity=needs_humidity)
        async for batch in read_samples_with_context(session, span, evaluator):
            await asyncio.to_thread(_annotate, batch, evaluator, times, bits, humidity)
    more: list[dict[str, Any]] = [{} for _ in rows]
    if options.flags:
        more = [{"flags": _NAMES[each]} for each in bits.tolist()]
    if options.corrected:
        corrected = apply_corrections(times, values, humidity, definitions)
        for each, value in zip(more, _round_computed(metric, corrected).tolist(), strict=True):
            # NaN does not equal itself.
            each.update({"corrected": value} if value == value else _UNKNOWN)  # noqa: PLR0124
    points = [{"time": time, "value": value} | each for (time, value), each in zip(rows, more, strict=True)]
    return AnnotatedReadings(
        points, _describe_treatment(options, definitions, _select_in_force(times, definitions))
    )


_UNKNOWN: Final[Mapping[str, Any]] = {"corrected": None, "uncorrected": "no_humidity"}


def _annotate(
    batch: SamplesWithContext,
    evaluator: FlagEvaluator,
    times: IntArray,
    bits: Any,  # noqa: ANN401 (an array)
    humidity: FloatArray,
) -> None:
    """Set the flags and the nearest humidity of those samples of a page that are in this slice."""
    own = batch.samples.times[batch.own]
    places = np.searchsorted(own, times)
    places[places == len(own)] = 0
    in_batch = own[places] == times if len(own) else np.zeros(len(times), np.bool_)
    found = np.zeros(len(own), np.uint8)
    for flag, which in evaluator.flags(batch.samples).items():
        found |= which[batch.own].astype(np.uint8) << FLAGS.index(flag)
    bits[in_batch] = found[places[in_batch]]
    if len(batch.humidity):
        humidity[in_batch] = _nearest_humidity(batch)[places[in_batch]]


async def summarise_unflagged_samples(
    session: AsyncSession, query: BoxSeriesQuery, interval_s: int, options: QualityOptions
) -> AnnotatedBuckets:
    """Aggregate samples without the excluded flags, corrected if requested.

    Args:
        session: reads them.
        query: box, metric, buckets and range.
        interval_s: sampling interval of the box (s).
        options: excluded flags, and whether to correct.

    Raises:
        InvalidError: `range_too_large`.
    """
    metric = query.metric
    definitions: list[CorrectionDefinition] = []
    if options.corrected:
        definitions = await correction_queries.find_corrections_in_force(
            session, query.key, metric.name, query.first, query.last
        )
    evaluator = FlagEvaluator.of(metric, interval_s, options.exclude)
    range_us = from_datetime(query.first), from_datetime(query.last)
    span = _plan_span(query.key, metric, range_us, evaluator, needs_humidity=_needs_humidity(definitions))
    unflagged: list[tuple[IntArray, FloatArray]] = []
    used: set[CorrectionDefinition] = set()
    async for batch in read_samples_with_context(session, span, evaluator):
        used.update(_select_in_force(batch.samples.times[batch.own], definitions))
        unflagged.append(await asyncio.to_thread(_select_unflagged, batch, evaluator, definitions))
    columns = await asyncio.to_thread(_summarise_columns, query, unflagged, corrected=bool(used))
    return AnnotatedBuckets(columns, _describe_treatment(options, definitions, used))


def _select_unflagged(
    batch: SamplesWithContext, evaluator: FlagEvaluator, definitions: Sequence[CorrectionDefinition]
) -> tuple[IntArray, FloatArray]:
    """Return times and values of the samples without flags."""
    samples, own = batch.samples, batch.own
    flagged = combine_flags(evaluator.flags(samples), len(samples.times))[own]
    times, values = samples.times[own], samples.values[own]
    if definitions:
        humidity = _nearest_humidity(batch) if len(batch.humidity) else np.full(len(times), np.nan)
        values = apply_corrections(times, values, humidity, definitions)
    counts = ~flagged & ~np.isnan(values)
    return times[counts], values[counts]


def _summarise_columns(
    query: BoxSeriesQuery, unflagged: Sequence[tuple[IntArray, FloatArray]], *, corrected: bool
) -> RollupColumns:
    if not unflagged:
        return make_empty_columns(query.quantiles)
    metric = query.metric
    edges = list_bucket_starts(query.first, query.last, query.bucket, ZoneInfo(query.timezone))
    found = summarise_by_bucket(
        np.concatenate([times for times, _ in unflagged]),
        np.concatenate([values for _, values in unflagged]),
        edges,
        query.quantiles,
        level=metric.kind == "level",
    )
    lows, highs = (
        _round_computed(metric, each) if corrected else _to_stored_decimals(metric, each)
        for each in (found.lows, found.highs)
    )
    return RollupColumns(found.times, found.counts, found.means, lows, highs, found.quantiles)


def _nearest_humidity(batch: SamplesWithContext) -> FloatArray:
    """Return the nearest humidity of each of a slice's own samples."""
    known = ~np.isnan(batch.humidity)
    times = batch.samples.times
    return find_nearest_values(times[batch.own], times[known], batch.humidity[known])


def _plan_span(
    key: int, metric: Metric, range_us: tuple[int, int], evaluator: FlagEvaluator, *, needs_humidity: bool
) -> SampleSpan:
    """Return the samples to read for a range, neighbours included (InvalidError `range_too_large`)."""
    first_us, last_us = range_us
    around_us = MAX_HUMIDITY_DISTANCE_US if needs_humidity else 0
    width_us = last_us - first_us + max(evaluator.before_us, around_us) + max(evaluator.after_us, around_us)
    expected = width_us / US_PER_S / evaluator.interval_s
    if expected > MAX_SAMPLES:
        raise make_too_large_error(expected, MAX_SAMPLES)
    return SampleSpan(key, metric, first_us, last_us, MAX_SAMPLES, around_us, needs_humidity)


def _needs_humidity(definitions: Sequence[CorrectionDefinition]) -> bool:
    return any(each.kind == "humidity" for each in definitions)


def _select_in_force(
    times: IntArray, definitions: Sequence[CorrectionDefinition]
) -> set[CorrectionDefinition]:
    """Return the corrections that are in force at any of these times."""
    return {each for each in definitions if len(times[each.holds(times)])}


def _round_computed(metric: Metric, values: FloatArray) -> FloatArray:
    """Round computed values like means."""
    return round_to_stored_precision(metric, values, values, np.zeros(len(values), np.int64))


def _to_stored_decimals(metric: Metric, values: FloatArray) -> FloatArray:
    """Return measured values as their shortest decimals, like raw values."""
    return np.array([to_shortest_decimal(metric, value) for value in values.tolist()], np.float64)


def _describe_treatment(
    options: QualityOptions, definitions: Sequence[CorrectionDefinition], used: set[CorrectionDefinition]
) -> dict[str, Any]:
    """Return the fields of the response about flags and corrections."""
    metadata: dict[str, Any] = {}
    if options.exclude:
        metadata["exclude"] = list[Flag](options.exclude)
    if options.flags or options.exclude:
        metadata["flags_version"] = FLAGS_VERSION
    if options.corrected:
        metadata["corrected"] = True
        metadata["corrections"] = [_describe_correction(each) for each in definitions if each in used]
    return metadata


def _describe_correction(definition: CorrectionDefinition) -> dict[str, Any]:
    numbers = (
        {"gain": definition.gain, "offset": definition.offset}
        if definition.kind == "linear"
        else {"kappa": definition.kappa}
    )
    return {
        "id": str(definition.id),
        "kind": definition.kind,
        **numbers,
        "valid_from": to_datetime(definition.first_us),
        "valid_until": None if definition.last_us is None else to_datetime(definition.last_us),
    }
