"""What the platform tells its own operators, by the outbox like everything else.

Owns the events of the platform's own organisation: its endpoints alone receive them. Must not decide when
there is something to tell.
"""

from datetime import datetime
from typing import Final

import msgspec

from app.notifications.events.event_types import MESSAGES_DROPPED
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.platform.broker.sys_metrics import AnnouncedDrops
from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id

_OWNER = "SELECT id FROM organisations WHERE platform"
# The newest stays in the outbox (see `prune_outbox`): it says what was told before.
_AT_ONCE: Final = 5000
_LAST = "SELECT payload::text FROM outbox WHERE type = $1 ORDER BY position DESC LIMIT 1"
# The oldest are looked at, not all: events are fanned out in about the order in which they were written.
_PRUNE = """
WITH oldest AS MATERIALIZED (
    SELECT position, organisation_id, type, fanned_out_at, stream_position
    FROM outbox ORDER BY position LIMIT $3
)
DELETE FROM outbox USING oldest
WHERE outbox.position = oldest.position AND oldest.fanned_out_at < now() - make_interval(days => $2)
    AND (oldest.type <> $1 OR EXISTS (
        SELECT FROM outbox AS newer
        WHERE newer.organisation_id = oldest.organisation_id
            AND newer.stream_position > oldest.stream_position AND newer.type = $1
    ))
"""


class _Data(msgspec.Struct):
    total: int
    broker_started_at: datetime


async def notify_dropped_messages(
    connection: RawConnection, *, dropped: int, total: int, started_at: datetime, now: datetime
) -> bool:
    """Tell the platform's endpoints, and wake the dispatcher.

    Args:
        connection: outside a transaction.
        dropped: how many messages are new since the last time.
        total: how many since the broker's start.
        started_at: when the broker started, to within some ten seconds.
        now: aware.

    Returns:
        False when there is no platform organisation yet (the API makes it at its first start).
    """
    owner = await connection.fetchval(_OWNER)
    if owner is None:
        return False
    payload = {
        "organisation_id": owner,
        "dropped": dropped,
        "total": total,
        "broker_started_at": started_at,
    }
    await enqueue_events(connection, [OutboxRecord(new_id(), owner, None, MESSAGES_DROPPED, payload, now)])
    await wake_dispatcher(connection)
    return True


async def read_last_dropped(connection: RawConnection) -> AnnouncedDrops | None:
    """Give what was last told; None when nothing ever was."""
    payload = await connection.fetchval(_LAST, MESSAGES_DROPPED)
    if payload is None:
        return None
    data = msgspec.json.decode(payload, type=_Data)
    return AnnouncedDrops(data.total, data.broker_started_at)


async def prune_outbox(connection: RawConnection, *, keep_days: int) -> None:
    """Remove events that were fanned out so long ago, but for the newest of the platform's own.

    Args:
        connection: Outside a transaction.
        keep_days: For how long streams can be resumed from them.
    """
    removed = 1
    while removed:
        tag = await connection.execute(_PRUNE, MESSAGES_DROPPED, keep_days, _AT_ONCE)
        removed = int(tag.rpartition(" ")[2])
