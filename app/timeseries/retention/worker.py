"""Removes expired data: whole chunks where possible, otherwise box by box in slices of local days.

Only `vigie maintain` runs it. Each slice is a short transaction that removes rows and values, and records the
progress. A box whose roll-ups have marks in the expired range waits until these are processed, so that only
summarised samples are removed.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from app.catalogue.purposes import SAMPLE_PURPOSES
from app.platform.db.database import parse_row_count
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.cross_tenant_repository import list_sites_with_retention
from app.registry.site_retention import RetentionSettings
from app.timeseries.prometheus_metrics import RETENTION_REMOVED, RETENTION_WAITING
from app.timeseries.retention import expired_data_repository
from app.timeseries.retention.expired_data_repository import (
    ExpiredCounts,
    advance_cleaning_progress,
    remove_expired_latest,
)
from app.timeseries.retention.expiry_cutoffs import (
    EXPIRY_CATEGORIES,
    EXPIRY_EVENT_TYPES,
    NEVER,
    ExpiryLimits,
)
from app.timeseries.rollups.adaptive_slices import BoxBackoff
from app.timeseries.rollups.rollup_queries import find_local_midnight

_log = get_logger(__name__)
# The time budget of one call, so that other jobs of the process run in between.
_RUN_S: Final = 1.0
_BOXES: Final = 100
# The check reads all old chunks, and its result changes once a day.
_CHUNK_CHECK_S: Final = 600.0
# The approximate number of samples that one transaction removes; a day at least.
_STEP_SAMPLES: Final = 20_000
_STEP_LONGEST: Final = timedelta(days=366)
_EVENTS: Final = 20_000

_WAITING: Final = """
SELECT count(*) FROM registry_boxes b
WHERE b.site_id = $1 AND b.deleted_at IS NULL AND EXISTS (
    SELECT FROM unnest($2::text[], $3::timestamptz[]) AS p (name, until)
    LEFT JOIN retention_states s ON s.box_key = b.key AND s.purpose = p.name
    WHERE p.until > coalesce(s.next_from, $4)
)
"""
_READY: Final = """
SELECT b.key, ARRAY(
    SELECT coalesce(s.next_from, $4) FROM unnest($2::text[]) WITH ORDINALITY AS p (name, place)
    LEFT JOIN retention_states s ON s.box_key = b.key AND s.purpose = p.name ORDER BY p.place
) AS nexts
FROM registry_boxes b JOIN rollup_states r ON r.box_key = b.key AND r.timezone = $5
WHERE b.site_id = $1 AND b.deleted_at IS NULL AND b.key <> ALL ($8::int[])
    AND EXISTS (
        SELECT FROM unnest($2::text[], $3::timestamptz[]) AS p (name, until)
        LEFT JOIN retention_states s ON s.box_key = b.key AND s.purpose = p.name
        WHERE p.until > coalesce(s.next_from, $4)
    )
    AND (r.backfill_next IS NULL OR r.backfill_next >= $6)
    AND NOT EXISTS (SELECT FROM rollup_marks m WHERE m.box_key = b.key AND m.hour < $6)
    AND NOT EXISTS (SELECT FROM rollup_day_marks m WHERE m.box_key = b.key AND m.day < $6)
ORDER BY b.key LIMIT $7
"""
# Skips ranges without samples, and limits the number of samples: a box may send far more than its interval
# says. `last` is the first sample beyond the limit.
_NEXT_RANGE: Final = """
SELECT f.time AS first, (
    SELECT time FROM samples
    WHERE box_key = $1 AND time >= f.time AND time < $3 AND time < f.time + $5::interval
    ORDER BY time OFFSET $4 LIMIT 1
) AS last
FROM (SELECT time FROM samples WHERE box_key = $1 AND time >= $2 AND time < $3 ORDER BY time LIMIT 1) AS f
"""
_RANGE: Final = "s.box_key = $1 AND s.time >= $2 AND s.time < $3"
_COUNT: Final = (
    f"SELECT {expired_data_repository.expired_counts_sql('$4::timestamptz[]')} FROM samples s WHERE {_RANGE}"  # noqa: S608 (catalogue names)
)
_DELETE: Final = (
    f"DELETE FROM samples s WHERE {_RANGE} AND {expired_data_repository.expired_row_sql('$4::timestamptz[]')}"  # noqa: S608 (catalogue names)
)
# Each type has the retention of its purpose; for unknown types see `ExpiryLimits.of_other_types`.
_DELETE_EVENTS: Final = """
DELETE FROM events WHERE box_key = $1 AND (time, type) IN (
    SELECT e.time, e.type FROM events e
    LEFT JOIN unnest($2::text[], $3::timestamptz[]) AS m (type, before) ON m.type = e.type
    WHERE e.box_key = $1 AND e.time < coalesce(m.before, $4) ORDER BY e.time LIMIT $5
)
"""
_TOTALS: Final = """
INSERT INTO removals AS r (site_id, samples, measured, events, hourly, daily, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, now())
ON CONFLICT (site_id) DO UPDATE SET samples = r.samples + excluded.samples,
    measured = r.measured + excluded.measured, events = r.events + excluded.events,
    hourly = r.hourly + excluded.hourly, daily = r.daily + excluded.daily, updated_at = excluded.updated_at
"""


@dataclass(slots=True)
class _Site:
    """A site that removes expired data.

    Attributes:
        removed: counts of this call, by kind.
    """

    id: UUID
    timezone: str
    limits: ExpiryLimits
    removed: Counter[str] = field(default_factory=Counter)


class RetentionWorker:
    """Removes expired data a slice at a time. Only one process may run it."""

    def __init__(self) -> None:
        self._next_site = 0
        self._chunks_checked_at = -_CHUNK_CHECK_S
        self._backoff = BoxBackoff(time.monotonic)

    async def run_once(self, connection: asyncpg.Connection) -> bool:
        """Work for about a second; returns whether there is more to do now."""
        until = time.monotonic() + _RUN_S
        rows = await list_sites_with_retention(connection)
        if not rows:
            RETENTION_WAITING.set(0)
            return False
        # The earlier of two machines' clocks: what is removed by a clock that is ahead does not come back.
        now = min(datetime.now(UTC), await connection.fetchval("SELECT now()"))
        sites = [_site(row, now) for row in rows]
        if time.monotonic() - self._chunks_checked_at >= _CHUNK_CHECK_S:
            await self._drop_chunks(connection, until)
        more = False
        # Round-robin over sites. `_next_site` advances first, so that a site that fails does not block the
        # others.
        begun = self._next_site
        for offset in range(len(sites)):
            site = sites[(begun + offset) % len(sites)]
            self._next_site = (begun + offset + 1) % len(sites)
            more = await self._clean(connection, site, until) or more
            if time.monotonic() >= until:
                more = more or offset + 1 < len(sites)
                break
        else:
            waiting = [
                await connection.fetchval(
                    _WAITING, site.id, list(EXPIRY_CATEGORIES), site.limits.listed, NEVER
                )
                for site in sites
            ]
            RETENTION_WAITING.set(sum(waiting))
        return more

    async def _drop_chunks(self, connection: asyncpg.Connection, until: float) -> None:
        while time.monotonic() < until:
            row = await connection.fetchrow("SELECT * FROM retention_drop()")
            if row is None:
                self._chunks_checked_at = time.monotonic()
                return
            RETENTION_REMOVED.labels("chunks").inc()
            _log.info(
                "retention_chunk_dropped",
                first=row["first"].isoformat(),
                last=row["last"].isoformat(),
                samples_estimated=row["estimate"],
            )

    async def _clean(self, connection: asyncpg.Connection, site: _Site, until: float) -> bool:
        """Clean boxes of a site; returns whether more of them could be cleaned now."""
        limits = site.limits
        arguments = (
            list(EXPIRY_CATEGORIES),
            limits.listed,
            NEVER,
            site.timezone,
            limits.newest,
            _BOXES,
            self._backoff.keys,
        )
        boxes = await connection.fetch(_READY, site.id, *arguments)
        # Before the progress is recorded, so that a failure here is retried.
        await remove_expired_latest(connection, [box["key"] for box in boxes], limits)
        finished = True
        for box in boxes:
            with self._backoff.pause_on_failure(box["key"]):
                finished = await _clean_box(connection, site, box, until)
            if not finished:
                break
        if removed := +site.removed:
            for what, count in removed.items():
                RETENTION_REMOVED.labels(what).inc(count)
            _log.info("retention_removed", site_id=str(site.id), **removed)
        return not finished or len(boxes) == _BOXES


def _site(row: asyncpg.Record, now: datetime) -> _Site:
    retention = RetentionSettings.of_columns(row["retention_days"], row["purposes"], row["summaries_days"])
    return _Site(row["id"], row["timezone"], ExpiryLimits.of(retention, row["timezone"], now))


async def _clean_box(connection: asyncpg.Connection, site: _Site, box: asyncpg.Record, until: float) -> bool:
    """Remove the expired data of one box; returns whether all of it is done."""
    key: int = box["key"]
    nexts: Sequence[datetime] = box["nexts"]
    due = [(first, last) for first, last in zip(nexts, site.limits.of_samples, strict=False) if last > first]
    if due:
        range_due = min(first for first, _ in due), max(last for _, last in due)
        if not await _clean_samples(connection, site, box, range_due, until):
            return False
    while await _remove_events(connection, site, key):
        if time.monotonic() >= until:
            return False
    async with connection.transaction():
        gone = Counter(
            hourly=await _remove_summaries(connection, "hourly", key, site.limits.hourly),
            daily=await _remove_summaries(connection, "daily", key, site.limits.daily),
        )
        await advance_cleaning_progress(connection, key, EXPIRY_CATEGORIES, site.limits.listed)
        await _count(connection, site, gone)
    return time.monotonic() < until


async def _clean_samples(
    connection: asyncpg.Connection,
    site: _Site,
    box: asyncpg.Record,
    range_due: tuple[datetime, datetime],
    until: float,
) -> bool:
    first, last = range_due
    zone = ZoneInfo(site.timezone)
    bounds = _STEP_SAMPLES, _STEP_LONGEST
    while True:
        found = await connection.fetchrow(_NEXT_RANGE, box["key"], first, last, *bounds)
        if found is None:
            return True
        first = find_local_midnight(found["first"], zone, up=False)
        # The end of the last whole day before the first sample beyond the limit, or else of the first day.
        end = find_local_midnight(found["last"] or found["first"] + _STEP_LONGEST, zone, up=False)
        if end <= first:
            end = find_local_midnight(found["first"] + timedelta(microseconds=1), zone, up=True)
        end = min(end, last)
        await _clean_days(connection, site, box["key"], first, end)
        first = end
        if time.monotonic() >= until:
            return False


async def _clean_days(
    connection: asyncpg.Connection, site: _Site, key: int, first: datetime, last: datetime
) -> None:
    """Remove expired data from whole local days of a box, in one transaction.

    Samples stored concurrently are not visible to it. They have marks, which cause another check.
    """
    limits = site.limits
    async with connection.transaction(isolation="repeatable_read"):
        (row,) = await connection.fetch(_COUNT, key, first, last, limits.of_samples)
        found = ExpiredCounts.of(dict(row))
        if found.samples:
            await connection.execute(_DELETE, key, first, last, limits.of_samples)
        if found.samples < found.rows:
            for purpose in SAMPLE_PURPOSES:
                end = min(last, limits.metrics[purpose.name])
                if found.purposes[purpose.name].values and end > first:
                    await connection.execute(
                        "SELECT retention_clear($1, $2, $3, $4)", key, first, end, list(purpose.metrics)
                    )
        ends = {name: min(last, limit) for name, limit in limits.metrics.items() if limit > first}
        await advance_cleaning_progress(connection, key, list(ends), list(ends.values()))
        await _count(connection, site, Counter(samples=found.samples, values=found.values))


async def _remove_events(connection: asyncpg.Connection, site: _Site, key: int) -> bool:
    """Remove a slice of a box's expired events; returns whether the slice was full."""
    limits = site.limits
    if all(limit == NEVER for limit in limits.events.values()):
        return False
    arguments = list(EXPIRY_EVENT_TYPES), limits.of_types, limits.of_other_types
    async with connection.transaction():
        removed = parse_row_count(await connection.execute(_DELETE_EVENTS, key, *arguments, _EVENTS))
        await _count(connection, site, Counter(events=removed))
    return removed == _EVENTS


async def _remove_summaries(connection: asyncpg.Connection, table: str, key: int, limit: datetime) -> int:
    if limit == NEVER:
        return 0
    return parse_row_count(
        await connection.execute(f"DELETE FROM {table} WHERE box_key = $1 AND day < $2", key, limit)  # noqa: S608 (constants)
    )


async def _count(connection: asyncpg.Connection, site: _Site, removed: Counter[str]) -> None:
    """Record the counts, in the transaction of the removal."""
    if any(removed.values()):
        whats: tuple[Any, ...] = ("samples", "values", "events", "hourly", "daily")
        await connection.execute(_TOTALS, site.id, *(removed[what] for what in whats))
        site.removed += removed
