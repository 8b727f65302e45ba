"""Reads the audit logs that organisations brought from former installations."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from app.audit.hash_chain import ChainEntry, ChainHead
from app.audit.log_export import format_end_line, format_entry_line
from app.tenant_transfer.archive_manifest import ArchiveError

_LOGS: Final = """
SELECT log, max(position) AS position FROM imported_audit_entries WHERE organisation_id = $1
GROUP BY log ORDER BY log
"""
_ENTRIES: Final = """
SELECT source_organisation_id, position, record, previous, hash FROM imported_audit_entries
WHERE organisation_id = $1 AND log = $2 ORDER BY position
"""
_PREFETCH: Final = 1000


class FormerLog(NamedTuple):
    """An imported log: its number, from 1 for the oldest, and the position of its last entry."""

    number: int
    last: int


async def list_former_logs(connection: asyncpg.Connection, organisation_id: UUID) -> list[FormerLog]:
    """List the imported logs of an organisation, the oldest first."""
    return [FormerLog(*row) for row in await connection.fetch(_LOGS, organisation_id)]


async def read_former_entries(
    connection: asyncpg.Connection, organisation_id: UUID, log: int
) -> AsyncIterator[ChainEntry]:
    """Read the entries of a log, in the order of their positions, in a transaction."""
    async for row in connection.cursor(_ENTRIES, organisation_id, log, prefetch=_PREFETCH):
        yield ChainEntry(*row)


async def write_former_log(connection: asyncpg.Connection, organisation_id: UUID, log: int, out: Path) -> int:
    """Write a log as a file that `vigie audit verify --export` reads; returns the number of entries.

    Raises:
        ArchiveError: There is no such log.
        OSError: The file cannot be written.
    """
    entries = 0
    entry: ChainEntry | None = None
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL vigie.reach = 'all'")
        if log not in {former.number for former in await list_former_logs(connection, organisation_id)}:
            raise ArchiveError(
                f"organisation {organisation_id} brought no log {log} from a former installation"
            )
        # Entries name people.
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            async for entry in read_former_entries(connection, organisation_id, log):
                file.write(format_entry_line(entry))
                entries += 1
            if entry is not None:
                head = ChainHead(entry.organisation_id, entry.position, entry.hash)
                file.write(format_end_line(head, entries))
    return entries
