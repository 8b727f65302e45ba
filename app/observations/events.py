"""Writes events: what boxes themselves recognised. (box, time, type) is an event's identity."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from app.core.database import RawConnection
from app.core.ids import new_id

_encode = msgspec.json.Encoder().encode


class EventRow(NamedTuple):
    """One event of a known box; `time_us` in µs since the epoch."""

    box_key: int
    organisation_id: UUID
    time_us: int
    type: str
    seq: int | None
    candidates: Sequence[Any]
    level_db: float | None
    clock_error_ms: float | None


async def store_events(connection: RawConnection, rows: Sequence[EventRow], *, now: datetime) -> list[int]:
    """Store events in the caller's transaction.

    Returns:
        The indexes of those that are new; the others repeat a stored identity.
    """
    if not rows:
        return []
    stored = await connection.fetch(
        """
        WITH given AS (
            SELECT *, row_number() OVER (PARTITION BY box_key, time_us, type ORDER BY ord) AS nth
            FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::bigint[], $5::text[], $6::bigint[], $7::text[],
                        $8::float8[], $9::float8[]) WITH ORDINALITY
                 AS g (id, box_key, organisation_id, time_us, type, seq, candidates,
                       level_db, clock_error_ms, ord)
        ), added AS (
            INSERT INTO events (id, box_key, organisation_id, time, type, seq, candidates, level_db,
                                clock_error_ms, received_at)
            SELECT id, box_key, organisation_id, 'epoch'::timestamptz + time_us * interval '1 microsecond',
                   type, seq, candidates::jsonb, level_db, clock_error_ms, $10
            FROM given WHERE nth = 1
            ON CONFLICT DO NOTHING
            RETURNING id
        )
        SELECT ord - 1 AS index FROM given JOIN added USING (id) ORDER BY ord
        """,
        [new_id() for _ in rows],
        [row.box_key for row in rows],
        [row.organisation_id for row in rows],
        [row.time_us for row in rows],
        [row.type for row in rows],
        [row.seq for row in rows],
        [_encode(row.candidates).decode() for row in rows],
        [row.level_db for row in rows],
        [row.clock_error_ms for row in rows],
        now,
    )
    return [index for (index,) in stored]
