"""The life of an alert beyond its samples: acknowledged by a person, or closed because its rule or box goes.

Must not know HTTP, and must not wake the dispatcher: that is for the caller, after its commit.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.alerts import repository
from app.alerts.events import COLUMNS, EventType, event
from app.alerts.models import Alert
from app.core.auth import Principal
from app.core.database import WriteSession
from app.core.errors import ConflictError
from app.core.gate import close_gate
from app.core.observability import ALERT_TRANSITIONS
from app.webhooks.outbox import OutboxRecord, enqueue_in


class Acknowledged(NamedTuple):
    """An alert after an acknowledgement; `new` is False where it had been acknowledged before."""

    alert: Alert
    rule_name: str
    new: bool


async def acknowledge(
    session: WriteSession, principal: Principal, alert_id: UUID, now: datetime
) -> Acknowledged:
    """Take note of a firing alert. The first acknowledgement stands; another changes nothing.

    Raises:
        NotFoundError: no such alert, or another organisation's.
        ConflictError: `already_resolved`: there is nothing left to see to.
    """
    alert, rule_name = await repository.lock(session, alert_id, principal.visible())
    if alert.acknowledged_at is not None:
        return Acknowledged(alert, rule_name, new=False)
    if alert.state != "firing":
        raise ConflictError(
            "The alert has resolved, and was not acknowledged before: there is nothing left to do.",
            code="already_resolved",
        )
    alert.acknowledged_at = now
    alert.acknowledged_by = principal.key_id
    alert.sequence += 1
    alert.updated_at = now
    await session.flush()
    await enqueue_in(session, [_event("alert.acknowledged", alert, rule_name, now)])
    return Acknowledged(alert, rule_name, new=True)


async def close_alerts(
    session: WriteSession,
    *,
    reason: str,
    now: datetime,
    rule_id: UUID | None = None,
    box_key: int | None = None,
) -> int:
    """Resolve firing alerts and forget the state behind them; see `app.core.ports.AlertCloser`.

    Raises:
        ValueError: neither a rule nor a box was given.
    """
    if rule_id is None and box_key is None:
        raise ValueError("close_alerts needs a rule or a box")
    # First of all: a batch under way ends, and what it fired is seen below.
    await close_gate(session)
    boxes = await repository.lock_states(session, rule_id, box_key)
    closed = await repository.resolve(session, rule_id, box_key, reason=reason, now=now)
    await repository.forget_states(session, boxes, rule_id)
    await enqueue_in(session, [_event("alert.resolved", alert, name, now) for alert, name in closed])
    for alert, _ in closed:
        ALERT_TRANSITIONS.labels("resolved", alert.severity).inc()
    return len(closed)


def _event(kind: EventType, alert: Alert, rule_name: str, now: datetime) -> OutboxRecord:
    return event(kind, {name: getattr(alert, name) for name in ("id", *COLUMNS)}, rule_name, now)
