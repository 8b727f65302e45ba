"""Writes the log of batches, in SQL, for the delivery process.

A batch is written before its first attempt: after a crash the same items are sent again under the same id.
"""

import json
import time
from datetime import datetime
from typing import Final, NamedTuple, Self
from uuid import UUID

from app.measurement_stream.items import StreamPosition
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.notifications.delivery.transport_types import AttemptOutcome
from app.platform.db.database import RawConnection, parse_row_count
from app.platform.kernel.instants import format_us, from_datetime

MOST_ATTEMPTS: Final = 20
"""The last attempts of a batch that are stored."""

REPLAY_ATTEMPTS: Final = 5
"""How often a replay or a test is tried."""

MOST_BATCHES: Final = 5_000
"""The newest batches of a subscription that are stored."""

_ROWS_PER_DELETE: Final = 1_000
# A rewound subscription can make a batch that exists already. The lock keeps out a change of the
# subscription, which withdraws the batches that it finds.
_INSERT: Final = """
INSERT INTO measurement_batches (id, subscription_id, organisation_id, first_position, first_index,
    last_position, last_index, item_count, state, is_replay, created_at)
SELECT $3, id, organisation_id, $4, $5, $6, $7, $8, 'pending', false, now()
FROM measurement_subscriptions WHERE id = $1 AND leased_until = $2 AND state = 'active'
FOR NO KEY UPDATE
ON CONFLICT (id) DO UPDATE SET state = 'pending', is_replay = false, created_at = now(), attempts_left = NULL,
    due_at = NULL, item_count = excluded.item_count
RETURNING created_at
"""
_PENDING: Final = """
SELECT id, first_position, first_index, last_position, last_index, item_count, is_replay, is_test, created_at,
    attempt_count + attempts_left AS replayed_until
FROM measurement_batches WHERE subscription_id = $1 AND state = 'pending'
    AND (due_at IS NULL OR due_at <= now()) AND ($2 OR NOT is_replay)
ORDER BY is_test DESC, is_replay, created_at, id LIMIT 1
"""
_RECORD: Final = """
UPDATE measurement_batches SET item_count = $3, attempt_count = attempt_count + 1,
    attempts = CASE WHEN jsonb_array_length(attempts) >= $5 THEN attempts - 0 ELSE attempts END || $4::jsonb,
    state = CASE WHEN $2 = 'pending' AND attempts_left <= 1 THEN 'failed' ELSE $2 END,
    attempts_left = attempts_left - 1,
    -- 2, 8, 32, 128 s
    due_at = now() + make_interval(secs => 2 * 4 ^ ($7 - attempts_left)),
    delivered_at = CASE WHEN $2 = 'delivered' THEN now() ELSE delivered_at END
WHERE id = $1 AND EXISTS (
    SELECT FROM measurement_subscriptions WHERE id = subscription_id AND leased_until = $6
)
"""
_LEASED: Final = (
    "EXISTS (SELECT FROM measurement_subscriptions WHERE id = subscription_id AND leased_until = $2)"
)
_CLOSE_EMPTY: Final = f"""
UPDATE measurement_batches SET state = 'empty', item_count = 0 WHERE id = $1 AND {_LEASED}
"""  # noqa: S608 (a constant)
_DELETE: Final = f"DELETE FROM measurement_batches WHERE id = $1 AND {_LEASED}"  # noqa: S608 (a constant)
# The state is checked again of the locked rows: a replay can have made a batch pending meanwhile.
_DELETE_OLD: Final = """
DELETE FROM measurement_batches WHERE id IN (
    SELECT old.id FROM measurement_subscriptions AS subscription CROSS JOIN LATERAL (
        SELECT id FROM measurement_batches
        WHERE subscription_id = subscription.id AND state <> 'pending'
        ORDER BY created_at DESC, id DESC OFFSET $1 LIMIT $2
    ) AS old
    LIMIT $2
) AND state <> 'pending'
"""
_DELETE_EXPIRED: Final = """
DELETE FROM measurement_batches WHERE id IN (
    SELECT id FROM measurement_batches
    WHERE state <> 'pending' AND created_at < now() - make_interval(days => $1) LIMIT $2
) AND state <> 'pending'
"""


class AttemptEntry(NamedTuple):
    """An attempt as the log of batches has it; the names are those of its JSON.

    Attributes:
        time: when it began, RFC 3339.
        duration_ms: the duration.
        status: the HTTP status, if there was one.
        reason: why it failed, or `delivered`.
        detail: what the receiver said; None after a success.
    """

    time: str
    duration_ms: float
    status: int | None
    reason: str
    detail: str | None

    @classmethod
    def of(cls, outcome: AttemptOutcome, started_at: datetime) -> Self:
        """Make the entry of an outcome."""
        return cls(
            format_us(from_datetime(started_at)),
            round(outcome.duration_ms, 3),
            outcome.status,
            outcome.reason,
            None if outcome.delivered else outcome.body,
        )


class PendingBatch(NamedTuple):
    """A batch that was not confirmed yet, or that is sent again on request.

    Attributes:
        delivery: as in `MeasurementBatch`.
    """

    id: UUID
    first: StreamPosition
    last: StreamPosition
    item_count: int
    is_replay: bool
    is_test: bool
    delivery: str


async def find_pending_batch(
    connection: RawConnection, subscription: UUID, *, with_replays: bool
) -> PendingBatch | None:
    """Find the batch that is to be sent next, before new items; of replays and tests the due ones."""
    row = await connection.fetchrow(_PENDING, subscription, with_replays)
    if row is None:
        return None
    return PendingBatch(
        row["id"],
        StreamPosition(row["first_position"], row["first_index"]),
        StreamPosition(row["last_position"], row["last_index"]),
        row["item_count"],
        row["is_replay"],
        row["is_test"],
        _name_delivery(row["created_at"], row["replayed_until"]),
    )


def _name_delivery(created_at: datetime, replayed_until: int | None = None) -> str:
    """Name a delivery of a batch.

    Args:
        created_at: A rewind changes it.
        replayed_until: The number of the last attempt that a replay may make, which a replay does not change.
    """
    return f"{created_at.isoformat()}/{replayed_until}"


async def add_batch(connection: RawConnection, lease: datetime, batch: MeasurementBatch) -> str | None:
    """Write a batch before it is sent.

    Returns:
        Its `delivery`; None if the lease has ended, and the batch may not be sent.
    """
    first, last = batch.items[0], batch.items[-1]
    created_at = await connection.fetchval(
        _INSERT,
        batch.subscription_id,
        lease,
        batch.id,
        *(first.position, first.index, last.position, last.index),
        len(batch.items),
    )
    return None if created_at is None else _name_delivery(created_at)


async def record_attempt(
    connection: RawConnection,
    lease: datetime,
    batch: UUID,
    attempt: AttemptEntry,
    *,
    state: str,
    count: int,
) -> None:
    """Add an attempt to a batch, while the lease lasts.

    Args:
        connection: In a transaction.
        lease: The lease of the subscription.
        batch: The batch.
        attempt: The attempt.
        state: The batch's new state; a replay or test without attempts left is `failed` instead of `pending`.
        count: The number of items that were sent.
    """
    await connection.execute(
        _RECORD, batch, state, count, json.dumps([attempt._asdict()]), MOST_ATTEMPTS, lease, REPLAY_ATTEMPTS
    )


async def delete_batch(connection: RawConnection, lease: datetime, batch: UUID) -> bool:
    """Delete a batch whose items are to be sent in others; False if the lease has ended."""
    return parse_row_count(await connection.execute(_DELETE, batch, lease)) == 1


async def close_empty_batch(connection: RawConnection, lease: datetime, batch: UUID) -> bool:
    """End a batch of which nothing may be sent any more; False if the lease has ended."""
    return parse_row_count(await connection.execute(_CLOSE_EMPTY, batch, lease)) == 1


async def delete_old_batches(connection: RawConnection, keep_days: int, longest_s: float) -> bool:
    """Delete the oldest batches: those after the newest ones of a subscription, and those past their days.

    Args:
        connection: Outside a transaction.
        keep_days: For how many days batches are stored.
        longest_s: After this time it ends, once a statement is over.

    Returns:
        Whether all were deleted.
    """
    ends = time.monotonic() + longest_s
    for statement, limit in ((_DELETE_OLD, MOST_BATCHES), (_DELETE_EXPIRED, keep_days)):
        removed = _ROWS_PER_DELETE
        while removed == _ROWS_PER_DELETE:
            removed = parse_row_count(await connection.execute(statement, limit, _ROWS_PER_DELETE))
            if removed == _ROWS_PER_DELETE and time.monotonic() >= ends:
                return False
    return True
