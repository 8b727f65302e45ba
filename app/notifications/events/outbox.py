"""The outbox: what happened, written in the transaction in which it happened.

Owns the one way into delivery. An event exists if and only if the change that caused it was committed. Must
not decide who receives it (the fan-out does), and must not notify anybody from inside the caller's
transaction: NOTIFY takes a lock over the whole server at commit.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import insert, text
from sqlalchemy.exc import SQLAlchemyError

from app.notifications.delivery.models import OutboxEntry
from app.notifications.events.event_details import OutboxRecord, add_event_details
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
"""The LISTEN/NOTIFY channel that wakes streams: events have got their places."""

_log = get_logger(__name__)
_ENQUEUE = """
INSERT INTO outbox (id, organisation_id, site_id, type, payload, created_at)
SELECT id, organisation_id, site_id, type, payload::jsonb, created_at
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[]) WITH ORDINALITY
    AS given (id, organisation_id, site_id, type, payload, created_at, place)
ORDER BY place
"""


async def enqueue_events(connection: RawConnection, records: Sequence[OutboxRecord]) -> None:
    """Write events in the caller's transaction, in the order given, in one statement.

    Those of alerts and incidents get the names, the unit and the sentence that people read.
    After the commit the caller should `wake_dispatcher` the dispatcher; its poll finds them otherwise.
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
        # As text, cast by the server: whatever JSON codec the connection has does not matter.
        [msgspec.json.encode(record.payload).decode() for record in records],
        [record.created_at for record in records],
    )


async def enqueue_session_events(session: WriteSession, records: Sequence[OutboxRecord]) -> None:
    """Write events in the transaction of a session, in the order given; described as by `enqueue_events`."""
    if not records:
        return
    records = await add_event_details(await get_driver_connection(session), records)
    rows = [
        # UUIDs and datetimes become text here: SQLAlchemy's own JSON serializer refuses them.
        {**record._asdict(), "payload": msgspec.to_builtins(record.payload)}
        for record in records
    ]
    await session.execute(insert(OutboxEntry), rows)


async def wake_dispatcher(connection: RawConnection) -> None:
    """Wake the dispatcher, in a transaction of its own, after the events' commit.

    Raises:
        RuntimeError: The connection is inside a transaction: the lock would be held until its commit.
    """
    if connection.is_in_transaction():
        raise RuntimeError("wake() belongs after the commit, not inside the transaction")
    await connection.execute(f"NOTIFY {CHANNEL}")


async def wake_streams(connection: RawConnection) -> None:
    """Wake whoever streams events, in a transaction of its own, after the fan-out's commit.

    Raises:
        RuntimeError: The connection is inside a transaction.
    """
    if connection.is_in_transaction():
        raise RuntimeError("wake_streams() belongs after the commit, not inside the transaction")
    await connection.execute(f"NOTIFY {STREAM_CHANNEL}")


async def wake_dispatcher_after(database: Database) -> None:
    """Wake the dispatcher after a committed session's block.

    Never fails: what was committed stands, and the dispatcher's poll finds it without being woken.
    """
    try:
        async with database.write() as session:
            await session.execute(text(f"NOTIFY {CHANNEL}"))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        _log.warning("wake_failed", error=str(error))
