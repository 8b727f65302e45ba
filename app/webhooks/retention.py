"""What is forgotten of deliveries once it is old enough: they and their attempts, and replays.

Owns what is removed, and in how large pieces. Must not touch what may yet be sent: a pending delivery goes
only where its endpoint is disabled.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from app.core.database import RawConnection
from app.core.ids import first_id
from app.core.observability import DELIVERIES_EXPIRED, get_logger

_log = get_logger(__name__)
_AT_ONCE: Final = 2000
_FIRST: Final = UUID(int=0)

# In the order of ids, so that a slice begins where the one before it ended, whatever was left standing. An id
# is made with its delivery, which is not before the event.
_REMOVE: Final = """
WITH old AS MATERIALIZED (
    SELECT delivery.id, delivery.state = 'pending' AS pending
    FROM deliveries AS delivery JOIN webhook_endpoints AS endpoint ON endpoint.id = delivery.endpoint_id
    WHERE delivery.id > $1 AND delivery.id < $2 AND delivery.created_at < $3
        AND (delivery.state <> 'pending' OR NOT endpoint.enabled)
    ORDER BY delivery.id LIMIT $4
    FOR UPDATE OF delivery SKIP LOCKED
), removed AS (
    DELETE FROM deliveries AS delivery USING old WHERE delivery.id = old.id
    RETURNING old.id, old.pending
)
SELECT id, pending FROM removed ORDER BY id
"""
_REPLAYS: Final = "DELETE FROM delivery_replays WHERE id < $1 AND state <> 'running' AND finished_at < $2"


class Removed(NamedTuple):
    """How many deliveries were removed; `pending` of them were yet to be sent."""

    deliveries: int
    pending: int


async def forget(connection: RawConnection, *, keep_days: int, slice_: int = _AT_ONCE) -> Removed:
    """Remove deliveries that are older, with their attempts, and replays that ended as long ago.

    Args:
        connection: Outside a transaction: each slice is a transaction of its own.
        keep_days: How long they are kept.
        slice_: The most deliveries of one transaction.
    """
    # By the database's clock, as their times are.
    now: datetime = await connection.fetchval("SELECT now()")
    cutoff = now.astimezone(UTC) - timedelta(days=keep_days)
    before = first_id(cutoff)
    total = pending = 0
    last = _FIRST
    while True:
        removed = await connection.fetch(_REMOVE, last, before, cutoff, slice_)
        total += len(removed)
        pending += sum(row["pending"] for row in removed)
        if len(removed) < slice_:
            break
        last = removed[-1]["id"]
    await connection.execute(_REPLAYS, before, cutoff)
    if pending:
        DELIVERIES_EXPIRED.inc(pending)
        _log.warning("pending_deliveries_expired", deliveries=pending, keep_days=keep_days)
    if total:
        _log.info("deliveries_removed", deliveries=total)
    return Removed(total, pending)
