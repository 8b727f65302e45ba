"""What streams read from the outbox: pages of an organisation's events, and who has something new.

Owns the SQL. The fan-out gives positions one at a time, and its commits come in their order: whoever has read
up to a position has missed nothing before it. Must not write.
"""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from app.platform.db.database import RawConnection

PAGE: Final = 200
"""Events read at once: what a slow reader has in memory here, at the most."""

_PAGE = """
SELECT snapshot.at, snapshot.newest, page.* FROM (
    SELECT now() AS at,
        (SELECT max(stream_position) FROM outbox WHERE stream_position IS NOT NULL) AS newest
) AS snapshot LEFT JOIN LATERAL (
    SELECT stream_position, id, site_id, type, payload::text AS payload, created_at, fanned_out_at
    FROM outbox WHERE organisation_id = $1 AND stream_position > $2
    ORDER BY stream_position LIMIT $3
) AS page ON true
ORDER BY page.stream_position
"""
_NEWEST = """
SELECT now() AS at,
    (SELECT max(stream_position) FROM outbox WHERE stream_position IS NOT NULL) AS newest,
    coalesce(pg_sequence_last_value('outbox_stream'), 0) AS given
"""
_OLDEST = """
SELECT created_at FROM outbox WHERE organisation_id = $1 AND stream_position > $2
ORDER BY stream_position LIMIT 1
"""
_NEWS = """
SELECT organisation_id, max(stream_position) AS newest FROM outbox
WHERE stream_position > $1 GROUP BY organisation_id
"""


class StreamedEvent(NamedTuple):
    """An event in its place. `payload` is JSON text, `fanned_out_at` when it got its place."""

    position: int
    id: UUID
    site_id: UUID | None
    type: str
    payload: str
    created_at: datetime
    fanned_out_at: datetime


class StreamPage(NamedTuple):
    """Events in their order.

    Attributes:
        at: The database's time: what the page would hold but does not has been placed since then.
        newest: The position of the newest event that could be read then, whoever's it is; 0 for none.
        events: At most `PAGE`.
    """

    at: datetime
    newest: int
    events: list[StreamedEvent]

    @property
    def full(self) -> bool:
        """Whether there may be more."""
        return len(self.events) == PAGE


class StreamHead(NamedTuple):
    """How far all streams are.

    Attributes:
        at: The database's time.
        position: Of the newest event that can be read, whoever's it is; 0 where none is kept.
        given: The highest position that was ever given; it may not be committed yet.
    """

    at: datetime
    position: int
    given: int


async def read_event_page(connection: RawConnection, organisation: UUID, after: int) -> StreamPage:
    """Read the next `PAGE` events of an organisation, at most, after a position."""
    rows = await connection.fetch(_PAGE, organisation, after, PAGE)
    events = [StreamedEvent(*row[2:]) for row in rows if row["stream_position"] is not None]
    return StreamPage(rows[0]["at"], rows[0]["newest"] or 0, events)


async def read_stream_head(connection: RawConnection) -> StreamHead:
    """Tell how far all streams are now."""
    row = await connection.fetchrow(_NEWEST)
    if row is None:
        raise RuntimeError("a SELECT without FROM gave no row")
    return StreamHead(row["at"], row["newest"] or 0, row["given"])


async def read_oldest_time(connection: RawConnection, organisation: UUID, after: int) -> datetime | None:
    """When the first event of an organisation after a position happened; None where none is kept."""
    happened: datetime | None = await connection.fetchval(_OLDEST, organisation, after)
    return happened


async def read_updated_organisations(connection: RawConnection, after: int) -> dict[UUID, int]:
    """The organisations that have events after a position, with the newest one's."""
    rows = await connection.fetch(_NEWS, after)
    return {row["organisation_id"]: row["newest"] for row in rows}
