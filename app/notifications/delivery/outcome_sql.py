"""What came of attempts, in SQL.

Owns `delivery_attempts`, and what an attempt means for its delivery. Must not judge an endpoint
(`endpoint_health`), nor say when a delivery is due again (`schedule`).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.platform.db.database import RawConnection

# A delivered message is delivered, whoever holds the lease by now. A failure counts only for the lease under
# which it was attempted: a replay, or another process that took over, has its own. What is recorded again,
# because nobody knows whether it was committed, counts once.
_RECORD: Final = """
WITH before AS (
    SELECT given.*, delivery.endpoint_id,
        delivery.state = 'pending' AND delivery.leased_until IS NOT DISTINCT FROM given.lease AS held
    FROM unnest($1::uuid[], $2::timestamptz[], $3::boolean[], $4::timestamptz[], $5::timestamptz[],
                $6::uuid[], $7::timestamptz[], $8::float8[], $9::integer[], $10::text[], $11::text[])
        AS given (delivery_id, lease, delivered, due_again, ended_at, attempt_id, started_at, duration_ms,
                  status, reason, answer)
    JOIN deliveries AS delivery ON delivery.id = given.delivery_id
    WHERE NOT EXISTS (SELECT FROM delivery_attempts AS made WHERE made.id = given.attempt_id)
    ORDER BY delivery.id
    FOR UPDATE OF delivery
), done AS (
    UPDATE deliveries AS delivery SET
        state = CASE WHEN before.delivered THEN 'delivered' WHEN NOT held THEN state
            WHEN due_again IS NULL THEN 'failed' ELSE 'pending' END,
        due_at = CASE WHEN before.delivered THEN NULL WHEN NOT held THEN due_at ELSE due_again END,
        leased_until = CASE WHEN before.delivered OR held THEN NULL ELSE leased_until END,
        delivered_at = CASE WHEN before.delivered THEN ended_at ELSE delivered_at END,
        attempt_count = CASE WHEN before.delivered OR held THEN attempt_count + 1 ELSE attempt_count END
    FROM before WHERE delivery.id = before.delivery_id
)
INSERT INTO delivery_attempts
    (id, delivery_id, endpoint_id, number, started_at, duration_ms, status, reason, response_body)
SELECT attempt_id, delivery_id, endpoint_id,
    1 + coalesce((SELECT max(number) FROM delivery_attempts AS made
        WHERE made.delivery_id = before.delivery_id), 0),
    started_at, duration_ms, status, reason, answer
FROM before
RETURNING delivery_id, number
"""
_MADE: Final = "SELECT id FROM delivery_attempts WHERE id = ANY ($1::uuid[])"


class AttemptRecord(NamedTuple):
    """An attempt that has ended.

    Attributes:
        id: The attempt's.
        claimed: What was attempted, under which lease.
        outcome: What came of it.
        started_at: When it began, by the database's clock.
        ended_at: When it ended, by the same.
        due_at: When the next attempt is due if this one failed; None gives the delivery up.
    """

    id: UUID
    claimed: LeasedDelivery
    outcome: AttemptOutcome
    started_at: datetime
    ended_at: datetime
    due_at: datetime | None


async def write_attempt_records(
    connection: RawConnection, records: Sequence[AttemptRecord]
) -> dict[UUID, int]:
    """Write down attempts and what they mean for their deliveries, in one statement.

    Args:
        connection: Its transaction is the caller's.
        records: Of different deliveries.

    Returns:
        Delivery → its attempt's number, from 1; without those that were deleted, or recorded already.

    Raises:
        asyncpg.UniqueViolationError: Another attempt of one was recorded at the same moment: record again.
    """
    columns = [
        (
            *(each.claimed.id, each.claimed.leased_until, each.outcome.delivered, each.due_at, each.ended_at),
            *(each.id, each.started_at, each.outcome.duration_ms, each.outcome.status),
            *(each.outcome.reason, each.outcome.body),
        )
        for each in records
    ]
    rows = await connection.fetch(_RECORD, *map(list, zip(*columns, strict=True)))
    return {row["delivery_id"]: row["number"] for row in rows}


async def find_recorded_attempts(connection: RawConnection, records: Sequence[AttemptRecord]) -> set[UUID]:
    """The ids of those that were recorded before: their first record's commit was not known to succeed."""
    if not records:
        return set()
    return {row["id"] for row in await connection.fetch(_MADE, [each.id for each in records])}
