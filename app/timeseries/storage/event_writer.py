"""Stores events that boxes recognised, without duplicates. An event's identity is (box, time, type)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id

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
    spectrum: Mapping[str, float] | None = None
    counted: int | None = None
    state: str | None = None


class StoredEvent(NamedTuple):
    """A new event: its index among the given rows, whether a newer one was stored before, and its id."""

    place: int
    late: bool
    id: UUID


async def store_events(
    connection: RawConnection, rows: Sequence[EventRow], *, now: datetime
) -> list[StoredEvent]:
    """Store events in the caller's transaction.

    Returns:
        The new ones, in their order; the others are duplicates of a stored identity.
    """
    if not rows:
        return []
    stored = await connection.fetch(
        """
        WITH given AS (
            SELECT *, row_number() OVER (PARTITION BY box_key, time_us, type ORDER BY ord) AS nth,
                   coalesce(time_us <= max(time_us) OVER (
                       PARTITION BY box_key, type ORDER BY ord
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false)
                   OR EXISTS (
                       SELECT FROM events e WHERE e.box_key = g.box_key AND e.type = g.type
                           AND e.time > 'epoch'::timestamptz + g.time_us * interval '1 microsecond'
                   ) AS late
            FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::bigint[], $5::text[], $6::bigint[], $7::text[],
                        $8::float8[], $9::float8[], $11::text[], $12::int[], $13::text[]) WITH ORDINALITY
                 AS g (id, box_key, organisation_id, time_us, type, seq, candidates,
                       level_db, clock_error_ms, spectrum, count, state, ord)
        ), added AS (
            INSERT INTO events (id, box_key, organisation_id, time, type, seq, candidates, level_db,
                                clock_error_ms, received_at, late, spectrum, count, state)
            SELECT id, box_key, organisation_id, 'epoch'::timestamptz + time_us * interval '1 microsecond',
                   type, seq, candidates::jsonb, level_db, clock_error_ms, $10, late, spectrum::jsonb,
                   count, state
            FROM given WHERE nth = 1
            ON CONFLICT DO NOTHING
            RETURNING id
        )
        SELECT ord - 1 AS index, given.late, id FROM given JOIN added USING (id) ORDER BY ord
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
        [None if row.spectrum is None else _encode(row.spectrum).decode() for row in rows],
        [row.counted for row in rows],
        [row.state for row in rows],
    )
    return [StoredEvent(*row) for row in stored]
