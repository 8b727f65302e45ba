"""Leases due subscriptions and advances their cursors, in SQL, for the delivery process.

A lease is named by its end. All writes of its holder depend on it: after a pause, a rewind or a change, which
end the lease, they have no effect, and neither do those of a process that was too slow.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from app.measurement_stream.item_reader import WHOLE_COMMIT
from app.measurement_stream.items import StreamPosition
from app.measurement_stream.subscriptions.leased_subscription import LeasedSubscription
from app.notifications.delivery.endpoint_health import EndpointHealth
from app.platform.db.database import RawConnection

# A subscription has work if its organisation has commits after those that were searched, if the first item of
# its next batch has waited as long as it may, or if a batch is to be sent again.
# Organisations take turns: those with the fewest subscriptions that are served come first.
# The former version's API does not clear `searched_*`, which count only together with `waiting_since`.
_POSITION: Final = "CASE WHEN waiting_since IS NULL THEN NULL ELSE searched_position END"
_INDEX: Final = "CASE WHEN waiting_since IS NULL THEN NULL ELSE searched_index END"
_LEASE: Final = f"""
WITH due AS (
    SELECT id, due_at, row_number() OVER (PARTITION BY organisation_id ORDER BY due_at, id) + (
        SELECT count(*) FROM measurement_subscriptions AS served
        WHERE served.organisation_id = candidate.organisation_id AND served.leased_until > now()
    ) AS turn
    FROM measurement_subscriptions AS candidate
    WHERE state = 'active' AND due_at <= now() AND (leased_until IS NULL OR leased_until <= now())
        AND id <> ALL ($4::uuid[])
        AND (waiting_since + max_age::interval <= now() OR EXISTS (
            SELECT FROM measurement_commits AS news
            WHERE news.organisation_id = candidate.organisation_id AND news.stream_position <= $1
                AND news.stream_position >= coalesce({_POSITION}, cursor_position)
                AND (
                    news.stream_position > coalesce({_POSITION}, cursor_position)
                    OR coalesce({_INDEX}, cursor_index) < {WHOLE_COMMIT}
                )
        ) OR EXISTS (
            SELECT FROM measurement_batches
            WHERE subscription_id = candidate.id AND measurement_batches.state = 'pending'
                AND (measurement_batches.due_at IS NULL OR measurement_batches.due_at <= now())
        ))
)
UPDATE measurement_subscriptions AS leased SET leased_until = now() + make_interval(secs => $2)
FROM (
    SELECT locked.id FROM measurement_subscriptions AS locked JOIN due USING (id)
    WHERE locked.state = 'active' AND locked.due_at <= now()
        AND (locked.leased_until IS NULL OR locked.leased_until <= now())
    ORDER BY due.turn, due.due_at LIMIT $3
    FOR UPDATE OF locked SKIP LOCKED
) AS chosen
WHERE leased.id = chosen.id
RETURNING leased.*, now() AS now
"""  # noqa: S608 (a number of ours)
_RENEW: Final = """
UPDATE measurement_subscriptions SET leased_until = now() + make_interval(secs => $3)
WHERE id = $1 AND leased_until = $2 AND state = 'active'
RETURNING leased_until, now() AS now
"""
_LOCK: Final = "SELECT FROM measurement_subscriptions WHERE id = $1 AND leased_until = $2 FOR NO KEY UPDATE"
_SITES: Final = "SELECT readable_sites FROM subscription_sites($1)"
_ADVANCE: Final = """
UPDATE measurement_subscriptions SET cursor_position = $3, cursor_index = $4
WHERE id = $1 AND leased_until = $2 AND (cursor_position, cursor_index) < ($3, $4)
"""
_RELEASE: Final = """
UPDATE measurement_subscriptions SET leased_until = NULL, due_at = now() + make_interval(secs => $3),
    size_limit = $4, waiting_since = $5, searched_position = $6, searched_index = $7, found_count = $8
WHERE id = $1 AND leased_until = $2
"""
_CONFIRM: Final = """
UPDATE measurement_subscriptions SET
    (cursor_position, cursor_index) = (
        SELECT given.position, given.index
        FROM (VALUES (cursor_position, cursor_index), ($3::bigint, $4::integer)) AS given (position, index)
        ORDER BY given.position DESC, given.index DESC LIMIT 1
    ),
    waiting_since = NULL, searched_position = NULL, searched_index = NULL, items_sent = items_sent + $5
WHERE id = $1 AND leased_until = $2
"""
_HEALTH_COLUMNS: Final = EndpointHealth._fields
_RECORD_HEALTH: Final = f"""
UPDATE measurement_subscriptions SET last_detail = $3, {
    ", ".join(f"{name} = ${number}" for number, name in enumerate(_HEALTH_COLUMNS, 4))
}
WHERE id = $1 AND leased_until = $2
"""  # noqa: S608 (names of columns)
_DISABLE: Final = """
UPDATE measurement_subscriptions SET state = 'disabled', disabled_reason = $3, disabled_at = now(),
    leased_until = NULL
WHERE id = $1 AND leased_until = $2
"""
_ONE_ROW: Final = "UPDATE 1"
_COUNT: Final = "SELECT state, count(*) FROM measurement_subscriptions GROUP BY state"


async def lease_due_subscriptions(
    connection: RawConnection, newest: int, lease_s: float, limit: int, served: Collection[UUID]
) -> list[asyncpg.Record]:
    """Lease active subscriptions that have something to send; those of other processes are skipped.

    Args:
        connection: The connection.
        newest: The newest position of the stream.
        lease_s: How long the leases last.
        limit: The most of them.
        served: Subscriptions that this process still serves: not these, even if their leases ended.

    Returns:
        All columns, and `now` of the database.
    """
    return await connection.fetch(_LEASE, newest, lease_s, limit, list(served))


async def renew_lease(
    connection: RawConnection, subscription: UUID, lease: datetime, lease_s: float
) -> asyncpg.Record | None:
    """Extend a lease; returns its new end `leased_until` and `now`, or None if it has ended."""
    return await connection.fetchrow(_RENEW, subscription, lease, lease_s)


async def lock_leased(connection: RawConnection, subscription: UUID, lease: datetime) -> None:
    """Lock a subscription before one of its batches, as the API does, while the lease lasts."""
    await connection.execute(_LOCK, subscription, lease)


async def find_readable_sites(
    connection: RawConnection, subscription: UUID
) -> tuple[bool, Sequence[UUID] | None]:
    """Find what the creator of a subscription may read now.

    Returns:
        Whether it may read at all, and its sites in the organisation; None: all.
    """
    row = await connection.fetchrow(_SITES, subscription)
    return (False, None) if row is None else (True, row["readable_sites"])


async def advance_cursor(
    connection: RawConnection, subscription: UUID, lease: datetime, to: StreamPosition
) -> None:
    """Move the cursor past items that are not for this subscription."""
    await connection.execute(_ADVANCE, subscription, lease, to.position, to.index)


async def confirm_items(
    connection: RawConnection, subscription: UUID, lease: datetime, last: StreamPosition, count: int
) -> None:
    """Move the cursor to the last item that a sink has confirmed, never back."""
    await connection.execute(_CONFIRM, subscription, lease, last.position, last.index, count)


async def record_health(
    connection: RawConnection,
    subscription: UUID,
    lease: datetime,
    health: EndpointHealth,
    detail: str | None,
) -> bool:
    """Write the health of a sink after an attempt; False if the lease has ended."""
    written = await connection.execute(_RECORD_HEALTH, subscription, lease, detail, *health)
    return written == _ONE_ROW


async def release_lease(connection: RawConnection, subscription: LeasedSubscription, due_in_s: float) -> None:
    """Return a subscription with its progress, to be leased again after some seconds."""
    waiting = subscription.waiting
    progress: tuple[object, ...] = (None, None, None, 0)
    if waiting is not None:
        progress = waiting.since, waiting.searched.position, waiting.searched.index, waiting.found
    await connection.execute(
        _RELEASE, subscription.id, subscription.lease, due_in_s, subscription.size_limit, *progress
    )


async def disable_subscription(
    connection: RawConnection, subscription: UUID, lease: datetime, reason: str
) -> bool:
    """Disable a subscription until its owner resumes it; False if the lease has ended."""
    return await connection.execute(_DISABLE, subscription, lease, reason) == _ONE_ROW


async def count_subscriptions(connection: RawConnection) -> dict[str, int]:
    """Count subscriptions by state."""
    return {row["state"]: row["count"] for row in await connection.fetch(_COUNT)}
