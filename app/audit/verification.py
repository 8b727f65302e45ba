"""Verifies the log as it is in the database: in one snapshot, entry by entry, in constant memory.

Owns the reading; what is wrong is `app.audit.hash_chain`'s to say. Works past the API, under whichever login
the settings name, which has to see everything.

Writes the heads of the logs to the program's own log: where that is kept elsewhere, it is a witness.

A log that was rewritten as a whole fits together; only a head that was kept somewhere else shows it.
`vigie audit verify --heads` takes the program's log as it is.
"""

from collections.abc import AsyncIterator, Callable
from typing import Final
from uuid import UUID

import asyncpg

from app.audit.hash_chain import ChainEntry, ChainFinding, ChainHead, ChainVerifier, RecordColumns
from app.platform.observability.metrics_and_logs import get_logger

_PREFETCH: Final = 1000
PROGRESS_EVERY: Final = 100_000
"""Entries from one word of progress to the next."""

# In the order of the primary key: what is sorted would have to be read before the first of it is looked at.
_ENTRIES: Final = """
SELECT organisation_id, position, record, previous, hash, at, actor_id, action, subject_kind, subject_ids
FROM audit_log WHERE $1::uuid IS NULL OR organisation_id = $1 ORDER BY organisation_id, position
"""
_HEADS: Final = """
SELECT organisation_id, position, hash FROM audit_heads
WHERE $1::uuid IS NULL OR organisation_id = $1 ORDER BY organisation_id
"""
# Entries wait here until their transaction commits; what is seen of others' was never linked.
_UNLINKED: Final = """
SELECT organisation_id, count(*) FROM audit_pending
WHERE $1::uuid IS NULL OR organisation_id = $1 GROUP BY organisation_id ORDER BY organisation_id
"""


async def read_heads(connection: asyncpg.Connection, organisation: UUID | None) -> list[ChainHead]:
    """The heads that the database has: of one organisation, or (None) of all."""
    return [ChainHead(*row) for row in await connection.fetch(_HEADS, organisation)]


async def read_entries(
    connection: asyncpg.Connection, organisation: UUID | None
) -> AsyncIterator[ChainEntry]:
    """All entries, organisation by organisation, in the order of their positions."""
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
    """What is wrong with the log.

    Args:
        connection: a `snapshot`.
        verifier: a new one; it tells how many entries there were.
        organisation: this one's log alone; None: all.
        progress: told now and then how many entries were looked at.
    """
    async for entry in read_entries(connection, organisation):
        for finding in verifier.look(entry):
            yield finding
        if verifier.entries % PROGRESS_EVERY == 0:
            progress(verifier.entries)
    for finding in verifier.end(await read_heads(connection, organisation)):
        yield finding
    for whose, count in await connection.fetch(_UNLINKED, organisation):
        detail = f"{count} entries were written and never linked: triggers were off"
        yield ChainFinding(whose, 0, "unlinked", detail)


_log = get_logger(__name__)


class HeadLogger:
    """Tells each head once, and again when it has moved."""

    def __init__(self) -> None:
        self._told: dict[UUID, int] = {}

    async def tell(self, connection: asyncpg.Connection) -> None:
        """Write those that have moved since the last time."""
        rows = await connection.fetch(
            "SELECT organisation_id, position, hash FROM audit_heads ORDER BY organisation_id"
        )
        for whose, position, digest in rows:
            if self._told.get(whose) != position:
                _log.info("audit_head", organisation_id=str(whose), position=position, hash=digest.hex())
                self._told[whose] = position
