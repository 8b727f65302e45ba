"""Writes attempts and updates their deliveries, in SQL.

`endpoint_health` computes the next due time and the endpoint's health.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from app.notifications.delivery.endpoint_health import QUOTA_EXCEEDED
from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.platform.db.database import RawConnection

# A success counts whoever holds the lease now. A failure counts only under its own lease: a replay, or
# another process that took over, has a new one. A record that is written again after an unknown commit counts
# once. A delivery that waits for a quota keeps its position in the retry schedule.
_RECORD: Final = """
WITH before AS (
    SELECT given.*, delivery.endpoint_id,
        delivery.state = 'pending' AND delivery.leased_until IS NOT DISTINCT FROM given.lease AS held
    FROM unnest($1::uuid[], $2::timestamptz[], $3::boolean[], $4::timestamptz[], $5::timestamptz[],
                $6::uuid[], $7::timestamptz[], $8::float8[], $9::integer[], $10::text[], $11::text[],
                $12::text[])
        AS given (delivery_id, lease, delivered, due_again, ended_at, attempt_id, started_at, duration_ms,
                  status, reason, answer, answer_headers)
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
        attempt_count = CASE WHEN before.delivered OR (held AND reason <> $13) THEN attempt_count + 1
            ELSE attempt_count END
    FROM before WHERE delivery.id = before.delivery_id
)
INSERT INTO delivery_attempts
    (id, delivery_id, endpoint_id, number, started_at, duration_ms, status, reason, response_body,
    response_headers)
SELECT attempt_id, delivery_id, endpoint_id,
    1 + coalesce((SELECT max(number) FROM delivery_attempts AS made
        WHERE made.delivery_id = before.delivery_id), 0),
    started_at, duration_ms, status, reason, answer, answer_headers::jsonb
FROM before
RETURNING delivery_id, number
"""
_MADE: Final = "SELECT id FROM delivery_attempts WHERE id = ANY ($1::uuid[])"


class AttemptRecord(NamedTuple):
    """An ended attempt.

    Attributes:
        id: The attempt's id.
        claimed: The delivery with its lease.
        outcome: The outcome.
        started_at: When the attempt began, by the database's clock.
        ended_at: When the attempt ended, by the database's clock.
        due_at: When the next attempt is due after a failure; None: the delivery fails.
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
    """Insert attempts and update their deliveries, in one statement.

    Args:
        connection: In the caller's transaction.
        records: Records of different deliveries.

    Returns:
        Delivery → number of its attempt, from 1; without deleted deliveries and records written before.

    Raises:
        asyncpg.UniqueViolationError: Another attempt of a delivery was recorded concurrently: retry.
    """
    columns = [
        (
            *(each.claimed.id, each.claimed.leased_until, each.outcome.delivered, each.due_at, each.ended_at),
            *(each.id, each.started_at, each.outcome.duration_ms, each.outcome.status),
            *(each.outcome.reason, each.outcome.body),
            None if each.outcome.headers is None else json.dumps(dict(each.outcome.headers)),
        )
        for each in records
    ]
    rows = await connection.fetch(_RECORD, *map(list, zip(*columns, strict=True)), QUOTA_EXCEEDED)
    return {row["delivery_id"]: row["number"] for row in rows}


async def find_recorded_attempts(connection: RawConnection, records: Sequence[AttemptRecord]) -> set[UUID]:
    """Return the ids of records that were committed before, by a transaction with an unknown outcome."""
    if not records:
        return set()
    return {row["id"] for row in await connection.fetch(_MADE, [each.id for each in records])}
