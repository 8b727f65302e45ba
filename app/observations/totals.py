"""Counts what came in, in the transaction that stores it, so that the counts are as true as the rows."""

from datetime import datetime
from typing import NamedTuple

from app.core.database import RawConnection


class Totals(NamedTuple):
    """What became of the samples of a batch; the first four add up to what was sent."""

    stored: int = 0
    duplicate: int = 0
    conflict: int = 0
    rejected: int = 0
    late: int = 0


async def add_totals(connection: RawConnection, totals: Totals, *, door: str, now: datetime) -> None:
    """Add a batch to the totals of its day (UTC), in the caller's transaction."""
    if any(totals):
        await connection.execute(
            """
            INSERT INTO ingest_totals AS t (day, door, backend, stored, duplicate, conflict, rejected, late)
            VALUES ($1, $2, pg_backend_pid(), $3, $4, $5, $6, $7)
            ON CONFLICT (day, door, backend) DO UPDATE SET
                stored = t.stored + excluded.stored,
                duplicate = t.duplicate + excluded.duplicate,
                conflict = t.conflict + excluded.conflict,
                rejected = t.rejected + excluded.rejected,
                late = t.late + excluded.late
            """,
            now.date(),
            door,
            *totals,
        )
