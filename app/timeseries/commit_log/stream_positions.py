"""Assigns positions in the measurement stream to committed rows, reads the head, and removes old rows.

Ids are drawn when a transaction writes, and transactions commit in another order. So a row gets its position
after its commit, and only one process at a time assigns positions: it holds an advisory lock from before its
query until its commit. A reader that has read up to a position has missed no row before it.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from app.platform.db.advisory_lock_keys import MEASUREMENT_POSITIONS
from app.platform.db.database import RawConnection, parse_row_count

CHANNEL: Final = "vigie_measurements"
"""The LISTEN/NOTIFY channel that wakes readers: rows have got their positions."""

MOST_ASSIGNED: Final = 2000
"""The most rows of one transaction."""

FULL_SCAN_EVERY_S: Final = 5.0
"""Interval at which the sequencer scans all ids: a row that committed after its successors waits so long."""

_PRUNED_AT_ONCE: Final = 5000
_LOWEST_WAITING: Final = """
SELECT (SELECT min(id) FROM measurement_commits WHERE stream_position IS NULL AND id >= $1) AS waiting,
    coalesce((SELECT max(id) FROM measurement_commits), 0) AS newest
"""
# All streams wait for this transaction: the server ends it soon if this process is suspended.
_ALONE: Final = """
SELECT pg_try_advisory_xact_lock($1), set_config('idle_in_transaction_session_timeout', '10s', true)
"""
# A restored backup, or a standby that had not received everything, has forgotten positions that were already
# sent. Positions are assigned more slowly than one a microsecond, so all former ones are lower.
_SKIP_FORMER: Final = """
SELECT setval('measurement_positions', greatest(
    coalesce(pg_sequence_last_value('measurement_positions'), 0),
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
))
"""
# Rows are joined by their places in the table. By their ids, a table that was vacuumed while it was empty is
# thought to have one row for up to a minute, and each waiting row is compared with all rows.
_ASSIGN: Final = """
WITH placed AS (
    SELECT tid, nextval('measurement_positions') AS place
    FROM (
        SELECT ctid AS tid FROM measurement_commits
        WHERE stream_position IS NULL AND id >= $2 ORDER BY id LIMIT $1
    ) AS waiting
), done AS (
    UPDATE measurement_commits AS c SET stream_position = placed.place, positioned_at = clock_timestamp()
    FROM placed WHERE c.ctid = placed.tid
    RETURNING c.id, c.items, c.committed_at
)
SELECT count(*) AS assigned, coalesce(sum(items), 0) AS items, coalesce(max(id), 0) AS last_id,
    coalesce(extract(epoch FROM clock_timestamp() - min(committed_at)), 0)::float8 AS delay_s
FROM done
"""
_HEAD: Final = """
SELECT now() AS at,
    (SELECT max(stream_position) FROM measurement_commits WHERE stream_position IS NOT NULL) AS newest,
    coalesce(pg_sequence_last_value('measurement_positions'), 0) AS last_assigned
"""
_OLDEST: Final = """
SELECT positioned_at FROM measurement_commits WHERE organisation_id = $1 AND stream_position > $2
ORDER BY stream_position LIMIT 1
"""
_NEWS: Final = """
SELECT organisation_id, max(stream_position) AS newest FROM measurement_commits
WHERE stream_position > $1 GROUP BY organisation_id
"""
_LAG: Final = """
SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(committed_at)), 0)::float8 AS oldest_s
FROM measurement_commits WHERE stream_position IS NULL
"""
# Rows get positions in about the order of their ids, so only the oldest ones are read.
_PRUNE: Final = """
WITH oldest AS MATERIALIZED (
    SELECT ctid AS tid, positioned_at FROM measurement_commits ORDER BY id LIMIT $2
)
DELETE FROM measurement_commits c USING oldest
WHERE c.ctid = oldest.tid AND oldest.positioned_at < now() - make_interval(days => $1)
"""


class AssignedPositions(NamedTuple):
    """The result of one transaction of the sequencer.

    Attributes:
        rows: how many rows got a position.
        items: how many items they have.
        delay_s: the time since the oldest of their transactions began (s).
        blocked: another process was assigning positions.
    """

    rows: int = 0
    items: int = 0
    delay_s: float = 0.0
    blocked: bool = False


class StreamHead(NamedTuple):
    """The head of the stream of all organisations.

    Attributes:
        at: the database's time.
        position: the newest position that can be read; 0 if none is stored.
        last_assigned: the highest position that was ever assigned; it may not be committed yet.
    """

    at: datetime
    position: int
    last_assigned: int


class PositionLag(NamedTuple):
    """The rows without a position: their number, and the age of the oldest (s)."""

    waiting: int
    oldest_s: float


class PositionAssigner:
    """Assigns positions over one connection.

    The first position is at least the time (µs since the epoch): a database that was restored, or a standby
    that became the primary, assigns no position again, because all its connections are new.

    Most transactions look only at ids from the lowest one on that had no position some seconds ago. While a
    transaction with an old snapshot runs, such as a dump, the index keeps an entry of each row that got a
    position meanwhile, and reading them all would slow every look. A full look finds rows with lower ids.

    Args:
        connection: outside a transaction.
        most: the most rows of one transaction.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        connection: RawConnection,
        most: int = MOST_ASSIGNED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._most = most
        self._clock = clock
        # Rows with lower ids had their positions at the last full look but one, and at the last one.
        self._first_id = 0
        self._next_first_id = 0
        self._scan_all_at = clock()
        self._has_skipped_former = False

    async def assign(self) -> AssignedPositions:
        """Assign positions to rows that have none, in one transaction, and wake readers after it."""
        lowest = await self._find_lowest_waiting()
        if lowest is None and self._has_skipped_former:
            return AssignedPositions()
        async with self._connection.transaction():
            if not await self._connection.fetchval(_ALONE, MEASUREMENT_POSITIONS):
                return AssignedPositions(blocked=True)
            if not self._has_skipped_former:
                await self._connection.execute(_SKIP_FORMER)
                self._has_skipped_former = True
            if lowest is None:
                return AssignedPositions()
            row = await self._connection.fetchrow(_ASSIGN, self._most, lowest)
        if row is None or not row["assigned"]:
            return AssignedPositions()
        if row["assigned"] == self._most:
            # Of a backlog: rows are taken by id.
            self._first_id = row["last_id"] + 1
        # Not in the transaction above: it would lock the whole server's notifications until its commit.
        await self._connection.execute(f"NOTIFY {CHANNEL}")
        return AssignedPositions(row["assigned"], row["items"], row["delay_s"])

    async def _find_lowest_waiting(self) -> int | None:
        """Find the lowest id of a row without a position; None if there is none."""
        scans_all = self._clock() >= self._scan_all_at
        row = await self._connection.fetchrow(_LOWEST_WAITING, 0 if scans_all else self._first_id)
        if row is None:
            raise RuntimeError("a SELECT without FROM gave no row")
        waiting: int | None = row["waiting"]
        if scans_all:
            self._scan_all_at = self._clock() + FULL_SCAN_EVERY_S
            # Ids of transactions that began later are higher than the newest one here.
            self._first_id = self._next_first_id
            self._next_first_id = row["newest"] + 1 if waiting is None else waiting
        return waiting


async def read_stream_head(connection: RawConnection) -> StreamHead:
    """Read the head of the stream."""
    row = await connection.fetchrow(_HEAD)
    if row is None:
        raise RuntimeError("a SELECT without FROM gave no row")
    return StreamHead(row["at"], row["newest"] or 0, row["last_assigned"])


async def read_oldest_time(connection: RawConnection, organisation: UUID, after: int) -> datetime | None:
    """Read when an organisation's first row after a position got its position; None if none is stored."""
    positioned: datetime | None = await connection.fetchval(_OLDEST, organisation, after)
    return positioned


async def read_updated_organisations(connection: RawConnection, after: int) -> dict[UUID, int]:
    """Find the organisations with rows after a position, and their newest positions."""
    rows = await connection.fetch(_NEWS, after)
    return {row["organisation_id"]: row["newest"] for row in rows}


async def measure_position_lag(connection: RawConnection) -> PositionLag:
    """Measure what the sequencer has not processed yet."""
    row = await connection.fetchrow(_LAG)
    if row is None:
        raise RuntimeError("an aggregate gave no row")
    return PositionLag(row["waiting"], row["oldest_s"])


async def prune_commits(connection: RawConnection, keep_days: int) -> None:
    """Delete rows that got their positions long ago: as long, readers can resume.

    Args:
        connection: outside a transaction.
        keep_days: the retention (days).
    """
    removed = _PRUNED_AT_ONCE
    while removed == _PRUNED_AT_ONCE:
        removed = parse_row_count(await connection.execute(_PRUNE, keep_days, _PRUNED_AT_ONCE))
