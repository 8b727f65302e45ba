"""Compares positions in the write-ahead log (WAL) of the primary and of a standby.

A commit that was answered is before the position that the primary shows from then on. A snapshot that a
standby takes after it has replayed this position therefore contains the commit. Neither clocks nor the age of
transactions are compared: a primary on which nothing happens has the same position.

A position is valid in its timeline only. A standby may have replayed more of the former primary's timeline
than the new primary has, and lack what was committed since.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

import asyncpg

from app.platform.db.database import RawConnection

type StandbyFault = Literal["lag", "promoted", "timeline"]

_PRIMARY_TIMEOUT_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.02
# A commit is on disk before it is answered, unless `synchronous_commit` is off. What is not on disk yet takes
# up to 200 ms to reach a standby, so that it is waited for only then.
_PRIMARY: Final = """
SELECT ('x' || left(pg_walfile_name(lsn), 8))::bit(32)::integer AS timeline,
    (lsn - '0/0'::pg_lsn)::bigint AS lsn
FROM (SELECT CASE current_setting('synchronous_commit')
    WHEN 'off' THEN pg_current_wal_insert_lsn() ELSE pg_current_wal_flush_lsn() END) AS now (lsn)
"""
_STANDBY: Final = """
SELECT pg_is_in_recovery() AS is_standby, standby_timeline() AS timeline,
    (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint AS lsn
"""


class WalPosition(NamedTuple):
    """A position in the WAL.

    Attributes:
        timeline: The timeline of the database.
        lsn: The position, in bytes.
    """

    timeline: int
    lsn: int


class StandbyUnusableError(ConnectionError):
    """A standby does not show the state of the primary. The connection to it should be closed.

    Attributes:
        fault: The reason.
    """

    def __init__(self, fault: StandbyFault) -> None:
        super().__init__(f"the standby cannot be read from: {fault}")
        self.fault: Final = fault


class PrimaryPosition:
    """Reads the position of the primary, on one connection that it keeps.

    Concurrent callers share a query that began after each of them had called: there is one query at a time.

    Args:
        connect: Opens a connection to the primary.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._connection: asyncpg.Connection | None = None
        self._running: asyncio.Task[WalPosition] | None = None
        self._following: asyncio.Task[WalPosition] | None = None

    async def read(self) -> WalPosition:
        """Return a position that the primary had after this call began.

        Raises:
            DATABASE_ERRORS: The primary does not answer.
        """
        if self._following is None:
            self._following = asyncio.create_task(self._read_after(self._running))
            self._following.add_done_callback(_retrieve_error)
        # A request that is cancelled must not cancel the query of the others.
        return await asyncio.shield(self._following)

    async def _read_after(self, running: asyncio.Task[WalPosition] | None) -> WalPosition:
        if running is not None and not running.done():
            await asyncio.wait({running})
        self._running, self._following = self._following, None
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            row: Any = await self._connection.fetchrow(_PRIMARY, timeout=_PRIMARY_TIMEOUT_S)
        except BaseException:
            await self.close()
            raise
        return WalPosition(row["timeline"], row["lsn"])

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _retrieve_error(task: asyncio.Task[WalPosition]) -> None:
    # All callers may have been cancelled: nothing else retrieves it then.
    if not task.cancelled():
        task.exception()


async def wait_until_replayed(connection: RawConnection, position: WalPosition, until: float) -> None:
    """Wait until the standby of a connection has replayed a position.

    The transaction that reads must begin afterwards: its snapshot is taken by its first statement.

    Args:
        connection: To the standby, outside of a transaction.
        position: The position.
        until: When to give up, by the clock of the event loop.

    Raises:
        StandbyUnusableError: It has not replayed the position in time, follows another timeline, or was
            promoted.
        DATABASE_ERRORS: It does not answer in time.
    """
    clock = asyncio.get_running_loop().time
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            row: Any = await connection.fetchrow(_STANDBY, timeout=max(_LONGEST_PAUSE_S, until - clock()))
        except (asyncpg.UndefinedFunctionError, asyncpg.InsufficientPrivilegeError) as error:
            raise StandbyUnusableError("timeline") from error
        if not row["is_standby"]:
            raise StandbyUnusableError("promoted")
        if row["timeline"] != position.timeline:
            raise StandbyUnusableError("timeline")
        if row["lsn"] >= position.lsn:
            return
        if clock() + pause_s >= until:
            raise StandbyUnusableError("lag")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
