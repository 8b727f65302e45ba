"""Writes roll-ups of samples stored before roll-ups existed, and again after a site changes time zone.

Owns `rollup_states`: the time zone in which the days of a box are summarised, and the progress of its
backfill. If a site's time zone changes, the days of its boxes are summarised again.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app.catalogue.purposes import PURPOSE_BY_METRIC
from app.platform.observability.metrics_and_logs import get_logger
from app.timeseries.commit_log.commit_writer import append_hour_commits
from app.timeseries.rollups.adaptive_slices import BoxBackoff, SliceSizer
from app.timeseries.rollups.rollup_writer import HOUR, BoxSpans

_log = get_logger(__name__)
_HOURS_MOST: Final = 168

_SYNC_ZONES: Final = """
INSERT INTO rollup_states AS r (box_key, timezone)
SELECT b.key, s.timezone FROM registry_boxes b JOIN registry_sites s ON s.id = b.site_id
LEFT JOIN rollup_states o ON o.box_key = b.key
WHERE b.deleted_at IS NULL AND o.timezone IS DISTINCT FROM s.timezone
ON CONFLICT (box_key) DO UPDATE SET timezone = excluded.timezone
RETURNING box_key, (SELECT timezone FROM rollup_states o WHERE o.box_key = r.box_key) AS former
"""
_SCHEDULE_ALL: Final = """
WITH extent AS (
    SELECT k.box_key, f.hour AS first, l.hour + interval '1 hour' AS last
    FROM unnest($1::int[]) AS k (box_key),
    LATERAL (SELECT date_trunc('hour', time, 'UTC') AS hour FROM samples WHERE box_key = k.box_key
             ORDER BY time LIMIT 1) f,
    LATERAL (SELECT date_trunc('hour', time, 'UTC') AS hour FROM samples WHERE box_key = k.box_key
             ORDER BY time DESC LIMIT 1) l
)
UPDATE rollup_states s SET backfill_from = e.first, backfill_next = e.first, backfill_until = e.last
FROM extent e WHERE s.box_key = e.box_key
"""
# Deletes days whose samples are all stored: they are summarised again, and would stand beside those of the
# former zone. Days of a metric whose values were removed by retention stay.
_FORGET_DAYS: Final = """
DELETE FROM daily d USING rollup_states s, unnest($1::int[], $2::text[]) AS k (box_key, timezone)
WHERE s.box_key = k.box_key AND d.box_key = k.box_key
    AND (d.day AT TIME ZONE k.timezone + interval '1 day') AT TIME ZONE k.timezone > s.backfill_from
    AND NOT EXISTS (
        SELECT FROM retention_states r
        JOIN unnest($3::text[], $4::text[]) AS p (metric, purpose) ON p.purpose = r.purpose
        WHERE r.box_key = d.box_key AND p.metric = d.metric AND d.day < r.removed_until
    )
"""
_FORGET_DAY_MARKS: Final = "DELETE FROM rollup_day_marks WHERE box_key = ANY ($1::int[])"
# Skips to the next sample: a box that measured in 2000 and in 2026 has no samples in most hours in between.
_NEXT: Final = """
WITH next AS MATERIALIZED (
    SELECT s.box_key, s.backfill_next AS asked, s.backfill_until AS last, b.organisation_id
    FROM rollup_states s JOIN registry_boxes b ON b.key = s.box_key
    WHERE s.backfill_next IS NOT NULL AND s.box_key <> ALL ($1::int[])
    ORDER BY coalesce(b.organisation_id <= $2::uuid, false), b.organisation_id, s.box_key LIMIT 1
)
SELECT n.organisation_id, n.box_key, n.asked, n.last, coalesce((
    SELECT date_trunc('hour', s.time, 'UTC') FROM samples s
    WHERE s.box_key = n.box_key AND s.time >= n.asked AND s.time < n.last ORDER BY s.time LIMIT 1
), n.last) AS first
FROM next n
"""
_ADVANCE: Final = """
UPDATE rollup_states SET
    backfill_from = CASE WHEN $2 < backfill_until THEN backfill_from END,
    backfill_next = CASE WHEN $2 < backfill_until THEN $2 END,
    backfill_until = CASE WHEN $2 < backfill_until THEN backfill_until END
WHERE box_key = $1 AND backfill_next = $3
"""
# Hours that are over, of which erasures have removed a part. All other hours of a backfill are unchanged.
_ERASED_IN_PART: Final = """
SELECT DISTINCT k.hour FROM erasure_boxes b JOIN erasures e ON e.id = b.erasure_id
JOIN unnest($2::timestamptz[]) AS k (hour)
    ON (e.begins_at > k.hour AND e.begins_at < k.hour + interval '1 hour')
    OR (e.ends_at > k.hour AND e.ends_at < k.hour + interval '1 hour')
WHERE b.box_key = $1 AND b.state <> 'waiting' AND k.hour < now() - interval '61 minutes'
ORDER BY k.hour
"""

type Summarise = Callable[[asyncpg.Connection, BoxSpans], Awaitable[None]]


async def sync_time_zones(connection: asyncpg.Connection) -> None:
    """Record the time zones of new boxes, and schedule the backfill of those whose zone has changed."""
    async with connection.transaction():
        rows = await connection.fetch(_SYNC_ZONES)
        formers = {row["box_key"]: row["former"] for row in rows if row["former"] is not None}
        if changed := list(formers):
            await connection.execute(_SCHEDULE_ALL, changed)
            await connection.execute(
                _FORGET_DAYS,
                changed,
                list(formers.values()),
                list(PURPOSE_BY_METRIC),
                list(PURPOSE_BY_METRIC.values()),
            )
            await connection.execute(_FORGET_DAY_MARKS, changed)
            _log.info("rollup_days_anew", boxes=len(changed))


class RollupBackfill:
    """Summarises the samples of the past, organisation by organisation.

    Args:
        backoff: boxes that are paused after a failure.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, backoff: BoxBackoff, clock: Callable[[], float]) -> None:
        self._backoff = backoff
        self._clock = clock
        self._hours_at_once = SliceSizer(_HOURS_MOST, clock)
        # Round-robin over organisations, so that a fleet that changes its time zone does not block the
        # others.
        self._last_organisation: UUID | None = None

    async def run(self, connection: asyncpg.Connection, until: float, summarise: Summarise) -> bool:
        """Summarise until a time of the clock; returns whether there was work.

        If there was, days are marked now, which is further work.

        Args:
            connection: outside of any transaction.
            until: on the clock (s).
            summarise: summarises hours in the current transaction.
        """
        worked = False
        while self._clock() < until:
            row = await connection.fetchrow(_NEXT, self._backoff.keys, self._last_organisation)
            if row is None:
                return worked
            worked, self._last_organisation = True, row["organisation_id"]
            key, first, last = row["box_key"], row["first"], row["last"]
            end = min(first + timedelta(hours=self._hours_at_once.size), last)
            hours = _hours_of(key, first, end)
            with self._hours_at_once.slice(hours.keys, self._backoff):
                async with connection.transaction():
                    await summarise(connection, hours)
                    await _append_erased_hours(connection, key, hours.firsts)
                    # A concurrent request may have moved `backfill_next`. The request then prevails.
                    await connection.execute(_ADVANCE, key, end, row["asked"])
            if end == last:
                _log.info("rollup_backfilled", box_key=key)
        return True


async def _append_erased_hours(connection: asyncpg.Connection, key: int, hours: Sequence[datetime]) -> None:
    """Append a new version of the hours that are summarised again after a partial erasure."""
    if rows := await connection.fetch(_ERASED_IN_PART, key, hours):
        await append_hour_commits(connection, [key] * len(rows), [row["hour"] for row in rows])


def _hours_of(key: int, first: datetime, last: datetime) -> BoxSpans:
    count = (last - first) // HOUR
    firsts = [first + place * HOUR for place in range(count)]
    return BoxSpans([key] * count, firsts, [start + HOUR for start in firsts])
