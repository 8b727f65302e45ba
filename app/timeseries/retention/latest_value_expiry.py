"""Takes latest values away that are too old: of boxes that fell silent, of metrics that are sent no more.

The consumer keeps latest values in memory. So the gate is closed for it, and the registry told that the boxes
were changed: upon that their states are dropped, and read again.
"""

from collections.abc import Sequence
from typing import Final

from app.catalogue.purposes import PURPOSE_BY_METRIC
from app.platform.db.database import RawConnection
from app.platform.db.ingest_barrier import close_ingest_barrier_unqueued
from app.platform.kernel.instants import from_datetime
from app.timeseries.retention.expiry_limits import ExpiryLimits

_OLD: Final = "unnest($2::text[], $3::bigint[]) AS m (metric, before)"
_STALE: Final = f"""
SELECT s.box_key FROM box_states s WHERE s.box_key = ANY ($1::int[]) AND EXISTS (
    SELECT FROM jsonb_each(s.latest) AS l JOIN {_OLD} ON m.metric = l.key
    WHERE (l.value ->> 1)::bigint < m.before
)
"""  # noqa: S608 (a constant)
_FORGET: Final = f"""
UPDATE box_states s SET latest = coalesce((
    SELECT jsonb_object_agg(l.key, l.value)
    FROM jsonb_each(s.latest) AS l LEFT JOIN {_OLD} ON m.metric = l.key
    WHERE m.before IS NULL OR (l.value ->> 1)::bigint >= m.before
), '{{}}') WHERE s.box_key = ANY ($1::int[])
"""  # noqa: S608 (a constant)
_STAMP: Final = "UPDATE boxes SET erased = erased WHERE key = ANY ($1::int[])"


async def invalidate_box_states(connection: RawConnection, keys: Sequence[int]) -> None:
    """Have the consumer read these boxes' states again; the caller's transaction has closed the gate."""
    await connection.execute(_STAMP, keys)


async def remove_expired_latest(connection: RawConnection, keys: Sequence[int], limits: ExpiryLimits) -> int:
    """Take latest values of boxes away that are older than the limits; returns of how many boxes."""
    before = [from_datetime(limits.metrics[purpose]) for purpose in PURPOSE_BY_METRIC.values()]
    rows = await connection.fetch(_STALE, keys, list(PURPOSE_BY_METRIC), before)
    stale = [row["box_key"] for row in rows]
    if stale:
        async with connection.transaction():
            await close_ingest_barrier_unqueued(connection)
            await connection.execute(_FORGET, stale, list(PURPOSE_BY_METRIC), before)
            await invalidate_box_states(connection, stale)
    return len(stale)
