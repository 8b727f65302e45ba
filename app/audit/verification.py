"""Verifies the audit log's hash chains in the database, in constant memory, and logs their heads.

`app.audit.hash_chain` evaluates the entries that are read here. The database login of the settings must see
all organisations.

A log that was rewritten as a whole is consistent: only a head that was saved elsewhere reveals it. So the
heads are written to the program's log. `vigie audit verify --heads` reads that log as it is.
"""

from collections.abc import AsyncIterator, Callable
from typing import Final
from uuid import UUID

import asyncpg

from app.audit.hash_chain import ChainEntry, ChainFinding, ChainHead, ChainVerifier, RecordColumns
from app.platform.observability.metrics_and_logs import get_logger

_PREFETCH: Final = 1000
PROGRESS_EVERY: Final = 100_000
"""Entries between two calls of `progress`."""

# In the order of the primary key: any other order would need a sort of the whole log before the first row.
_ENTRIES: Final = """
SELECT organisation_id, position, record, previous, hash, at, actor_id, action, subject_kind, subject_ids
FROM audit_log WHERE $1::uuid IS NULL OR organisation_id = $1 ORDER BY organisation_id, position
"""
_HEADS: Final = """
SELECT organisation_id, position, hash FROM audit_heads
WHERE $1::uuid IS NULL OR organisation_id = $1 ORDER BY organisation_id
"""
# Entries stay here until their transaction commits. Committed ones were never linked into the chain.
_UNLINKED: Final = """
SELECT organisation_id, count(*) FROM audit_pending
WHERE $1::uuid IS NULL OR organisation_id = $1 GROUP BY organisation_id ORDER BY organisation_id
"""


async def read_heads(connection: asyncpg.Connection, organisation: UUID | None) -> list[ChainHead]:
    """Read the heads that the database stores: of one organisation, or (None) of all."""
    return [ChainHead(*row) for row in await connection.fetch(_HEADS, organisation)]


async def read_entries(
    connection: asyncpg.Connection, organisation: UUID | None
) -> AsyncIterator[ChainEntry]:
    """Read all entries, organisation by organisation, in the order of their positions."""
    async for row in connection.cursor(_ENTRIES, organisation, prefetch=_PREFETCH):
        identity = (row["organisation_id"], row["position"], row["record"], row["previous"], row["hash"])
        copies = RecordColumns(*(row[name] for name in RecordColumns._fields))
        yield ChainEntry(*identity, copies)


async def verify_log(
    connection: asyncpg.Connection,
    verifier: ChainVerifier,
    organisation: UUID | None,
    progress: Callable[[int], None],
) -> AsyncIterator[ChainFinding]:
    """Verify the log.

    Args:
        connection: in a transaction with one `snapshot`.
        verifier: a new verifier; afterwards it has the number of entries.
        organisation: verifies the log of this organisation only; None: all logs.
        progress: called every `PROGRESS_EVERY` entries with the number of verified entries.
    """
    async for entry in read_entries(connection, organisation):
        for finding in verifier.check_entry(entry):
            yield finding
        if verifier.entries % PROGRESS_EVERY == 0:
            progress(verifier.entries)
    for finding in verifier.check_end(await read_heads(connection, organisation)):
        yield finding
    for owner, count in await connection.fetch(_UNLINKED, organisation):
        detail = f"{count} entries were written but never linked: triggers were disabled"
        yield ChainFinding(owner, 0, "unlinked", detail)


_log = get_logger(__name__)


class HeadLogger:
    """Logs each head once, and again after it has changed."""

    def __init__(self) -> None:
        self._logged: dict[UUID, int] = {}

    async def log_changed(self, connection: asyncpg.Connection) -> None:
        """Log the heads that have changed since the last call."""
        rows = await connection.fetch(
            "SELECT organisation_id, position, hash FROM audit_heads ORDER BY organisation_id"
        )
        for owner, position, digest in rows:
            if self._logged.get(owner) != position:
                _log.info("audit_head", organisation_id=str(owner), position=position, hash=digest.hex())
                self._logged[owner] = position
