"""Measures how far deliveries are behind, in SQL: the oldest event and the oldest due delivery that wait."""

from typing import Final, NamedTuple

from app.platform.db.database import RawConnection

# Skips through the index from one endpoint to the next, as a claim does: the cost does not depend on the
# number of deliveries. Disabled endpoints, and those with an open circuit breaker, wait on purpose.
_LAG: Final = """
WITH RECURSIVE waiting AS (
    (
        SELECT endpoint_id, due_at FROM deliveries WHERE state = 'pending'
        ORDER BY endpoint_id, due_at, id LIMIT 1
    )
    UNION ALL
    SELECT next.endpoint_id, next.due_at FROM waiting CROSS JOIN LATERAL (
        SELECT endpoint_id, due_at FROM deliveries
        WHERE state = 'pending' AND endpoint_id > waiting.endpoint_id
        ORDER BY endpoint_id, due_at, id LIMIT 1
    ) AS next
)
SELECT coalesce(extract(epoch FROM now() - (
    SELECT created_at FROM outbox WHERE fanned_out_at IS NULL ORDER BY position LIMIT 1
))::float8, 0) AS event_s, coalesce(extract(epoch FROM now() - (
    SELECT min(waiting.due_at) FROM waiting
    JOIN webhook_endpoints AS endpoint ON endpoint.id = waiting.endpoint_id AND endpoint.enabled
    LEFT JOIN endpoint_states AS state ON state.endpoint_id = waiting.endpoint_id
    WHERE state.open_until IS NULL OR state.open_until <= now()
))::float8, 0) AS due_s
"""


class DeliveryLag(NamedTuple):
    """How far deliveries are behind, in seconds; 0 where nothing waits.

    Attributes:
        event_s: Age of the oldest event that was not fanned out.
        due_s: Time since the oldest delivery was due.
    """

    event_s: float
    due_s: float


async def measure_delivery_lag(connection: RawConnection) -> DeliveryLag:
    """Measure how far deliveries are behind."""
    (row,) = await connection.fetch(_LAG)
    return DeliveryLag(max(row["event_s"], 0.0), max(row["due_s"], 0.0))
