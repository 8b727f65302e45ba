"""Who may attempt which delivery, and what came of it: leases and records, in SQL.

Owns the statements that claim, record and release. The database's clock decides what is due and whose lease
has run out, so that a process whose own clock jumps does no harm. Must not send anything.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from app.core.database import RawConnection
from app.core.ids import new_id
from app.webhooks.transport import Claim, Outcome

# An endpoint's due deliveries are counted off one by one, each endpoint up to its own places: however many
# wait for one that hangs, those of the others are found at once.
# The conditions stand twice: the second time they are checked on the locked row, as it is then.
_CLAIM = """
WITH room AS (
    SELECT endpoint.id, $2::integer - coalesce(busy.count, 0) AS places
    FROM webhook_endpoints AS endpoint
    LEFT JOIN unnest($3::uuid[], $4::integer[]) AS busy (id, count) ON busy.id = endpoint.id
    WHERE endpoint.enabled
), chosen AS (
    SELECT due.id
    FROM room CROSS JOIN LATERAL (
        SELECT delivery.id, delivery.due_at FROM deliveries AS delivery
        WHERE delivery.endpoint_id = room.id AND delivery.state = 'pending' AND delivery.due_at <= now()
            AND (delivery.leased_until IS NULL OR delivery.leased_until < now())
        ORDER BY delivery.due_at
        LIMIT greatest(room.places, 0)
    ) AS due
    ORDER BY due.due_at LIMIT $1
), locked AS (
    SELECT delivery.id
    FROM deliveries AS delivery JOIN chosen ON chosen.id = delivery.id
    WHERE delivery.state = 'pending' AND delivery.due_at <= now()
        AND (delivery.leased_until IS NULL OR delivery.leased_until < now())
    FOR UPDATE OF delivery SKIP LOCKED
)
UPDATE deliveries AS delivery SET leased_until = now() + make_interval(secs => $5)
FROM locked, webhook_endpoints AS endpoint
WHERE delivery.id = locked.id AND endpoint.id = delivery.endpoint_id
RETURNING delivery.id, delivery.organisation_id, delivery.endpoint_id, delivery.event_id, delivery.site_id,
    delivery.type, delivery.format, delivery.body, delivery.attempt_count, delivery.created_at,
    delivery.leased_until, now() AS now, endpoint.kind, endpoint.url, endpoint.target::text AS target,
    endpoint.secret, endpoint.former_secrets::text AS former_secrets, endpoint.headers
"""
_NEXT = """
SELECT extract(epoch FROM least(
    (SELECT min(due_at) FROM deliveries WHERE state = 'pending' AND due_at > now()),
    (SELECT min(due_at) FROM delivery_groups WHERE due_at > now())
) - now())::float8
"""
# A delivered message is delivered, whoever holds the lease by now. A failure counts only for the lease under
# which it was attempted: a replay, or another process that took over, has its own.
_RECORD = """
WITH before AS (
    SELECT id, state = 'pending' AND leased_until IS NOT DISTINCT FROM $2 AS held
    FROM deliveries WHERE id = $1 FOR UPDATE
), done AS (
    UPDATE deliveries AS delivery SET
        state = CASE WHEN $3 THEN 'delivered' WHEN NOT held THEN state
            WHEN $4::timestamptz IS NULL THEN 'failed' ELSE 'pending' END,
        due_at = CASE WHEN $3 THEN NULL WHEN NOT held THEN due_at ELSE $4 END,
        leased_until = CASE WHEN $3 OR held THEN NULL ELSE leased_until END,
        delivered_at = CASE WHEN $3 THEN $5 ELSE delivered_at END,
        attempt_count = CASE WHEN $3 OR held THEN attempt_count + 1 ELSE attempt_count END
    FROM before WHERE delivery.id = before.id
    RETURNING delivery.id, delivery.endpoint_id
)
INSERT INTO delivery_attempts
    (id, delivery_id, endpoint_id, number, started_at, duration_ms, status, reason, response_body)
SELECT $6, done.id, done.endpoint_id,
    1 + coalesce((SELECT max(number) FROM delivery_attempts WHERE delivery_id = $1), 0), $7, $8, $9, $10, $11
FROM done
RETURNING number
"""
_RELEASE = """
UPDATE deliveries AS delivery SET leased_until = NULL
FROM unnest($1::uuid[], $2::timestamptz[]) AS held (id, leased_until)
WHERE delivery.id = held.id AND delivery.leased_until = held.leased_until
"""
_PENDING = "SELECT count(*) FROM deliveries WHERE state = 'pending'"


async def claim(
    connection: RawConnection, *, places: int, share: int, busy: Mapping[UUID, int], lease_s: float
) -> list[Claim]:
    """Lease deliveries that are due, the longest due first.

    Args:
        connection: Outside a transaction.
        places: The most that are taken.
        share: The most that one endpoint may have under way at once.
        busy: How many each endpoint has under way here.
        lease_s: How long the leases last, in seconds.
    """
    rows = await connection.fetch(_CLAIM, places, share, list(busy), list(busy.values()), lease_s)
    return [
        Claim(**{**row, "target": _decoded(row["target"]), "former_secrets": _decoded(row["former_secrets"])})
        for row in rows
    ]


def _decoded(text: str | None) -> Any:  # noqa: ANN401 (JSON)
    return None if text is None else msgspec.json.decode(text)


async def next_due_in(connection: RawConnection) -> float | None:
    """Return in how many seconds the next delivery falls due, or is made of a group that waits.

    None when nothing waits for a time to come.
    """
    seconds: float | None = await connection.fetchval(_NEXT)
    return seconds


async def record(
    connection: RawConnection,
    claimed: Claim,
    outcome: Outcome,
    *,
    started_at: datetime,
    ended_at: datetime,
    due_at: datetime | None,
) -> int | None:
    """Write down an attempt and what it means for its delivery, in one statement.

    Args:
        connection: Outside a transaction.
        claimed: What was attempted, under which lease.
        outcome: What came of it.
        started_at: When it began, by the database's clock.
        ended_at: When it ended, by the same.
        due_at: When the next attempt is due if this one failed; None gives the delivery up.

    Returns:
        The attempt's number, from 1; None when the delivery was deleted meanwhile.

    Raises:
        asyncpg.UniqueViolationError: Another attempt of it was recorded at the same moment: record again.
    """
    number: int | None = await connection.fetchval(
        _RECORD,
        *(claimed.id, claimed.leased_until, outcome.delivered, due_at, ended_at),
        *(new_id(), started_at, outcome.duration_ms, outcome.status, outcome.reason, outcome.body),
    )
    return number


async def release(connection: RawConnection, claims: Sequence[Claim]) -> None:
    """Give up leases at once: the deliveries are due again for whoever claims next."""
    await connection.execute(
        _RELEASE, [claimed.id for claimed in claims], [claimed.leased_until for claimed in claims]
    )


async def count_pending(connection: RawConnection) -> int:
    """Count deliveries that are neither delivered nor given up."""
    count: int = await connection.fetchval(_PENDING)
    return count
