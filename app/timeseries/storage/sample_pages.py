"""Reads stored samples and events in time order, a page at a time, for back-tests.

A row of samples has, at these positions, its time (µs since the epoch), the key of its box, the bits of its
late values, and its values from `FIRST_VALUE_FIELD` on. Access by name costs time, and there are many rows.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from app.catalogue.metrics import CATALOGUE
from app.timeseries.storage.sample_column_encoding import MICROS_SQL

TIME_FIELD, KEY_FIELD, LATE_FIELD, FIRST_VALUE_FIELD = range(4)

_MICROS: Final = MICROS_SQL.format("time")
_NEWEST: Final = "SELECT time FROM samples WHERE box_key = $1 AND time < $2 ORDER BY time DESC LIMIT 1"
_COUNT: Final = "SELECT count(*) FROM samples WHERE box_key = $1 AND time >= $2 AND time < $3"
_EVENTS: Final = f"""
SELECT {_MICROS} AS us, box_key, type, candidates::text AS candidates
FROM events
WHERE box_key = ANY ($1::int[]) AND type = ANY ($2::text[]) AND time >= $3 AND time < $4 AND NOT late
ORDER BY time, box_key, type
"""  # noqa: S608 (constants)
# The search goes back a month at a time: a box may have sent a sample a second, none with the metric.
_SEARCHED: Final = timedelta(days=31)


def list_metrics_sql(columns: Collection[int]) -> str:
    """Build the SQL list of all metrics from the first to the last of some (indexes into COLUMNS).

    An unused metric between them is NULL, which costs nothing.
    """
    listed = range(min(columns), max(columns) + 1) if columns else ()
    return ", ".join(f'"{CATALOGUE[index].name}"' if index in columns else "NULL::real" for index in listed)


async def count_samples(connection: asyncpg.Connection, box_key: int, first: datetime, last: datetime) -> int:
    """Count the samples of a box in a time range.

    Args:
        connection: to the database.
        box_key: the box.
        first: the beginning of the range.
        last: the end of the range, excluded.
    """
    count: int = await connection.fetchval(_COUNT, box_key, first, last)
    return count


async def read_sample_page(
    connection: asyncpg.Connection,
    listed: str,
    box_keys: Sequence[int],
    first: datetime,
    end: datetime,
    *,
    limit: int,
) -> Sequence[asyncpg.Record]:
    """Read samples of boxes in a time range, by time and then by box.

    Args:
        connection: to the database.
        listed: the metrics, by `list_metrics_sql`.
        box_keys: the boxes.
        first: the beginning of the range.
        end: the end of the range, excluded.
        limit: the highest number of samples.
    """
    # With an equality on one box the planner reads the index in order and sorts nothing.
    which, order = ("($1::int[])[1]", "time") if len(box_keys) == 1 else ("ANY ($1::int[])", "time, box_key")
    query = f"""
        SELECT {_MICROS} AS us, box_key, late, {listed}
        FROM samples
        WHERE box_key = {which} AND time >= $2 AND time < $3
        ORDER BY {order} LIMIT $4
    """  # noqa: S608 (names of the catalogue, and constants)
    return await connection.fetch(query, box_keys, first, end, limit)


async def find_newest_sample(
    connection: asyncpg.Connection, listed: str, box_key: int, column: int | None, before: datetime
) -> asyncpg.Record | None:
    """Find the newest sample of a box before a time that has an on-time value, of any age.

    Args:
        connection: to the database.
        listed: the metrics, by `list_metrics_sql`.
        box_key: the box.
        column: the metric (index into COLUMNS) that must be on time; None: any metric.
        before: the sample must be older than this.
    """
    columns = range(len(CATALOGUE)) if column is None else (column,)
    on_time = " OR ".join(
        f'("{CATALOGUE[index].name}" IS NOT NULL AND coalesce(late, 0) >> {index} & 1 = 0)'
        for index in columns
    )
    query = f"""
        SELECT {_MICROS} AS us, box_key, late, {listed}
        FROM samples
        WHERE box_key = $1 AND time >= $2 AND time <= $3 AND ({on_time})
        ORDER BY time DESC LIMIT 1
    """  # noqa: S608 (names of the catalogue, and constants)
    while (newest := await connection.fetchval(_NEWEST, box_key, before)) is not None:
        before = newest - _SEARCHED
        row: asyncpg.Record | None = await connection.fetchrow(query, box_key, before, newest)
        if row is not None:
            return row
    return None


async def read_on_time_events(
    connection: asyncpg.Connection,
    box_keys: Sequence[int],
    types: Sequence[str],
    first: datetime,
    last: datetime,
) -> Sequence[asyncpg.Record]:
    """Read events of boxes that did not arrive late, in time order.

    Args:
        connection: to the database.
        box_keys: the boxes.
        types: the event types.
        first: the beginning of the range.
        last: the end of the range, excluded.

    Returns:
        Rows of `us` (µs since the epoch), `box_key`, `type` and `candidates` (JSON text).
    """
    return await connection.fetch(_EVENTS, box_keys, types, first, last)
