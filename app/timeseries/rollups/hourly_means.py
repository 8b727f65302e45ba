"""Reads hourly means of many boxes at once, from roll-ups where they are current, else from samples.

It takes few statements: one for stale marks, one for roll-ups, and some for samples. The result equals that
of `rollup_queries` for buckets of an hour, for each box and metric.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import CATALOGUE, Metric
from app.platform.kernel.array_types import FloatArray, IntArray
from app.platform.kernel.instants import DAY_US, HOUR_US, US_PER_S, to_datetime
from app.timeseries.rollups.rollup_merging import choose_larger
from app.timeseries.rollups.rollup_queries import extreme_sql, mean_sql, merge_stale_spans
from app.timeseries.storage.sample_column_encoding import MICROS_SQL

# A chunk of samples is a week. Ranges that lie further apart have separate statements, because the planner
# reads all chunks from the first range to the last.
_APART_US: Final = 7 * DAY_US
# The approximate number of samples that one statement reads, so that it ends before the statement timeout.
_SAMPLES: Final = 500_000

_STALE: Final = text(f"""
SELECT box_key, {MICROS_SQL.format("hour")} AS first, NULL AS last, NULL AS zone FROM rollup_marks
WHERE box_key = ANY (:keys) AND hour >= :first AND hour < :last
UNION ALL
SELECT box_key, {MICROS_SQL.format("backfill_next")}, {MICROS_SQL.format("backfill_until")}, timezone
FROM rollup_states WHERE box_key = ANY (:keys)
""")  # noqa: S608 (constants)
_ROLLUPS: Final = f"""
SELECT k.place, {MICROS_SQL.format("h.day")} AS day, h.count, h.mean, h.min{{highs}}
FROM unnest(CAST(:keys AS int[]), CAST(:metrics AS text[]), CAST(:firsts AS timestamptz[]),
    CAST(:lasts AS timestamptz[])) WITH ORDINALITY AS k (key, metric, first, last, place),
LATERAL (
    SELECT * FROM tenant_hourly h
    WHERE h.box_key = k.key AND h.metric = k.metric AND h.day >= k.first AND h.day < k.last
        AND h.day >= :first AND h.day < :last OFFSET 0
) h
ORDER BY k.place, h.day
"""  # noqa: S608 (constants)


def _samples_sql(metrics: Sequence[Metric], *, highs: bool) -> str:
    """SQL: hourly aggregates of ranges of samples. Names come from the catalogue."""
    ends = ("min", "max") if highs else ("min",)
    fields = ", ".join(
        ", ".join(
            [f'count(s."{metric.name}")', mean_sql(metric), *(extreme_sql(end, metric) for end in ends)]
        )
        for metric in metrics
    )
    return f"""
        SELECT k.place, {MICROS_SQL.format("time_bucket(interval '1 hour', s.time)")} AS hour, {fields}
        FROM unnest(CAST(:keys AS int[]), CAST(:firsts AS timestamptz[]), CAST(:lasts AS timestamptz[]))
            WITH ORDINALITY AS k (key, first, last, place),
        LATERAL (
            SELECT * FROM tenant_samples s WHERE s.box_key = k.key AND s.time >= k.first AND s.time < k.last
                AND s.time >= :first AND s.time < :last OFFSET 0
        ) s
        GROUP BY 1, 2 ORDER BY 1, 2
    """  # noqa: S608 (catalogue names and constants)


@dataclass(frozen=True, slots=True)
class HourlyMeansQuery:
    """The hours of one metric of one box.

    Attributes:
        key: the box.
        metric: of the catalogue.
        first_us: start (µs since the epoch), inclusive: a whole hour of UTC.
        last_us: end (µs since the epoch), exclusive: a whole hour of UTC.
        interval_s: sampling interval of the box (s).
    """

    key: int
    metric: Metric
    first_us: int
    last_us: int
    interval_s: int

    def __post_init__(self) -> None:
        if self.first_us % HOUR_US or self.last_us % HOUR_US or self.first_us >= self.last_us:
            raise ValueError("hours begin and end as hours of UTC do")


@dataclass(frozen=True, slots=True, eq=False)
class HourMeans:
    """Aggregates of the hours that have a value, ascending; all arrays have the same length.

    Attributes:
        times: start of each hour (µs since the epoch).
        counts: number of values.
        means: not rounded; for levels those of the energy (dB).
        lows: the lowest values.
        highs: the highest values; None if they were not requested.
    """

    times: IntArray
    counts: IntArray
    means: FloatArray
    lows: FloatArray
    highs: FloatArray | None = None

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> "HourMeans":
        """Select hours, in the given order."""
        highs = None if self.highs is None else self.highs[chosen]
        return HourMeans(
            self.times[chosen], self.counts[chosen], self.means[chosen], self.lows[chosen], highs
        )

    @classmethod
    def joined(cls, parts: Sequence["HourMeans"]) -> "HourMeans":
        """Join parts without common hours, in ascending order."""
        if len(parts) == 1:
            return parts[0]
        highs = [part.highs for part in parts if part.highs is not None]
        whole = cls(
            np.concatenate([np.empty(0, np.int64), *(part.times for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.counts for part in parts)]),
            np.concatenate([np.empty(0), *(part.means for part in parts)]),
            np.concatenate([np.empty(0), *(part.lows for part in parts)]),
            np.concatenate(highs) if highs else None,
        )
        return whole.only(np.argsort(whole.times))


class _RawSpan(NamedTuple):
    """A range of a box that is aggregated from its samples (µs since the epoch)."""

    first: int
    last: int
    key: int


type _StaleSpans = Mapping[tuple[int, int, int], list[tuple[int, int]] | None]
type _Rows = Sequence[Sequence[Any]]


async def read_hourly_means(
    session: AsyncSession, queries: Sequence[HourlyMeansQuery], *, highs: bool = False
) -> list[HourMeans]:
    """Read the hourly aggregates of many boxes: one result per query, in order.

    All results are in memory at once. For more than a few hundred thousand hours, call it several times.

    Args:
        session: reads them.
        queries: boxes, metrics and hours.
        highs: whether to include the highest values.
    """
    if not queries:
        return []
    stale_spans = await _read_stale_spans(session, queries)
    stored = await _read_rollups(session, queries, stale_spans, highs=highs)
    sampled = await _read_samples(session, queries, stale_spans, highs=highs)
    # In a thread, so that the event loop stays responsive.
    return await asyncio.to_thread(_merge_sources, queries, stale_spans, stored, sampled)


def _covering_range(queries: Iterable[HourlyMeansQuery]) -> dict[str, object]:
    return {
        "first": to_datetime(min(each.first_us for each in queries)),
        "last": to_datetime(max(each.last_us for each in queries)),
    }


def _window_key(each: HourlyMeansQuery) -> tuple[int, int, int]:
    return each.key, each.first_us, each.last_us


async def _read_stale_spans(session: AsyncSession, queries: Sequence[HourlyMeansQuery]) -> _StaleSpans:
    """Find by box and window the ranges with stale roll-ups; None: there are no roll-ups to read."""
    values = {"keys": sorted({each.key for each in queries}), **_covering_range(queries)}
    marked: dict[int, list[tuple[int, int]]] = defaultdict(list)
    known = set()
    for key, first, last, zone in await session.execute(_STALE, values):
        if zone is not None:
            known.add(key)
        if first is not None:
            marked[key].append((first, first + HOUR_US if last is None else last))
    for raw_spans in marked.values():
        raw_spans.sort()
    return {
        (key, first, last): merge_stale_spans(marked[key], first, last) if key in known else None
        for key, first, last in {_window_key(each) for each in queries}
    }


async def _read_rollups(
    session: AsyncSession, queries: Sequence[HourlyMeansQuery], stale_spans: _StaleSpans, *, highs: bool
) -> _Rows:
    """Read days of roll-ups by index of the query, ascending: (index, day, counts, means, lowest …)."""
    usable = [
        (index, each) for index, each in enumerate(queries) if stale_spans[_window_key(each)] is not None
    ]
    if not usable:
        return []
    some = [each for _, each in usable]
    span = _covering_range(some)
    values = {
        "keys": [each.key for each in some],
        "metrics": [each.metric.name for each in some],
        "firsts": [to_datetime(each.first_us // DAY_US * DAY_US) for each in some],
        "lasts": [to_datetime(each.last_us) for each in some],
        "first": to_datetime(min(each.first_us for each in some) // DAY_US * DAY_US),
        "last": span["last"],
    }
    statement = text(_ROLLUPS.format(highs=", h.max" if highs else ""))
    rows = (await session.execute(statement, values)).all()
    indexes = [index for index, _ in usable]
    return [(indexes[number - 1], *rest) for number, *rest in rows]


async def _read_samples(
    session: AsyncSession, queries: Sequence[HourlyMeansQuery], stale_spans: _StaleSpans, *, highs: bool
) -> dict[tuple[_RawSpan, str], list[Sequence[Any]]]:
    """Aggregate samples, by range and metric: (hour, count, mean, lowest …), ascending."""
    width = 4 if highs else 3
    metrics: dict[_RawSpan, set[Metric]] = defaultdict(set)
    intervals = {}
    for each in queries:
        intervals[each.key] = each.interval_s
        for raw_span in _find_raw_spans(each, stale_spans):
            metrics[raw_span].add(each.metric)
    alike: dict[tuple[Metric, ...], list[_RawSpan]] = defaultdict(list)
    for raw_span, of in metrics.items():
        alike[tuple(sorted(of, key=CATALOGUE.index))].append(raw_span)
    found: dict[tuple[_RawSpan, str], list[Sequence[Any]]] = defaultdict(list)
    for these, raw_spans in alike.items():
        statement = text(_samples_sql(these, highs=highs))
        for some in _split_batches(raw_spans, intervals):
            values = {
                "keys": [each.key for each in some],
                "firsts": [to_datetime(each.first) for each in some],
                "lasts": [to_datetime(each.last) for each in some],
                "first": to_datetime(some[0].first),
                "last": to_datetime(max(each.last for each in some)),
            }
            for index, hour, *fields in await session.execute(statement, values):
                for number, metric in enumerate(these):
                    summary = fields[width * number : width * number + width]
                    if summary[0]:
                        found[some[index - 1], metric.name].append((hour, *summary))
    return found


def _find_raw_spans(each: HourlyMeansQuery, stale_spans: _StaleSpans) -> list[_RawSpan]:
    stale = stale_spans[_window_key(each)]
    if stale is None:
        return [_RawSpan(each.first_us, each.last_us, each.key)]
    return [_RawSpan(begin, end, each.key) for begin, end in stale]


def _split_batches(raw_spans: Iterable[_RawSpan], intervals: Mapping[int, int]) -> Iterator[list[_RawSpan]]:
    """Split ranges into one batch per statement.

    The ranges of a batch are near each other, ascending, and have a limited number of samples.
    """
    batch: list[_RawSpan] = []
    samples, last = 0.0, 0
    for raw_span in sorted(raw_spans):
        expected = (raw_span.last - raw_span.first) / US_PER_S / intervals[raw_span.key]
        if batch and (raw_span.first - last > _APART_US or samples + expected > _SAMPLES):
            yield batch
            batch, samples, last = [], 0.0, 0
        batch.append(raw_span)
        samples, last = samples + expected, max(last, raw_span.last)
    if batch:
        yield batch


def _merge_sources(
    queries: Sequence[HourlyMeansQuery],
    stale_spans: _StaleSpans,
    stored: _Rows,
    sampled: Mapping[tuple[_RawSpan, str], Sequence[Sequence[Any]]],
) -> list[HourMeans]:
    indexes, days, *fields = zip(*stored, strict=True) if stored else ((),) * 5
    starts = np.searchsorted(np.array(indexes, np.int64), np.arange(len(queries) + 1))
    times = np.array(days, np.int64)[:, None] + np.arange(24) * HOUR_US
    shape = (len(stored), 24)
    count, means, lows, *more = (np.array(field, np.float64).reshape(shape) for field in fields)
    counts = np.nan_to_num(count).astype(np.int64)
    found = []
    for index, each in enumerate(queries):
        rows = slice(starts[index], starts[index + 1])
        hours = HourMeans(
            times[rows].ravel(),
            counts[rows].ravel(),
            means[rows].ravel(),
            lows[rows].ravel(),
            *(each_of[rows].ravel() for each_of in more),
        )
        keep = (hours.counts > 0) & (hours.times >= each.first_us) & (hours.times < each.last_us)
        parts = [
            _to_hour_means(rows_of)
            for raw_span in _find_raw_spans(each, stale_spans)
            if (rows_of := sampled.get((raw_span, each.metric.name)))
        ]
        current = [hours.only(keep)]
        if parts:
            current = choose_larger(current[0], HourMeans.joined(parts))
        found.append(HourMeans.joined(current))
    return found


def _to_hour_means(rows: Sequence[Sequence[Any]]) -> HourMeans:
    hours, counts, means, lows, *highs = zip(*rows, strict=True)
    return HourMeans(
        np.array(hours, np.int64),
        np.array(counts, np.int64),
        np.array(means, np.float64),
        np.array(lows, np.float64),
        *(np.array(each, np.float64) for each in highs),
    )
