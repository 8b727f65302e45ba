"""Reads aggregates of one box, from roll-ups where they are current, else from samples.

A roll-up is current unless a mark exists. Stale ones, parts of hours or days at the ends of a range, and
other bucket widths are aggregated from samples by the same formulas. Of an hour or day with fewer samples
than its stale roll-up has, because some were removed, the roll-up is read: it will not be replaced.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import Metric
from app.catalogue.purposes import PURPOSE_BY_METRIC
from app.platform.kernel.array_types import IntArray
from app.platform.kernel.instants import HOUR_US, from_datetime, to_datetime
from app.timeseries.rollups import rollup_merging
from app.timeseries.rollups.rollup_merging import RollupColumns
from app.timeseries.series.series_parameters import BucketWidth
from app.timeseries.storage.sample_column_encoding import MICROS_SQL

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
_UNITS: Final = {"hourly": BucketWidth.parse("1h"), "daily": BucketWidth.parse("1d")}
# With more stale ranges than this, reading roll-ups in between is no faster than reading all samples.
_MANY: Final = 200
_FEW: Final = 4
QUANTILES: Final = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p95": 0.95}
"""The quantiles that roll-ups store."""


_STALE: Final = text(f"""
WITH bounds AS (
    SELECT CAST(:first AS timestamptz) AS first, CAST(:last AS timestamptz) AS last,
        CAST(:days AS boolean) AS days
)
SELECT {MICROS_SQL.format("hour")} AS first, {MICROS_SQL.format("hour + interval '1 hour'")} AS last,
    NULL AS zone
FROM rollup_marks, bounds b WHERE box_key = :key AND hour > b.first - interval '1 hour' AND hour < b.last
UNION ALL
SELECT {MICROS_SQL.format("day")}, {MICROS_SQL.format("until")}, NULL
FROM rollup_day_marks, bounds b WHERE b.days AND box_key = :key AND day < b.last AND until > b.first
UNION ALL
SELECT {MICROS_SQL.format("backfill_next")}, {MICROS_SQL.format("backfill_until")}, timezone
FROM rollup_states WHERE box_key = :key
""")  # noqa: S608 (constants)
_FIELDS: Final = "count, mean, min, max"


def _rollup_sql(table: str, quantiles: Sequence[str]) -> str:
    fields = ", ".join([_FIELDS, *quantiles])
    return f"""
        SELECT {MICROS_SQL.format("day")} AS day, {fields} FROM tenant_{table}
        WHERE box_key = :key AND metric = :metric AND day >= :first AND day < :last ORDER BY day
    """  # noqa: S608 (constants)


def mean_sql(metric: Metric) -> str:
    """SQL: the mean of samples `s`, of levels that of the energy. The name comes from the catalogue."""
    value = f's."{metric.name}"::float8'
    if metric.kind == "level":
        return f"10 * log(avg(power(10, {value} / 10)))"
    return f"avg({value})"


def extreme_sql(function: str, metric: Metric) -> str:
    """SQL: the lowest (`min`) or highest (`max`) value of samples `s`, as its shortest decimal."""
    found = f'{function}(s."{metric.name}")'
    return f"{found}::text::float8" if metric.storage == "real" else found


def _samples_sql(metric: Metric, bucket: BucketWidth, quantiles: Sequence[str]) -> str:
    """SQL: aggregates of ranges of samples by bucket. Names come from the catalogue."""
    column = f's."{metric.name}"'
    value = f"{column}::float8"
    fractions = ", ".join(str(QUANTILES[name]) for name in quantiles)
    more = (
        f", percentile_cont(ARRAY[{fractions}]::float8[]) WITHIN GROUP (ORDER BY {value}) AS q"
        if fractions
        else ""
    )
    zone = ", :zone" if bucket.local else ""
    return f"""
        SELECT {MICROS_SQL.format(f"time_bucket(:width, s.time{zone})")} AS bucket, count(*) AS count,
            {mean_sql(metric)} AS mean, {extreme_sql("min", metric)} AS min,
            {extreme_sql("max", metric)} AS max{more}
        FROM unnest(CAST(:firsts AS timestamptz[]), CAST(:lasts AS timestamptz[])) AS k (first, last),
        LATERAL (
            SELECT * FROM tenant_samples s WHERE s.box_key = :key AND s.time >= k.first AND s.time < k.last
                AND s.time >= :first AND s.time < :last AND {column} IS NOT NULL OFFSET 0
        ) s
        GROUP BY 1 ORDER BY 1
    """  # noqa: S608 (catalogue names and constants)


@dataclass(frozen=True, slots=True)
class BoxSeriesQuery:
    """One metric of one box, in buckets, from `first` on, before `last`.

    Attributes:
        key: the box.
        metric: of the catalogue.
        bucket: width of the buckets.
        timezone: the site's.
        first, last: in UTC.
        quantiles: the requested ones, of QUANTILES.
    """

    key: int
    metric: Metric
    bucket: BucketWidth
    timezone: str
    first: datetime
    last: datetime
    quantiles: tuple[str, ...] = ()

    @property
    def rolled_up(self) -> str | None:
        """The roll-up that can answer it: `hourly`, `daily`, or None."""
        seconds = self.bucket.seconds
        unit, table = (DAY_S, "daily") if self.bucket.local else (HOUR_S, "hourly")
        # Roll-ups have quantiles of exactly one hour or one day, which cannot be combined.
        fits = seconds == unit if self.quantiles else seconds % unit == 0
        return table if fits else None


async def read_bucket_summaries(session: AsyncSession, query: BoxSeriesQuery) -> RollupColumns:
    """Read one aggregate for each bucket that has a value, ascending."""
    table = query.rolled_up
    if table is None:
        return await _read_samples(session, query, [(query.first, query.last)])
    zone = ZoneInfo(query.timezone)
    inner = _find_whole_units(query, zone)
    if inner is None:
        return await _read_samples(session, query, [(query.first, query.last)])
    first, last = inner
    stale = await _read_stale_spans(session, query, first, last)
    if stale is None:
        return await _read_samples(session, query, [(query.first, query.last)])
    stored = await _read_rollup(session, query, table, first, last)
    spans = list(_find_sample_spans(query, first, last, stale))
    # A few ranges have a statement each, so that the planner reads only their chunks.
    together = [spans] if len(spans) > _FEW else [[span] for span in spans]
    units = replace(query, bucket=_UNITS[table])
    parts = [await _read_samples(session, units, each) for each in together]
    level = query.metric.kind == "level"
    sampled = rollup_merging.merge_columns(
        [rollup_merging.make_empty_columns(query.quantiles), *parts], level=level
    )
    return rollup_merging.merge_columns(
        [
            part.begun(rollup_merging.floor_to_buckets(part.times, query.bucket, zone))
            for part in rollup_merging.choose_larger(stored, sampled)
        ],
        level=level,
    )


def _find_whole_units(query: BoxSeriesQuery, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """Return the whole hours or local days within the range; None if there are none."""
    if query.bucket.local:
        first, last = (
            find_local_midnight(query.first, zone, up=True),
            find_local_midnight(query.last, zone, up=False),
        )
    else:
        first = to_datetime(-(-from_datetime(query.first) // HOUR_US) * HOUR_US)
        last = to_datetime(from_datetime(query.last) // HOUR_US * HOUR_US)
    return (first, last) if first < last else None


def find_local_midnight(moment: datetime, zone: ZoneInfo, *, up: bool) -> datetime:
    """Return the local midnight at or before an instant, with `up` the one at or after it; in UTC."""
    date = moment.astimezone(zone).date()
    begun = datetime(date.year, date.month, date.day, tzinfo=zone).astimezone(UTC)
    if begun == moment or not up:
        return begun
    date += timedelta(days=1)
    return datetime(date.year, date.month, date.day, tzinfo=zone).astimezone(UTC)


async def _read_stale_spans(
    session: AsyncSession, query: BoxSeriesQuery, first: datetime, last: datetime
) -> list[tuple[int, int]] | None:
    """Find ranges (µs) with stale roll-ups, merged, in order; None: there are no roll-ups to read."""
    values = {"key": query.key, "first": first, "last": last, "days": query.bucket.local}
    rows = (await session.execute(_STALE, values)).all()
    zones = [row.zone for row in rows if row.zone is not None]
    if not zones or (query.bucket.local and zones != [query.timezone]):
        return None
    found = sorted((row.first, row.last) for row in rows if row.first is not None)
    if query.bucket.local:
        zone = ZoneInfo(query.timezone)
        # A stale hour makes its whole day stale.
        found = [
            (
                from_datetime(find_local_midnight(to_datetime(begin), zone, up=False)),
                from_datetime(find_local_midnight(to_datetime(end), zone, up=True)),
            )
            for begin, end in found
        ]
    return merge_stale_spans(found, from_datetime(first), from_datetime(last))


def merge_stale_spans(stale: Iterable[tuple[int, int]], begin_us: int, end_us: int) -> list[tuple[int, int]]:
    """Clip stale ranges (µs, in order) to two instants and merge them.

    Returns the whole range if there are too many for roll-ups to be faster than samples.
    """
    found: list[tuple[int, int]] = []
    for first_us, last_us in stale:
        begin, end = max(first_us, begin_us), min(last_us, end_us)
        if begin >= end:
            continue
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found if len(found) <= _MANY else [(begin_us, end_us)]


def _find_sample_spans(
    query: BoxSeriesQuery, first: datetime, last: datetime, stale: Sequence[tuple[int, int]]
) -> Iterator[tuple[datetime, datetime]]:
    if query.first < first:
        yield query.first, first
    for begin, end in stale:
        yield to_datetime(begin), to_datetime(end)
    if last < query.last:
        yield last, query.last


async def _read_samples(
    session: AsyncSession, query: BoxSeriesQuery, spans: Sequence[tuple[datetime, datetime]]
) -> RollupColumns:
    values: dict[str, object] = {
        "key": query.key,
        "width": query.bucket.width,
        "firsts": [first for first, _ in spans],
        "lasts": [last for _, last in spans],
        "first": spans[0][0],
        "last": spans[-1][1],
    }
    if query.bucket.local:
        values["zone"] = query.timezone
    statement = text(_samples_sql(query.metric, query.bucket, query.quantiles))
    rows = (await session.execute(statement, values)).all()
    if not rows:
        return rollup_merging.make_empty_columns(query.quantiles)
    of = list(zip(*rows, strict=True))
    quantiles = np.array(of[5], np.float64) if query.quantiles else None
    times = np.array(of[0], np.int64)
    return RollupColumns(
        # If midnight occurs twice, PostgreSQL takes the second one, which is after samples of its day.
        rollup_merging.floor_to_buckets(times, query.bucket, ZoneInfo(query.timezone))
        if query.bucket.local
        else times,
        np.array(of[1], np.int64),
        np.array(of[2], np.float64),
        np.array(of[3], np.float64),
        np.array(of[4], np.float64),
        {} if quantiles is None else {name: quantiles[:, i] for i, name in enumerate(query.quantiles)},
    )


async def _read_rollup(
    session: AsyncSession, query: BoxSeriesQuery, table: str, first: datetime, last: datetime
) -> RollupColumns:
    hourly = table == "hourly"
    begun = first.replace(hour=0, minute=0, second=0, microsecond=0) if hourly else first
    rows = (
        await session.execute(
            text(_rollup_sql(table, query.quantiles)),
            {"key": query.key, "metric": query.metric.name, "first": begun, "last": last},
        )
    ).all()
    if not rows:
        return rollup_merging.make_empty_columns(query.quantiles)
    of = list(zip(*rows, strict=True))
    times: IntArray = np.array(of[0], np.int64)
    if hourly:
        times = (times[:, None] + np.arange(24) * HOUR_US).ravel()
    count, mean, low, high, *more = (np.array(values, np.float64).ravel() for values in of[1:])
    counts = np.nan_to_num(count).astype(np.int64)
    found = RollupColumns(times, counts, mean, low, high, dict(zip(query.quantiles, more, strict=True)))
    within = (found.counts > 0) & (times >= from_datetime(first)) & (times < from_datetime(last))
    return found.only(within)


_COUNT_HOURS: Final = text("""
SELECT coalesce(sum(u.count), 0) FROM tenant_hourly h, unnest(h.count) WITH ORDINALITY AS u (count, n)
WHERE h.box_key = :key AND h.metric = :metric AND h.day >= :begun AND h.day < :last
    AND h.day + (u.n - 1) * interval '1 hour' >= :first AND h.day + (u.n - 1) * interval '1 hour' < :last
    AND NOT EXISTS (
        SELECT FROM unnest(CAST(:firsts AS timestamptz[]), CAST(:lasts AS timestamptz[])) AS x (first, last)
        WHERE h.day + (u.n - 1) * interval '1 hour' >= x.first
            AND h.day + (u.n - 1) * interval '1 hour' < x.last
    )
""")
_REMOVED_UNTIL: Final = text(
    "SELECT removed_until FROM retention_states WHERE box_key = :key AND purpose = :purpose"
)


def _count_sql(metric: Metric) -> str:
    return f"""
        SELECT count(s."{metric.name}") FROM tenant_samples s
        WHERE s.box_key = :key AND s.time >= :first AND s.time < :last
    """  # noqa: S608 (a catalogue name)


async def count_values(
    session: AsyncSession, query: BoxSeriesQuery, erased: Sequence[tuple[datetime, datetime]] = ()
) -> int:
    """Count the stored values of a box and a metric in a range, exactly.

    Roll-ups have the counts of whole hours. Where they are stale, or may be of samples that were removed
    since (retention and erasure), the samples are counted.

    Args:
        session: reads them.
        query: the box, the metric and the range, in buckets of an hour.
        erased: ranges of the box that are or were erased.
    """
    inner = _find_whole_units(query, ZoneInfo("UTC"))
    stale = None if inner is None else await _find_uncounted_spans(session, query, inner, erased)
    if inner is None or stale is None:
        return await _count_samples(session, query, [(query.first, query.last)])
    first, last = inner
    values = {
        "key": query.key,
        "metric": query.metric.name,
        "begun": first.replace(hour=0, minute=0, second=0, microsecond=0),
        "first": first,
        "last": last,
        "firsts": [to_datetime(begin) for begin, _ in stale],
        "lasts": [to_datetime(end) for _, end in stale],
    }
    stored = int((await session.execute(_COUNT_HOURS, values)).scalar_one())
    return stored + await _count_samples(session, query, list(_find_sample_spans(query, first, last, stale)))


async def _find_uncounted_spans(
    session: AsyncSession,
    query: BoxSeriesQuery,
    inner: tuple[datetime, datetime],
    erased: Sequence[tuple[datetime, datetime]],
) -> list[tuple[int, int]] | None:
    """Find the hours whose roll-ups cannot be counted, merged; None: none can."""
    first, last = inner
    stale = await _read_stale_spans(session, query, first, last)
    if stale is None:
        return None
    values = {"key": query.key, "purpose": PURPOSE_BY_METRIC[query.metric.name]}
    removed_until = (await session.execute(_REMOVED_UNTIL, values)).scalar_one_or_none()
    removed = [] if removed_until is None else [(first, removed_until)]
    doubtful = [
        (
            from_datetime(begin) // HOUR_US * HOUR_US,
            -(-from_datetime(end) // HOUR_US) * HOUR_US,
        )
        for begin, end in (*removed, *((max(begin, first), min(end, last)) for begin, end in erased))
        if begin < end
    ]
    return merge_stale_spans(sorted([*stale, *doubtful]), from_datetime(first), from_datetime(last))


async def _count_samples(
    session: AsyncSession, query: BoxSeriesQuery, spans: Sequence[tuple[datetime, datetime]]
) -> int:
    statement = text(_count_sql(query.metric))
    total = 0
    for first, last in spans:
        found = await session.execute(statement, {"key": query.key, "first": first, "last": last})
        total += int(found.scalar_one())
    return total
