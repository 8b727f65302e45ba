"""Reads the values of one metric for many boxes at once, in packed binary form.

PostgreSQL packs the values of each range, so that no Python row is created per value: a hundred boxes have a
hundred thousand values a day.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import Metric
from app.platform.kernel.array_types import FloatArray, IntArray
from app.platform.kernel.instants import POSTGRES_EPOCH_US, to_datetime
from app.timeseries.storage.sample_column_encoding import shortest_decimal_sql


class BoxTimeRange(NamedTuple):
    """A time range of a box: start inclusive, end exclusive (µs since the epoch)."""

    key: int
    first_us: int
    last_us: int


class TimedValues(NamedTuple):
    """Values and their measurement times (µs since the epoch), ascending."""

    times: IntArray
    values: FloatArray


def _statement(metric: Metric) -> str:
    """SQL: the packed values of ranges. The name comes from the catalogue."""
    column = f's."{metric.name}"'
    return f"""
        WITH found AS MATERIALIZED (
            SELECT k.place, s.time, s.value
            FROM unnest(CAST(:keys AS int[]), CAST(:firsts AS timestamptz[]), CAST(:lasts AS timestamptz[]))
                WITH ORDINALITY AS k (key, first, last, place),
            LATERAL (
                SELECT s.time, {shortest_decimal_sql(metric)} AS value FROM tenant_samples s
                WHERE s.box_key = k.key AND s.time >= k.first AND s.time < k.last
                    AND s.time >= :first AND s.time < :last AND {column} IS NOT NULL OFFSET 0
            ) s
            LIMIT :most
        )
        SELECT place, count(*), string_agg(timestamptz_send(time), ''::bytea ORDER BY time),
            string_agg(float8send(value), ''::bytea ORDER BY time)
        FROM found GROUP BY place
    """  # noqa: S608 (catalogue names and constants)


async def read_bulk_values(
    session: AsyncSession, metric: Metric, ranges: Sequence[BoxTimeRange], *, most: int
) -> list[TimedValues] | None:
    """Read the values of time ranges, in their order; returns None if there are more than `most` in total.

    Args:
        session: reads them.
        metric: of the catalogue.
        ranges: boxes and times.
        most: the highest number of values.
    """
    found = [TimedValues(np.empty(0, np.int64), np.empty(0, np.float64))] * len(ranges)
    if not ranges:
        return found
    values = {
        "keys": [each.key for each in ranges],
        "firsts": [to_datetime(each.first_us) for each in ranges],
        "lasts": [to_datetime(each.last_us) for each in ranges],
        "first": to_datetime(min(each.first_us for each in ranges)),
        "last": to_datetime(max(each.last_us for each in ranges)),
        "most": most + 1,
    }
    total = 0
    for place, count, times, measured in await session.execute(text(_statement(metric)), values):
        total += count
        found[place - 1] = TimedValues(
            np.frombuffer(times, ">i8").astype(np.int64) + POSTGRES_EPOCH_US,
            np.frombuffer(measured, ">f8").astype(np.float64),
        )
    return found if total <= most else None
