"""What the platform tells its own operators, by the outbox like everything else.

Owns the events of the platform's own organisation: its endpoints alone receive them. Must not decide when
there is something to tell.
"""

from datetime import datetime

import msgspec

from app.core.broker_figures import Known
from app.core.database import RawConnection
from app.core.ids import new_id
from app.webhooks.event_types import MESSAGES_DROPPED
from app.webhooks.outbox import OutboxRecord, enqueue, wake

_OWNER = "SELECT id FROM organisations WHERE platform"
# The newest stays in the outbox (see `prune`): it says what was told before.
_LAST = "SELECT payload::text FROM outbox WHERE type = $1 ORDER BY position DESC LIMIT 1"
_PRUNE = """
DELETE FROM outbox WHERE fanned_out_at < now() - interval '1 day'
    AND position NOT IN (SELECT max(position) FROM outbox WHERE type = $1 HAVING max(position) IS NOT NULL)
"""


class _Data(msgspec.Struct):
    total: int
    broker_started_at: datetime


async def announce_dropped(
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
    await enqueue(connection, [OutboxRecord(new_id(), owner, None, MESSAGES_DROPPED, payload, now)])
    await wake(connection)
    return True


async def last_dropped(connection: RawConnection) -> Known | None:
    """Give what was last told; None when nothing ever was."""
    payload = await connection.fetchval(_LAST, MESSAGES_DROPPED)
    if payload is None:
        return None
    data = msgspec.json.decode(payload, type=_Data)
    return Known(data.total, data.broker_started_at)


async def prune(connection: RawConnection) -> None:
    """Remove events that were fanned out more than a day ago, but for the newest of the platform's own."""
    await connection.execute(_PRUNE, MESSAGES_DROPPED)
