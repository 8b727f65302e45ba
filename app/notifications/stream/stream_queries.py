"""Reads pages of an organisation's events from the outbox, and finds organisations with new events.

Only one fan-out at a time assigns positions, so they are committed in order: a reader that has read up to a
position has missed no event before it.
"""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from app.platform.db.database import RawConnection

PAGE: Final = 200
"""The most events of a page, which bounds the memory of a slow reader."""

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
    """An event with its position. `payload` is JSON text; `fanned_out_at` is when it got the position."""

    position: int
    id: UUID
    site_id: UUID | None
    type: str
    payload: str
    created_at: datetime
    fanned_out_at: datetime


class StreamPage(NamedTuple):
    """A page of events, in order.

    Attributes:
        at: The database's time of the query: later events got their positions after it.
        newest: The newest visible position of any organisation's event; 0 if there is none.
        events: At most `PAGE` events.
    """

    at: datetime
    newest: int
    events: list[StreamedEvent]

    @property
    def full(self) -> bool:
        """Whether there may be more events."""
        return len(self.events) == PAGE


class StreamHead(NamedTuple):
    """The head of the stream of all organisations.

    Attributes:
        at: The database's time.
        position: The newest visible position of any organisation's event; 0 if none is stored.
        given: The highest position that was ever assigned; it may not be committed yet.
    """

    at: datetime
    position: int
    given: int


async def read_event_page(connection: RawConnection, organisation: UUID, after: int) -> StreamPage:
    """Read at most `PAGE` events of an organisation after a position."""
    rows = await connection.fetch(_PAGE, organisation, after, PAGE)
    events = [StreamedEvent(*row[2:]) for row in rows if row["stream_position"] is not None]
    return StreamPage(rows[0]["at"], rows[0]["newest"] or 0, events)


async def read_stream_head(connection: RawConnection) -> StreamHead:
    """Read the head of the stream."""
    row = await connection.fetchrow(_NEWEST)
    if row is None:
        raise RuntimeError("a SELECT without FROM gave no row")
    return StreamHead(row["at"], row["newest"] or 0, row["given"])


async def read_oldest_time(connection: RawConnection, organisation: UUID, after: int) -> datetime | None:
    """Read the time of an organisation's first event after a position; None if none is stored."""
    happened: datetime | None = await connection.fetchval(_OLDEST, organisation, after)
    return happened


async def read_updated_organisations(connection: RawConnection, after: int) -> dict[UUID, int]:
    """Find the organisations with events after a position, and their newest positions."""
    rows = await connection.fetch(_NEWS, after)
    return {row["organisation_id"]: row["newest"] for row in rows}
