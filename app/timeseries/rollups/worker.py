"""Updates stale roll-ups: first hours, then days, then the backfill of old samples, in slices.

Each slice is one transaction that writes roll-ups and removes their marks. `adaptive_slices` determines its
size, and pauses boxes that fail.
"""

import time
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg

from app.platform.observability.metrics_and_logs import get_logger
from app.timeseries.commit_log.commit_writer import append_hour_commits
from app.timeseries.prometheus_metrics import ROLLUP_LAG, ROLLUP_MARKS, ROLLUPS
from app.timeseries.retention.expired_data_repository import rewind_cleaning_progress
from app.timeseries.rollups import backfill
from app.timeseries.rollups.adaptive_slices import BoxBackoff, SliceSizer, get_slice_timeout_s
from app.timeseries.rollups.rollup_merging import find_local_days
from app.timeseries.rollups.rollup_writer import HOUR, BoxSpans, refresh_days, refresh_hours
from app.timeseries.rollups.stale_marks import MarkEpochs

_log = get_logger(__name__)
# The shortest time between two epochs: after each, the consumer writes the marks of current hours again.
_EVERY_S: Final = 60.0
_HOURS_MOST: Final = 500
_DAYS_MOST: Final = 50
# The time budget of one call, so that other jobs of the process run in between.
_RUN_S: Final = 1.0

# The current hour is skipped: it would be summarised again with each sample.
_OVER: Final = "now() - interval '61 minutes'"
_WAITING: Final = f"SELECT EXISTS (SELECT FROM rollup_marks WHERE hour < {_OVER} AND epoch > $1)"  # noqa: S608 (a constant)
_HOURS: Final = f"""
SELECT box_key, hour FROM rollup_marks WHERE hour < {_OVER} AND epoch <= $1 AND box_key <> ALL ($2::int[])
ORDER BY hour, box_key LIMIT $3
"""  # noqa: S608 (a constant)
# Locks marks in the order in which the consumer writes them. A mark that the consumer wrote again in the
# meantime has a newer epoch, and stays.
_TAKE: Final = """
WITH taken AS (
    SELECT m.box_key, m.hour FROM rollup_marks m
    JOIN unnest($1::int[], $2::timestamptz[]) AS k (box_key, hour)
        ON m.box_key = k.box_key AND m.hour = k.hour
    WHERE m.epoch <= $3 ORDER BY m.box_key, m.hour FOR UPDATE OF m
)
DELETE FROM rollup_marks m USING taken t WHERE m.box_key = t.box_key AND m.hour = t.hour
"""
_ZONES: Final = "SELECT box_key, timezone FROM rollup_states WHERE box_key = ANY ($1::int[])"
_MARK_DAYS: Final = """
INSERT INTO rollup_day_marks (box_key, day, until)
SELECT * FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[]) ON CONFLICT (box_key, day) DO NOTHING
"""
_DAYS: Final = f"""
SELECT box_key, day, until FROM rollup_day_marks WHERE until < {_OVER} AND box_key <> ALL ($1::int[])
ORDER BY until, box_key LIMIT $2
"""  # noqa: S608 (a constant)
_TAKE_DAYS: Final = """
DELETE FROM rollup_day_marks m USING unnest($1::int[], $2::timestamptz[]) AS k (box_key, day)
WHERE m.box_key = k.box_key AND m.day = k.day
"""
_SHOW: Final = f"""
SELECT count(*) AS marks, coalesce(extract(epoch FROM
    {_OVER} - min(hour) FILTER (WHERE hour < {_OVER})), 0)::float8 AS lag
FROM rollup_marks
"""  # noqa: S608 (a constant)


class RollupWorker:
    """Updates roll-ups a slice at a time. Only one process may run it."""

    def __init__(self) -> None:
        self._epochs = MarkEpochs()
        self._ending = False
        self._ended_at = -_EVERY_S
        self._backoff = BoxBackoff(time.monotonic)
        self._hours_at_once = SliceSizer(_HOURS_MOST, time.monotonic)
        self._days_at_once = SliceSizer(_DAYS_MOST, time.monotonic)
        self._backfill = backfill.RollupBackfill(self._backoff, time.monotonic)

    async def run_once(self, connection: asyncpg.Connection) -> bool:
        """Work for about a second; returns whether there is more to do now."""
        until = time.monotonic() + _RUN_S
        await backfill.sync_time_zones(connection)
        await self._end_epoch(connection)
        more = await self._hours(connection, until)
        more = await self._days(connection, until) or more
        if time.monotonic() < until:
            more = await self._backfill.run(connection, until, self._summarise) or more
        return more

    async def update_metrics(self, connection: asyncpg.Connection) -> None:
        """Update the Prometheus metrics on the backlog of roll-ups."""
        (row,) = await connection.fetch(_SHOW)
        ROLLUP_MARKS.set(row["marks"])
        ROLLUP_LAG.set(row["lag"])

    async def _end_epoch(self, connection: asyncpg.Connection) -> None:
        if not self._ending:
            if time.monotonic() - self._ended_at < _EVERY_S:
                return
            if not await connection.fetchval(_WAITING, self._epochs.ended):
                return
            self._ending = True
        if await self._epochs.end(connection):
            self._ending, self._ended_at = False, time.monotonic()

    async def _hours(self, connection: asyncpg.Connection, until: float) -> bool:
        while True:
            size = self._hours_at_once.size
            rows = await connection.fetch(_HOURS, self._epochs.ended, self._backoff.keys, size)
            if rows:
                keys, hours = [row["box_key"] for row in rows], [row["hour"] for row in rows]
                spans = BoxSpans(keys, hours, [hour + HOUR for hour in hours])
                with self._hours_at_once.slice(keys, self._backoff):
                    async with connection.transaction():
                        await self._summarise(connection, spans)
                        await connection.execute(_TAKE, keys, hours, self._epochs.ended)
                        # The backfill writes hours again that have not changed: it appends only erased ones.
                        await append_hour_commits(connection, keys, hours)
            if len(rows) < size or time.monotonic() >= until:
                return len(rows) == size

    async def _summarise(self, connection: asyncpg.Connection, hours: BoxSpans) -> None:
        await refresh_hours(connection, hours, get_slice_timeout_s(len(hours)))
        await rewind_cleaning_progress(connection, hours)
        await _mark_days(connection, hours)
        ROLLUPS.labels("hour").inc(len(hours))

    async def _days(self, connection: asyncpg.Connection, until: float) -> bool:
        while time.monotonic() < until:
            rows = await connection.fetch(_DAYS, self._backoff.keys, self._days_at_once.size)
            if not rows:
                return False
            keys: list[int] = [row["box_key"] for row in rows]
            days: list[datetime] = [row["day"] for row in rows]
            with self._days_at_once.slice(keys, self._backoff):
                async with connection.transaction():
                    spans = BoxSpans(keys, days, [row["until"] for row in rows])
                    await refresh_days(connection, spans, get_slice_timeout_s(len(rows)))
                    await connection.execute(_TAKE_DAYS, keys, days)
            ROLLUPS.labels("day").inc(len(rows))
        return True


async def _mark_days(connection: asyncpg.Connection, hours: BoxSpans) -> None:
    """Mark the local days in which hours lie: one each, or two if an hour crosses midnight."""
    zones = {row["box_key"]: row["timezone"] for row in await connection.fetch(_ZONES, list(set(hours.keys)))}
    days = {
        (key, *day)
        for key, first, last in zip(hours.keys, hours.firsts, hours.lasts, strict=True)
        if key in zones
        for day in find_local_days(first, last, ZoneInfo(zones[key]))
    }
    if days:
        await connection.execute(_MARK_DAYS, *map(list, zip(*sorted(days), strict=True)))
