"""Notifies the platform's operators of dropped MQTT messages, and deletes old outbox entries.

Only endpoints of the platform's own organisation get these events.
"""

from datetime import datetime
from typing import Final

import msgspec

from app.notifications.events.event_types import MESSAGES_DROPPED
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.platform.broker.broker_counters import AnnouncedDrops
from app.platform.db.database import RawConnection, parse_row_count
from app.platform.kernel.ids import new_id
from app.registry.cross_tenant_repository import find_platform_organisation

# The newest one of each broker stays in the outbox (see `prune_outbox`), as the last reported state.
_SLICE: Final = 5000
_LAST = """
SELECT payload::text FROM outbox WHERE type = $1 AND payload ->> 'edge' IS NOT DISTINCT FROM $2
ORDER BY position DESC LIMIT 1
"""
# Only the oldest rows are read: events are fanned out roughly in the order in which they were written.
_PRUNE = """
WITH oldest AS MATERIALIZED (
    SELECT position, organisation_id, type, fanned_out_at, stream_position, payload ->> 'edge' AS edge
    FROM outbox ORDER BY position LIMIT $3
)
DELETE FROM outbox USING oldest
WHERE outbox.position = oldest.position AND oldest.fanned_out_at < now() - make_interval(days => $2)
    AND (oldest.type <> $1 OR EXISTS (
        SELECT FROM outbox AS newer
        WHERE newer.organisation_id = oldest.organisation_id
            AND newer.stream_position > oldest.stream_position AND newer.type = $1
            AND newer.payload ->> 'edge' IS NOT DISTINCT FROM oldest.edge
    ))
"""


class _Data(msgspec.Struct):
    total: int
    broker_started_at: datetime


async def notify_dropped_messages(
    connection: RawConnection,
    *,
    dropped: int,
    total: int,
    started_at: datetime,
    now: datetime,
    edge: str | None = None,
) -> bool:
    """Notify the platform's endpoints of dropped messages, and wake the dispatcher.

    Args:
        connection: Outside a transaction.
        dropped: Messages dropped since the last event.
        total: Messages dropped since the broker's start.
        started_at: When the broker started, within about ten seconds.
        now: The time, aware.
        edge: The edge whose broker dropped them; None in an installation with one broker.

    Returns:
        False if there is no platform organisation yet (the API creates it at its first start).
    """
    owner = await find_platform_organisation(connection)
    if owner is None:
        return False
    payload = {
        "organisation_id": owner,
        "dropped": dropped,
        "total": total,
        "broker_started_at": started_at,
        "edge": edge,
    }
    await enqueue_events(connection, [OutboxRecord(new_id(), owner, None, MESSAGES_DROPPED, payload, now)])
    await wake_dispatcher(connection)
    return True


async def read_last_dropped(connection: RawConnection, edge: str | None = None) -> AnnouncedDrops | None:
    """Read the last event about messages that the broker of an edge dropped; None if there is none."""
    payload = await connection.fetchval(_LAST, MESSAGES_DROPPED, edge)
    if payload is None:
        return None
    data = msgspec.json.decode(payload, type=_Data)
    return AnnouncedDrops(data.total, data.broker_started_at)


async def prune_outbox(connection: RawConnection, *, keep_days: int) -> None:
    """Delete events that were fanned out long ago, except the newest one about dropped messages.

    Args:
        connection: Outside a transaction.
        keep_days: The retention, in days: as long, streams can resume from an event.
    """
    removed = 1
    while removed:
        tag = await connection.execute(_PRUNE, MESSAGES_DROPPED, keep_days, _SLICE)
        removed = parse_row_count(tag)
