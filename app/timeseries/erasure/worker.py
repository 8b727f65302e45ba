"""Executes erasures box by box, in slices, round-robin. Only `vigie maintain` runs it.

Each slice is a transaction that removes rows and appends their identities to the erasure's chain, so that an
interrupted erasure continues where it stopped. Latest values are reset last, for many boxes at once, with
the ingest barrier closed: the consumer caches them, and drops them when the registry reports a changed box.
"""

import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any, Final

import asyncpg

from app.platform.db.ingest_barrier import close_ingest_barrier_unqueued
from app.platform.kernel.instants import from_datetime
from app.platform.observability.metrics_and_logs import get_logger
from app.timeseries.erasure.box_data_removal import (
    ErasureRange,
    remove_events,
    remove_remaining_data,
    remove_samples,
)
from app.timeseries.erasure.erasure_requests import extend_removal_digest
from app.timeseries.prometheus_metrics import ERASED, ERASURES_WAITING
from app.timeseries.retention.expired_data_repository import invalidate_box_states
from app.timeseries.storage.sample_column_encoding import MICROS_SQL

_log = get_logger(__name__)
# The time budget of one call, so that other jobs of the process run in between.
_RUN_S: Final = 1.0
_SLICE: Final = 20_000
_BOXES: Final = 50
# Ingest waits while the barrier is closed, so that a transaction updates at most this many rows.
_BOXES_PER_BARRIER: Final = 500

_WAITING: Final = "SELECT count(*) FROM erasures WHERE finished_at IS NULL"
_NEXT: Final = """
SELECT id, organisation_id, begins_at, ends_at, progress::text AS progress, chain FROM erasures
WHERE finished_at IS NULL ORDER BY worked_at NULLS FIRST, id LIMIT 1
"""
_BOXES_OF: Final = """
SELECT e.box_key, b.id FROM erasure_boxes e JOIN registry_boxes b ON b.key = e.box_key
WHERE e.erasure_id = $1 AND e.state = $2 ORDER BY e.box_key LIMIT $3
"""
_RECORD: Final = "UPDATE erasures SET progress = $2::jsonb, chain = $3 WHERE id = $1"
_MARK: Final = "UPDATE erasure_boxes SET state = $3 WHERE erasure_id = $1 AND box_key = ANY ($2::int[])"
# The newest values before an erased range, of the metrics whose latest value is in it: without them these
# metrics would have no series. Each hour that may have one is searched, the newest first: that of the newest
# sample, those whose roll-up is not computed yet, and those that have values in the newest days of roll-ups.
_READ_FORMER: Final = f"""
SELECT jsonb_object_agg(box_key, latest)::text FROM (
    SELECT s.box_key, jsonb_object_agg(l.key, v.former) AS latest
    FROM box_states s CROSS JOIN LATERAL jsonb_each(s.latest) AS l CROSS JOIN LATERAL (
        SELECT f.former FROM (
            SELECT date_trunc('hour', max(t.time), 'UTC') AS hour FROM samples t
            WHERE t.box_key = s.box_key AND t.time < $4
            UNION
            (
                SELECT m.hour FROM rollup_marks m WHERE m.box_key = s.box_key AND m.hour < $4
                ORDER BY m.hour DESC LIMIT 24
            )
            UNION
            SELECT d.day + (u.n - 1) * interval '1 hour' FROM (
                SELECT h.day, h.count FROM hourly h
                WHERE h.box_key = s.box_key AND h.metric = l.key AND 0 < ANY (h.count) AND h.day < $4
                ORDER BY h.day DESC LIMIT 2
            ) d, unnest(d.count) WITH ORDINALITY AS u (count, n)
            WHERE u.count > 0 AND d.day + (u.n - 1) * interval '1 hour' < $4
        ) AS c CROSS JOIN LATERAL (
            SELECT jsonb_build_array(to_jsonb(x) -> l.key, ({MICROS_SQL.format("x.time")})) AS former
            FROM samples x
            WHERE x.box_key = s.box_key
                AND x.time >= c.hour AND x.time < least(c.hour + interval '1 hour', $4)
                AND to_jsonb(x) ->> l.key IS NOT NULL
            ORDER BY x.time DESC LIMIT 1
        ) f
        ORDER BY c.hour DESC LIMIT 1
    ) v
    WHERE s.box_key = ANY ($1::int[]) AND (l.value ->> 1)::bigint >= $2 AND (l.value ->> 1)::bigint < $3
    GROUP BY s.box_key
) AS boxes
"""  # noqa: S608 (a constant)
# Readers and the consumer search `samples` for data newer than `newest_us`. Hence it is set back to the
# newest remaining sample, and never moved forward.
_RESET_LATEST: Final = """
WITH found AS (
    SELECT s.box_key, (
        SELECT count(*) FROM jsonb_each(s.latest) AS l
        WHERE (l.value ->> 1)::bigint >= $2 AND (l.value ->> 1)::bigint < $3
    ) AS values
    FROM box_states s WHERE s.box_key = ANY ($1::int[])
), settled AS (
    UPDATE box_states s SET
        latest = coalesce($4::jsonb -> s.box_key::text, '{}') || coalesce((
            SELECT jsonb_object_agg(l.key, l.value) FROM jsonb_each(s.latest) AS l
            WHERE (l.value ->> 1)::bigint < $2 OR (l.value ->> 1)::bigint >= $3
        ), '{}'),
        newest_us = (
            SELECT (extract(epoch FROM max(t.time)) * 1000000)::bigint FROM samples t
            WHERE t.box_key = s.box_key
                AND t.time <= 'epoch'::timestamptz + s.newest_us * interval '1 microsecond'
        )
    WHERE s.box_key = ANY ($1::int[])
)
SELECT coalesce(sum(values), 0)::bigint FROM found
"""
_DONE: Final = """
UPDATE erasures SET boxes_done = (
    SELECT count(*) FROM erasure_boxes b WHERE b.erasure_id = $1 AND b.state = 'done'
) WHERE id = $1
"""
_FINISH: Final = """
UPDATE erasures SET finished_at = now(), removed = progress, digest = chain WHERE id = $1 RETURNING id
"""


class ErasureWorker:
    """Executes erasures a slice at a time. Only one process may run it."""

    async def run_once(self, connection: asyncpg.Connection) -> bool:
        """Work for about a second; returns whether there is more to do now."""
        until = time.monotonic() + _RUN_S
        while True:
            row = await connection.fetchrow(_NEXT)
            if row is None:
                ERASURES_WAITING.set(0)
                return False
            await _ErasureJob(connection, row, until).run()
            if time.monotonic() >= until:
                ERASURES_WAITING.set(await connection.fetchval(_WAITING))
                return True


class _ErasureJob:
    """One erasure, until it is done or its time budget is used up."""

    def __init__(self, connection: asyncpg.Connection, row: asyncpg.Record, until: float) -> None:
        self._connection = connection
        self._id = row["id"]
        self._organisation = row["organisation_id"]
        self._when = ErasureRange.of(row["begins_at"], row["ends_at"])
        self._progress: dict[str, int] = json.loads(row["progress"])
        self._chain: str = row["chain"]
        self._until = until

    async def run(self) -> None:
        """Execute the next slices until the erasure is done or the time is up."""
        await self._connection.execute(
            "UPDATE erasures SET worked_at = clock_timestamp() WHERE id = $1", self._id
        )
        while boxes := await self._boxes("waiting", _BOXES):
            for box in boxes:
                if not await self._remove_box_data(box["box_key"], box["id"]):
                    return
        while boxes := await self._boxes("emptied", _BOXES_PER_BARRIER):
            await self._reset_latest([box["box_key"] for box in boxes])
            if self._is_over():
                return
        # Nothing is left of it if its organisation was deleted meanwhile.
        if await self._connection.fetchval(_FINISH, self._id) is not None:
            _log.info("erasure_finished", erasure=str(self._id), digest=self._chain, **self._progress)

    async def _boxes(self, state: str, most: int) -> Sequence[asyncpg.Record]:
        rows: Sequence[asyncpg.Record] = await self._connection.fetch(_BOXES_OF, self._id, state, most)
        return rows

    def _is_over(self) -> bool:
        return time.monotonic() >= self._until

    async def _remove_box_data(self, key: int, box: str) -> bool:
        """Remove the data of a box; returns whether there is time left."""
        for table, remove in (("samples", remove_samples), ("events", remove_events)):
            full = True
            while full:
                async with self._connection.transaction():
                    gone = await remove(self._connection, key, self._when, _SLICE)
                    await self._record({table: len(gone)}, format_removal_lines(table, box, gone))
                full = len(gone) == _SLICE
                if full and self._is_over():
                    return False
        async with self._connection.transaction():
            removed = await remove_remaining_data(self._connection, key, box, self._organisation, self._when)
            await self._record(removed)
            await self._connection.execute(_MARK, self._id, [key], "emptied")
        return not self._is_over()

    async def _reset_latest(self, keys: list[int]) -> None:
        """Reset latest values while the ingest barrier keeps the consumer from writing them back."""
        first, last = (from_datetime(edge) for edge in (self._when.first, self._when.last))
        # Before the barrier is closed, for which ingest waits: 500 boxes with six metrics take three seconds.
        former = await self._connection.fetchval(_READ_FORMER, keys, first, last, self._when.first)
        async with self._connection.transaction():
            await close_ingest_barrier_unqueued(self._connection)
            values = await self._connection.fetchval(_RESET_LATEST, keys, first, last, former)
            await invalidate_box_states(self._connection, keys)
            await self._record({"box_states": values})
            await self._connection.execute(_MARK, self._id, keys, "done")
            await self._connection.execute(_DONE, self._id)

    async def _record(self, removed: dict[str, int], identities: Iterable[str] = ()) -> None:
        """Record the removed rows, in the transaction that removes them."""
        progress = {**self._progress}
        for table, count in removed.items():
            progress[table] = progress.get(table, 0) + count
            ERASED.labels(table).inc(count)
        chain = extend_removal_digest(self._chain, identities)
        await self._connection.execute(_RECORD, self._id, json.dumps(progress), chain)
        self._progress, self._chain = progress, chain


def format_removal_lines(table: str, box: str, identities: Iterable[tuple[Any, ...]]) -> Iterable[str]:
    """Format the identities of removed rows as lines of the hash chain."""
    for moment, *more in identities:
        at = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        yield " ".join((table, box, at, *more))
