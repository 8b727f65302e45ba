"""Computes count and checksum of each table at one exact point of the WAL, to compare a restore with.

A snapshot does not match a position in the WAL by itself: a transaction may have written its commit record
before the position, and not be visible in the snapshot yet. So all writers must pause for a moment. One
transaction:

1. locks all tables against changes of their schema (ACCESS SHARE), so that no chunk disappears meanwhile;
2. locks them against writes (SHARE) within a savepoint, which waits until running writers have ended;
3. writes a named restore point, and takes its snapshot in the same statement;
4. rolls back to the savepoint: writers continue;
5. reads all tables in that snapshot.

Step 2 gives up after 400 ms and tries again, so that writers wait no longer than that.
"""

import asyncio
import secrets
import time
from typing import Final, NamedTuple

import asyncpg

from app.backups.backup_catalogue import TableFingerprints
from app.backups.backup_target import BackupError, ProgressSink

_LOCK_TIMEOUT_MS: Final = 400  # less than `deadlock_timeout`: a writer is never aborted because of this
_RETRY_S: Final = 0.5
_TRIES_S: Final = 120.0
# The chunks of a hypertable are its children: a lock on the table locks them too, and a query reads them.
_TABLES: Final = """
SELECT c.oid::regclass::text FROM pg_class c
WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND relpersistence = 'p'
    AND NOT relispartition
ORDER BY 1
"""
_FINGERPRINT: Final = (
    "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {} AS t"
)
# The text form of values must not depend on the settings of a role or a server.
_OUTPUT_SETTINGS: Final = (
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL datestyle = 'ISO, YMD'",
    "SET LOCAL intervalstyle = 'iso_8601'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
)


class FingerprintedPoint(NamedTuple):
    """The tables at a named point of the WAL.

    Attributes:
        restore_point: the name of the point.
        tables: count and checksum of each table.
        paused_s: how long writers were paused.
    """

    restore_point: str
    tables: TableFingerprints
    paused_s: float


async def fingerprint_at_restore_point(
    connection: asyncpg.Connection, label: str, report: ProgressSink
) -> FingerprintedPoint:
    """Write a restore point after a backup, and compute the tables' fingerprints at this point.

    Args:
        connection: as a superuser, outside a transaction.
        label: the label of the backup.
        report: takes lines of progress.

    Raises:
        BackupError: some transaction was writing all the time.
    """
    name = f"vigie-{label}-{secrets.token_hex(4)}"
    tables = await _list_tables(connection)
    async with connection.transaction(isolation="repeatable_read"):
        for statement in _OUTPUT_SETTINGS:
            await connection.execute(statement)
        listed = ", ".join(tables)
        await connection.execute(f"LOCK TABLE {listed} IN ACCESS SHARE MODE")
        paused_s = await _write_restore_point(connection, name, listed)
        found = await _read_tables(connection, tables, report)
    return FingerprintedPoint(name, found, paused_s)


async def fingerprint_tables(connection: asyncpg.Connection, report: ProgressSink) -> TableFingerprints:
    """Compute the fingerprints of all tables of a restored database."""
    tables = await _list_tables(connection)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for statement in _OUTPUT_SETTINGS:
            await connection.execute(statement)
        return await _read_tables(connection, tables, report)


async def _list_tables(connection: asyncpg.Connection) -> list[str]:
    names: list[str] = [row[0] for row in await connection.fetch(_TABLES)]
    if not names:
        raise BackupError("the database has no tables: run `vigie migrate` first")
    return names


async def _write_restore_point(connection: asyncpg.Connection, name: str, listed: str) -> float:
    until = time.monotonic() + _TRIES_S
    await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}")
    while True:
        began = time.monotonic()
        await connection.execute("SAVEPOINT quiet")
        try:
            await connection.execute(f"LOCK TABLE {listed} IN SHARE MODE")
        except asyncpg.LockNotAvailableError:
            await connection.execute("ROLLBACK TO SAVEPOINT quiet")
            if time.monotonic() > until:
                raise BackupError(
                    f"the backup is complete, but cannot be verified exactly: for {_TRIES_S:g} s some "
                    "transaction was always writing. Run `vigie backup` again at a quieter time"
                ) from None
            await asyncio.sleep(_RETRY_S)
            continue
        # The first statement that reads takes the snapshot.
        await connection.execute(f"SELECT pg_create_restore_point('{name}')")
        await connection.execute("ROLLBACK TO SAVEPOINT quiet")
        await connection.execute("SET LOCAL lock_timeout = 0")
        return time.monotonic() - began


async def _read_tables(
    connection: asyncpg.Connection, tables: list[str], report: ProgressSink
) -> TableFingerprints:
    found = {}
    for table in tables:
        began = time.monotonic()
        row = await connection.fetchrow(_FINGERPRINT.format(table))
        rows, checksum = row if row is not None else (0, "0")
        found[table] = (rows, checksum)
        if (took_s := time.monotonic() - began) > 1:
            report(f"checksum of {table}: {rows} rows in {took_s:.0f} s")
    return found
