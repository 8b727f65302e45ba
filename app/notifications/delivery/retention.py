"""Deletes expired deliveries with their attempts, groups, replays and former secrets, in slices.

Pending deliveries and waiting events of groups are only deleted if their endpoint is disabled.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from app.notifications.prometheus_metrics import DELIVERIES_EXPIRED, GROUPED_EXPIRED
from app.platform.db.database import RawConnection
from app.platform.kernel.ids import first_id
from app.platform.observability.metrics_and_logs import get_logger

MOST_ATTEMPTS: Final = 200
"""The newest attempts of a delivery that are retained: repeated replays must not fill the database."""

_log = get_logger(__name__)
_SLICE: Final = 2000
_FIRST: Final = UUID(int=0)

# In id order: each slice begins where the previous one ended, whatever rows remain. An id is not older than
# its delivery's event.
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
# Empty groups are deleted here too; `waiting_groups` only deletes closed ones.
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
# Attempts are numbered without gaps. Only deliveries with recent attempts can exceed the limit; an index
# finds them.
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

# The remaining secrets stay in order: newest first.
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
    """Numbers of deleted deliveries, and of pending ones among them."""

    deliveries: int
    pending: int


async def delete_old_deliveries(
    connection: RawConnection, *, keep_days: int, slice_: int = _SLICE
) -> RemovedDeliveries:
    """Delete expired deliveries with their attempts, and replays that ended as long ago.

    The newest `MOST_ATTEMPTS` attempts of each remaining delivery are retained.

    Args:
        connection: Outside a transaction: each slice is its own transaction.
        keep_days: The retention, in days.
        slice_: The most deliveries of one transaction.
    """
    # The database's clock, as in the rows.
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
    await _delete_groups(connection, cutoff, slice_)
    await connection.execute(_ATTEMPTS, MOST_ATTEMPTS)
    await connection.execute(_REPLAYS, before, cutoff)
    if pending:
        DELIVERIES_EXPIRED.inc(pending)
        _log.warning("pending_deliveries_expired", deliveries=pending, keep_days=keep_days)
    if total:
        _log.info("deliveries_removed", deliveries=total)
    return RemovedDeliveries(total, pending)


async def _delete_groups(connection: RawConnection, cutoff: datetime, slice_: int) -> None:
    """Delete expired events in groups of disabled endpoints, and the groups that are empty then."""
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
    """Delete expired former secrets; skips endpoints that are locked."""
    await connection.execute(_FORMER)
