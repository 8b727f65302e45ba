"""What is forgotten once it is old enough: deliveries with their attempts, groups, replays, former secrets.

Owns what is removed, and in how large pieces. Must not touch what may yet be sent: a pending delivery goes
only where its endpoint is disabled, and so does an event that waits in a group.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from app.platform.db.database import RawConnection
from app.platform.kernel.ids import first_id
from app.platform.observability.metrics_and_logs import DELIVERIES_EXPIRED, GROUPED_EXPIRED, get_logger

MOST_ATTEMPTS: Final = 200
"""The newest of a delivery are kept: who sends it again and again must not fill the database."""

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
# What is left of a group goes once it is empty; who sends groups forgets only those that were closed.
_GROUPED: Final = """
WITH old AS MATERIALIZED (
    SELECT waits.group_id, waits.alert_id
    FROM group_events AS waits JOIN delivery_groups AS waiting ON waiting.id = waits.group_id
    JOIN webhook_endpoints AS endpoint ON endpoint.id = waiting.endpoint_id
    WHERE NOT endpoint.enabled AND waits.created_at < $1
    LIMIT $2
    FOR UPDATE OF waits SKIP LOCKED
)
DELETE FROM group_events AS waits USING old
WHERE waits.group_id = old.group_id AND waits.alert_id = old.alert_id
RETURNING 1
"""
_GROUPS: Final = """
DELETE FROM delivery_groups WHERE id IN (
    SELECT waiting.id
    FROM delivery_groups AS waiting JOIN webhook_endpoints AS endpoint ON endpoint.id = waiting.endpoint_id
    WHERE NOT endpoint.enabled AND waiting.created_at < $1 AND coalesce(waiting.idle_until, $1) <= now()
        AND NOT EXISTS (SELECT FROM group_events WHERE group_id = waiting.id)
    FOR UPDATE OF waiting SKIP LOCKED
    FOR KEY SHARE OF endpoint SKIP LOCKED
)
"""
# Their numbers have no gaps. Only what was tried lately can have become too many; an index leads to that.
_ATTEMPTS: Final = """
WITH long AS MATERIALIZED (
    SELECT DISTINCT made.delivery_id
    FROM webhook_endpoints AS endpoint JOIN delivery_attempts AS made ON made.endpoint_id = endpoint.id
    WHERE made.started_at > now() - interval '1 hour' AND made.number > $1
), kept AS (
    SELECT delivery_id, (
        SELECT max(number) FROM delivery_attempts AS made WHERE made.delivery_id = long.delivery_id
    ) - $1 AS before
    FROM long
)
DELETE FROM delivery_attempts AS made USING kept
WHERE made.delivery_id = kept.delivery_id AND made.number <= kept.before
"""
_REPLAYS: Final = "DELETE FROM delivery_replays WHERE id < $1 AND state <> 'running' AND finished_at < $2"

# The order of those that are left is kept: the newest first.
_FORMER: Final = """
UPDATE webhook_endpoints SET former_secrets = (
    SELECT coalesce(jsonb_agg(former ORDER BY place), '[]')
    FROM jsonb_array_elements(former_secrets) WITH ORDINALITY AS kept(former, place)
    WHERE (former ->> 'expires_at')::timestamptz > now()
)
WHERE id IN (
    SELECT id FROM webhook_endpoints
    WHERE former_secrets <> '[]' AND EXISTS (
        SELECT FROM jsonb_array_elements(former_secrets) AS former
        WHERE (former ->> 'expires_at')::timestamptz <= now()
    )
    ORDER BY id LIMIT 1000
    FOR NO KEY UPDATE SKIP LOCKED
)
"""


class RemovedDeliveries(NamedTuple):
    """How many deliveries were removed; `pending` of them were yet to be sent."""

    deliveries: int
    pending: int


async def delete_old_deliveries(
    connection: RawConnection, *, keep_days: int, slice_: int = _AT_ONCE
) -> RemovedDeliveries:
    """Remove deliveries that are older, with their attempts, and replays that ended as long ago.

    Of a delivery that stays the newest `MOST_ATTEMPTS` attempts are kept.

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
    await _forget_groups(connection, cutoff, slice_)
    await connection.execute(_ATTEMPTS, MOST_ATTEMPTS)
    await connection.execute(_REPLAYS, before, cutoff)
    if pending:
        DELIVERIES_EXPIRED.inc(pending)
        _log.warning("pending_deliveries_expired", deliveries=pending, keep_days=keep_days)
    if total:
        _log.info("deliveries_removed", deliveries=total)
    return RemovedDeliveries(total, pending)


async def _forget_groups(connection: RawConnection, cutoff: datetime, slice_: int) -> None:
    """Remove what has waited as long in groups of disabled endpoints, and groups that are empty then."""
    total = 0
    while True:
        removed = await connection.fetch(_GROUPED, cutoff, slice_)
        total += len(removed)
        if len(removed) < slice_:
            break
    await connection.execute(_GROUPS, cutoff)
    if total:
        GROUPED_EXPIRED.inc(total)
        _log.warning("grouped_events_expired", alerts=total)


async def delete_expired_secrets(connection: RawConnection) -> None:
    """Forget secrets that sign no more; who changes an endpoint now is not waited for."""
    await connection.execute(_FORMER)
