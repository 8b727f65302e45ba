"""Traces attempts, and finds the trace of a group's notification."""

from typing import Final
from uuid import UUID

from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.platform.db.database import RawConnection
from app.platform.observability.tracing import Span, is_tracing, parse_traceparent, start_span

_OF_GROUP: Final = """
SELECT event.traceparent FROM group_events AS grouped JOIN outbox AS event ON event.id = grouped.event_id
WHERE grouped.group_id = $1 AND NOT grouped.held AND event.traceparent IS NOT NULL
ORDER BY grouped.firing DESC, grouped.position LIMIT 1
"""


def describe_delivery(claimed: LeasedDelivery) -> dict[str, str]:
    """Return the log fields of a delivery: its ids, and that of its trace."""
    ids = {"delivery_id": claimed.id, "endpoint_id": claimed.endpoint_id, "event_id": claimed.event_id}
    fields = {name: str(value) for name, value in ids.items()}
    trace = parse_traceparent(claimed.traceparent)
    return fields if trace is None else {**fields, "trace_id": trace.trace_id}


def start_attempt_span(claimed: LeasedDelivery) -> Span:
    """Start the span of an attempt, in the trace of the event."""
    if not is_tracing():
        return start_span("deliver")
    return start_span(
        f"deliver {claimed.kind}",
        kind="client",
        parent=claimed.traceparent,
        is_root=True,
        attributes={
            "vigie.delivery.id": str(claimed.id),
            "vigie.endpoint.id": str(claimed.endpoint_id),
            "vigie.event.id": str(claimed.event_id),
            "vigie.delivery.attempt": claimed.attempt_count + 1,
            "vigie.delivery.waited_s": round((claimed.now - claimed.created_at).total_seconds(), 3),
        },
    )


def record_outcome(span: Span, outcome: AttemptOutcome) -> None:
    """Add the outcome of an attempt to its span."""
    status = {} if outcome.status is None else {"http.response.status_code": outcome.status}
    span.update({"vigie.delivery.outcome": outcome.reason, **status})
    if not outcome.delivered:
        span.fail(outcome.reason)


async def find_group_traceparent(connection: RawConnection, group_id: UUID) -> str | None:
    """Return the trace of the first firing event of a group; None where telemetry is off."""
    if not is_tracing():
        return None
    traceparent: str | None = await connection.fetchval(_OF_GROUP, group_id)
    return traceparent
