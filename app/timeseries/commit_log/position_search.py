"""Finds positions in the log of committed measurements, of one organisation: the newest, by time, or one.

Row-level security alone would let a query pass the rows of all other organisations. So each look-up is by the
index of organisations, whose order it asks for: with `=` and the order of positions, a prepared statement's
plan can use the index of positions.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from app.platform.db.database import RawConnection

NEWEST_SQL: Final = """
SELECT stream_position FROM measurement_commits
WHERE organisation_id BETWEEN {organisation} AND {organisation} AND stream_position IS NOT NULL
ORDER BY organisation_id DESC, stream_position DESC LIMIT 1
"""
"""SQL: the newest position of an organisation."""

_NEWEST: Final = NEWEST_SQL.format(organisation="$1")
_NEXT: Final = """
SELECT stream_position, positioned_at FROM measurement_commits
WHERE (organisation_id, stream_position) >= ($1, $2) AND organisation_id <= $1 AND stream_position IS NOT NULL
ORDER BY organisation_id, stream_position LIMIT 1
"""
_STORED: Final = """
SELECT EXISTS (SELECT FROM measurement_commits WHERE organisation_id = $1 AND stream_position = $2)
"""


async def is_position_stored(connection: RawConnection, organisation: UUID, position: int) -> bool:
    """Check whether the row of an organisation with a position is still stored."""
    return bool(await connection.fetchval(_STORED, organisation, position))


async def find_newest_position(connection: RawConnection, organisation: UUID) -> int:
    """Find the newest position of an organisation; 0 if none is stored."""
    newest: int | None = await connection.fetchval(_NEWEST, organisation)
    return newest or 0


async def find_position_before(connection: RawConnection, organisation: UUID, at: datetime) -> int:
    """Find the newest position of an organisation that was assigned before a time; 0 if none is stored.

    Positions are assigned in order, so a binary search takes at most some fifty look-ups of one row.
    """
    oldest = await connection.fetchrow(_NEXT, organisation, 0)
    if oldest is None or oldest["positioned_at"] >= at:
        return 0
    before: int = oldest["stream_position"]
    last = await find_newest_position(connection, organisation)
    # Rows up to `before` are older than the time; those after `last` do not exist.
    while before < last:
        middle = (before + last + 1) // 2
        row = await connection.fetchrow(_NEXT, organisation, middle)
        if row is not None and row["positioned_at"] < at:
            before = row["stream_position"]
        else:
            last = middle - 1
    return before
