"""Builds the SQL source of the Observations of one Datastream: stored values, or hourly means.

Hourly means are those of the roll-ups where they are current, else of samples, as in `GET
…/readings?bucket=1h`. Only hours that are over are Observations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

import numpy as np
from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    FromClause,
    Integer,
    Text,
    bindparam,
    cast,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import INTERVAL, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import METRICS_BY_NAME, Metric
from app.catalogue.sensorthings_ids import make_datastream_id
from app.platform.kernel.instants import EARLIEST_US, HOUR_US, LATEST_US, from_datetime, to_datetime
from app.sensorthings.relations import TypedSql, make_time_id_sql
from app.timeseries.rollups.rollup_merging import round_to_stored_precision
from app.timeseries.rollups.rollup_queries import extreme_sql, mean_sql
from app.timeseries.storage.models import TENANT_SAMPLES

_Instant = TIMESTAMP(timezone=True)


def find_shown_from(row: Mapping[str, Any]) -> datetime | None:
    """Return the first time that the caller may see of a Datastream's row; None: no limit."""
    begins: list[datetime] = [
        row[name] for name in ("shown_from", "purpose_shown_from") if row[name] is not None
    ]
    return max(begins, default=None)


@dataclass(frozen=True, slots=True)
class ObservedSeries:
    """A Datastream as far as its Observations need it.

    Attributes:
        box_key: The box.
        number: Its number.
        metric: The metric.
        hourly: Whether it has hourly means.
        interval_s: The sampling interval (s).
        newest_us: The time of the newest value in the box's row of `box_states` (µs since the epoch).
        newest: That value.
        state_us: The time up to which that row is complete.
        since_us: The first time that the caller may see (µs since the epoch).
        until_us: The end of the times that the caller may see.
        place: Longitude and latitude of the box.
        site_id: The site of the box.
    """

    box_key: int
    number: str
    metric: Metric
    hourly: bool
    interval_s: int
    newest_us: int
    newest: float
    state_us: int
    since_us: int
    until_us: int = LATEST_US
    place: tuple[float, float] = (0.0, 0.0)
    site_id: UUID | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "ObservedSeries":
        """Convert the row of a Datastream."""
        begin, end = find_shown_from(row), row["shown_until"]
        return cls(
            row["box_key"],
            row["number"],
            METRICS_BY_NAME[row["metric"]],
            row["hourly"],
            row["interval_s"],
            row["newest_us"],
            row["value"],
            row["state_us"],
            EARLIEST_US if begin is None else from_datetime(begin),
            LATEST_US if end is None else from_datetime(end),
            (row["longitude"], row["latitude"]),
            row["site_id"],
        )

    @property
    def id(self) -> str:
        """The id of the Datastream."""
        return make_datastream_id(self.number, self.metric.name, hourly=self.hourly)

    @property
    def spacing_us(self) -> int:
        """The usual distance of two Observations (µs)."""
        return HOUR_US if self.hourly else max(self.interval_s, 1) * 1_000_000


_BEGIN: Final = text("""
SELECT least(
    (SELECT min(day) FROM tenant_hourly WHERE box_key = :key AND metric = :metric),
    (SELECT min(hour) FROM rollup_marks WHERE box_key = :key),
    (SELECT min(backfill_next) FROM rollup_states WHERE box_key = :key)
)
""")


async def find_begin_us(session: AsyncSession, series: ObservedSeries) -> int:
    """Return a time (µs since the epoch) before which a Datastream has no Observation."""
    values = {"key": series.box_key, "metric": series.metric.name}
    begin = (await session.execute(_BEGIN, values)).scalar_one()
    return max(series.since_us, EARLIEST_US if begin is None else from_datetime(begin))


@cache
def _hours_sql(metric: Metric) -> str:
    """SQL: the hours of a range that have a value. Names come from the catalogue.

    A stale roll-up of more values than there are samples is not replaced, hence it is read.
    """
    column = f's."{metric.name}"'
    return f"""
        WITH state AS MATERIALIZED (
            SELECT count(*) > 0 AS known, min(backfill_next) AS begins, max(backfill_until) AS ends
            FROM rollup_states WHERE box_key = :key
        ), stale AS MATERIALIZED (
            SELECT m.hour AS first, m.hour + interval '1 hour' AS last FROM rollup_marks m, state
            WHERE state.known AND m.box_key = :key AND m.hour >= :first AND m.hour < :last
                AND (state.begins IS NULL OR m.hour < state.begins OR m.hour >= state.ends)
            UNION ALL
            SELECT greatest(begins, :first), least(ends, :last) FROM state
            WHERE known AND begins IS NOT NULL AND begins < :last AND ends > :first
            UNION ALL
            SELECT :first, :last FROM state WHERE NOT known
        ), sampled AS MATERIALIZED (
            SELECT time_bucket(interval '1 hour', s.time) AS time, {mean_sql(metric)} AS mean,
                {extreme_sql("min", metric)} AS low, count(*) AS count
            FROM stale x, LATERAL (
                SELECT * FROM tenant_samples s WHERE s.box_key = :key AND s.time >= x.first
                    AND s.time < x.last AND s.time >= :first AND s.time < :last AND {column} IS NOT NULL
                OFFSET 0
            ) s
            GROUP BY 1
        )
        SELECT h.day + (u.n - 1) * interval '1 hour' AS time, u.mean AS mean, u.low AS low, u.count AS count
        FROM tenant_hourly h, unnest(h.count, h.mean, h.min) WITH ORDINALITY AS u (count, mean, low, n)
        WHERE h.box_key = :key AND h.metric = :metric AND u.count > 0
            AND h.day >= date_trunc('day', :first, 'UTC') AND h.day < :last
            AND h.day + (u.n - 1) * interval '1 hour' >= :first
            AND h.day + (u.n - 1) * interval '1 hour' < :last
            AND NOT EXISTS (
                SELECT FROM sampled x
                WHERE x.time = h.day + (u.n - 1) * interval '1 hour' AND x.count >= u.count
            )
        UNION ALL
        SELECT x.time, x.mean, x.low, x.count FROM sampled x WHERE NOT EXISTS (
            SELECT FROM tenant_hourly h
            WHERE h.box_key = :key AND h.metric = :metric AND h.day = date_trunc('day', x.time, 'UTC')
                AND h.day >= date_trunc('day', :first, 'UTC') AND h.day < :last
                AND h.count[1 + extract(hour FROM x.time AT TIME ZONE 'UTC')::int] > x.count
        )
    """  # noqa: S608 (catalogue names and constants)


def _hours(series: ObservedSeries, first: datetime, last: datetime) -> FromClause:
    statement = text(_hours_sql(series.metric)).bindparams(
        bindparam("key", series.box_key, Integer, unique=True),
        bindparam("metric", series.metric.name, Text, unique=True),
        bindparam("first", first, _Instant, unique=True),
        bindparam("last", last, _Instant, unique=True),
    )
    return statement.columns(
        Column("time", _Instant), Column("mean", Double), Column("low", Double), Column("count", BigInteger)
    ).subquery()


@dataclass(frozen=True, slots=True)
class ObservationSource:
    """The Observations of a Datastream in a time range as the source of a statement.

    Attributes:
        source: What to select from.
        time: Its time; of an hour its beginning.
        columns: What is selected of each.
        properties: Its properties by path.
    """

    source: FromClause
    time: Any
    columns: tuple[Any, ...]
    properties: Mapping[str, TypedSql]

    def resolve(self, parts: tuple[str, ...]) -> TypedSql | None:
        """Return the SQL of a property; None: there is none such."""
        return self.properties.get("/".join(parts))


def make_observation_source(series: ObservedSeries, first_us: int, last_us: int) -> ObservationSource:
    """Make the source of a Datastream's Observations from one time to another (µs since the epoch)."""
    first_us, last_us = max(first_us, EARLIEST_US), min(last_us, LATEST_US)
    if series.hourly:
        # Whole hours: those that begin within the range.
        first_us, last_us = (-(-each // HOUR_US) * HOUR_US for each in (first_us, last_us))
    first, last = to_datetime(first_us), to_datetime(last_us)
    if series.hourly:
        source = _hours(series, first, last)
        time = source.c.time
        value, result_time = source.c.mean, time + literal(_HOUR, INTERVAL)
        columns: tuple[Any, ...] = (time, value, source.c.low, source.c.count)
    else:
        column = TENANT_SAMPLES.c[series.metric.name]
        time = TENANT_SAMPLES.c.time
        # The shortest decimal, as all calls return it.
        exact: Any = cast(cast(column, Text), Double) if series.metric.storage == "real" else column
        source = (
            select(time, exact.label("value"))
            .where(
                TENANT_SAMPLES.c.box_key == series.box_key, time >= first, time < last, column.is_not(None)
            )
            .subquery()
        )
        time, value = source.c.time, source.c.value
        result_time, columns = time, (time, value)
    properties = {
        "id": TypedSql("text", literal(series.id, Text) + make_time_id_sql(time)),
        "phenomenonTime": TypedSql("instant", time),
        "resultTime": TypedSql("instant", result_time),
        "result": TypedSql("number", value),
        "validTime": TypedSql("instant", cast(literal(None), _Instant)),
    }
    return ObservationSource(source, time, columns, properties)


_HOUR: Final = to_datetime(HOUR_US) - to_datetime(0)


def read_result(series: ObservedSeries, row: Any) -> tuple[int, float]:  # noqa: ANN401 (a row of `columns`)
    """Return the time (µs since the epoch) and the result of a row; means are rounded as in readings."""
    if not series.hourly:
        return from_datetime(row[0]), row[1]
    time, mean, low, count = row[:4]
    rounded = round_to_stored_precision(
        series.metric, np.array([mean], np.float64), np.array([low], np.float64), np.array([count], np.int64)
    )
    return from_datetime(time), float(rounded[0])
