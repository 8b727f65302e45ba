"""Writes events to the transactional outbox, and wakes the dispatcher and the event streams.

An event exists if and only if the change that it describes was committed. The fan-out decides who gets it.
NOTIFY must not be sent inside the caller's transaction: it takes a lock on the whole server at commit.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import insert, text
from sqlalchemy.exc import SQLAlchemyError

from app.notifications.delivery.models import OutboxEntry
from app.notifications.events.event_enrichment import OutboxRecord, add_event_details
from app.notifications.events.event_traces import trace_event
from app.platform.db.database import Database, RawConnection, WriteSession, get_driver_connection
from app.platform.observability.metrics_and_logs import get_logger

__all__ = (
    "CHANNEL",
    "STREAM_CHANNEL",
    "OutboxRecord",
    "enqueue_events",
    "enqueue_session_events",
    "wake_dispatcher",
    "wake_dispatcher_after",
    "wake_streams",
)

CHANNEL = "vigie_outbox"
"""The LISTEN/NOTIFY channel that wakes the dispatcher."""

STREAM_CHANNEL = "vigie_stream"
"""The LISTEN/NOTIFY channel that wakes streams: events have got their positions."""

_log = get_logger(__name__)
_ENQUEUE = """
INSERT INTO outbox (id, organisation_id, site_id, type, payload, created_at, traceparent)
SELECT id, organisation_id, site_id, type, payload::jsonb, created_at, traceparent
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::text[])
    WITH ORDINALITY AS given (id, organisation_id, site_id, type, payload, created_at, traceparent, place)
ORDER BY place
"""


async def enqueue_events(connection: RawConnection, records: Sequence[OutboxRecord]) -> None:
    """Write events in the caller's transaction, in the given order, in one statement.

    Events of alerts and incidents get names, the unit and the sentence (`event_details`). After the commit
    the caller should call `wake_dispatcher`; otherwise the dispatcher finds the events at its next poll.
    """
    if not records:
        return
    records = await add_event_details(connection, records)
    await connection.execute(
        _ENQUEUE,
        [record.id for record in records],
        [record.organisation_id for record in records],
        [record.site_id for record in records],
        [record.type for record in records],
        # As text that the server casts: independent of the connection's JSON codec.
        [msgspec.json.encode(record.payload).decode() for record in records],
        [record.created_at for record in records],
        [trace_event(record) for record in records],
    )


async def enqueue_session_events(session: WriteSession, records: Sequence[OutboxRecord]) -> None:
    """Write events in a session's transaction, in the given order, like `enqueue_events`."""
    if not records:
        return
    records = await add_event_details(await get_driver_connection(session), records)
    rows = [
        # UUIDs and datetimes become text here: SQLAlchemy's own JSON serializer refuses them.
        {
            **record._asdict(),
            "payload": msgspec.to_builtins(record.payload),
            "traceparent": trace_event(record),
        }
        for record in records
    ]
    await session.execute(insert(OutboxEntry), rows)


async def wake_dispatcher(connection: RawConnection) -> None:
    """Wake the dispatcher after the commit of events, in a separate transaction.

    Raises:
        RuntimeError: The connection is inside a transaction, which would hold the lock until its commit.
    """
    if connection.is_in_transaction():
        raise RuntimeError("wake() belongs after the commit, not inside the transaction")
    await connection.execute(f"NOTIFY {CHANNEL}")


async def wake_streams(connection: RawConnection) -> None:
    """Wake the event streams after the fan-out's commit, in a separate transaction.

    Raises:
        RuntimeError: The connection is inside a transaction.
    """
    if connection.is_in_transaction():
        raise RuntimeError("wake_streams() belongs after the commit, not inside the transaction")
    await connection.execute(f"NOTIFY {STREAM_CHANNEL}")


async def wake_dispatcher_after(database: Database) -> None:
    """Wake the dispatcher after a session's commit.

    Never fails: the dispatcher finds committed events at its next poll too.
    """
    try:
        async with database.write() as session:
            await session.execute(text(f"NOTIFY {CHANNEL}"))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        _log.warning("wake_failed", error=str(error))
