"""Finds the newest samples of boxes, and the boxes that have sent any since a given time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.db.database import RawConnection
from app.timeseries.storage.sample_column_encoding import MICROS_SQL

# One index lookup per box: older samples do not matter.
_TIMES: Final = f"""
SELECT t.box_key, (SELECT {MICROS_SQL.format("max(s.time)")} FROM samples s
    WHERE s.box_key = t.box_key AND s.time >= 'epoch'::timestamptz + t.after_us * interval '1 microsecond')
FROM unnest($1::integer[], $2::bigint[]) AS t (box_key, after_us)
"""  # noqa: S608 (a constant)
_HEARD: Final = "SELECT box_key FROM box_states WHERE box_key = ANY ($1::int[]) AND last_sample_at > $2"


async def read_newest_sample_times(connection: RawConnection, after: Mapping[int, int]) -> dict[int, int]:
    """Read the time of the newest sample of each box at or after the given time of the box (µs)."""
    rows = await connection.fetch(_TIMES, list(after), list(after.values()))
    return {key: newest for key, newest in rows if newest is not None}


async def read_newest_values(
    connection: RawConnection, box_keys: Sequence[int], metric: str, after: datetime, until: datetime
) -> list[float]:
    """Read the newest value of a metric of each box in a time range; boxes without one are left out.

    Args:
        connection: to the database.
        box_keys: the boxes.
        metric: the name of the metric.
        after: the beginning of the range, excluded.
        until: the end of the range, included.
    """
    column = METRICS_BY_NAME[metric].name
    query = f"""
        SELECT n.value FROM unnest($1::int[]) AS k (box_key) CROSS JOIN LATERAL (
            SELECT s."{column}" AS value FROM samples s
            WHERE s.box_key = k.box_key AND s.time > $2 AND s.time <= $3 AND s."{column}" IS NOT NULL
            ORDER BY s.time DESC LIMIT 1
        ) n
    """  # noqa: S608 (a name of the catalogue)
    return [float(value) for (value,) in await connection.fetch(query, box_keys, after, until)]


async def find_boxes_heard_since(
    connection: RawConnection, box_keys: Sequence[int], since: datetime
) -> frozenset[int]:
    """Find the boxes (by key) from which a sample has arrived since a time."""
    return frozenset(key for (key,) in await connection.fetch(_HEARD, box_keys, since))
