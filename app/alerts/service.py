"""Acknowledges, assigns, escalates and comments on alerts, and closes alerts of removed rules and boxes.

Must not wake the dispatcher: the caller does so after its commit.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.alerts import repository
from app.alerts.alert_actions import AlertAction, build_event
from app.alerts.models import Alert
from app.alerts.prometheus_metrics import ALERT_TRANSITIONS
from app.alerts.timeline_writer import NewTimelineEntry, write_timeline_in_session
from app.notifications.events.outbox import enqueue_session_events
from app.platform.db.database import WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import VigieError
from app.rules.definitions.severity import Severity


class AlertActionResult(NamedTuple):
    """An alert after an action; `has_events` if the outbox has events of it."""

    alert: Alert
    rule_name: str
    has_events: bool


class BulkAcknowledgement(NamedTuple):
    """The outcome for many alerts.

    Attributes:
        new: alerts that were acknowledged.
        before: alerts that had been acknowledged before.
        refused: alerts that could not be acknowledged, with error codes.
        has_events: whether the outbox has events of them.
    """

    new: list[UUID]
    before: list[UUID]
    refused: list[tuple[UUID, str]]
    has_events: bool


async def acknowledge_alert(
    session: WriteSession, principal: Principal, alert_id: UUID, comment: str | None, now: datetime
) -> AlertActionResult:
    """Acknowledge a firing alert. The first acknowledgement stays; further ones only add their comments.

    Args:
        session: the transaction.
        principal: the caller.
        alert_id: the alert.
        comment: the comment, if any.
        now: the current time, aware.

    Raises:
        NotFoundError: no such alert in the tenant scope.
        ConflictError: `already_resolved`.
    """
    alert, rule_name = await repository.lock_alert(session, alert_id, principal.visible())
    act = AlertAction.begin(session, principal, now)
    act.acknowledge(alert, rule_name, comment)
    return AlertActionResult(alert, rule_name, await act.finish())


async def acknowledge_alerts(
    session: WriteSession,
    principal: Principal,
    alert_ids: Iterable[UUID],
    comment: str | None,
    now: datetime,
) -> BulkAcknowledgement:
    """Acknowledge many alerts, each independently of the others.

    Args:
        session: the transaction.
        principal: the caller.
        alert_ids: the alerts.
        comment: the comment on each, if any.
        now: the current time, aware.
    """
    identifiers = list(dict.fromkeys(alert_ids))
    found = await repository.lock_alerts(session, identifiers, principal.visible())
    act = AlertAction.begin(session, principal, now)
    new: list[UUID] = []
    before: list[UUID] = []
    refused: list[tuple[UUID, str]] = []
    for identifier in identifiers:
        if identifier not in found:
            refused.append((identifier, "not_found"))
            continue
        alert, rule_name = found[identifier]
        outcome = new if alert.acknowledged_at is None else before
        try:
            act.acknowledge(alert, rule_name, comment)
        except VigieError as error:
            refused.append((identifier, error.code))
        else:
            outcome.append(identifier)
    return BulkAcknowledgement(new, before, refused, await act.finish())


async def unacknowledge_alert(
    session: WriteSession, principal: Principal, alert_id: UUID, comment: str | None, now: datetime
) -> AlertActionResult:
    """Withdraw the acknowledgement of a firing alert, and restart its escalations and reminders.

    Args:
        session: the transaction.
        principal: the caller.
        alert_id: the alert.
        comment: the comment, if any.
        now: the current time, aware.

    Raises:
        NotFoundError: no such alert in the tenant scope.
        ConflictError: `already_resolved`.
    """
    alert, rule_name = await repository.lock_alert(session, alert_id, principal.visible())
    act = AlertAction.begin(session, principal, now)
    act.unacknowledge(alert, comment, await repository.read_database_clock(session))
    return AlertActionResult(alert, rule_name, await act.finish())


async def assign_alert(
    session: WriteSession,
    principal: Principal,
    alert_id: UUID,
    *,
    assignee: str | None,
    comment: str | None,
    now: datetime,
) -> AlertActionResult:
    """Assign an alert, firing or not.

    Args:
        session: the transaction.
        principal: the caller.
        alert_id: the alert.
        assignee: the person or team; None removes the assignment.
        comment: the comment, if any.
        now: the current time, aware.

    Raises:
        NotFoundError: no such alert in the tenant scope.
    """
    alert, rule_name = await repository.lock_alert(session, alert_id, principal.visible())
    act = AlertAction.begin(session, principal, now)
    act.assign(alert, assignee, comment)
    return AlertActionResult(alert, rule_name, await act.finish())


async def escalate_alert(
    session: WriteSession,
    principal: Principal,
    alert_id: UUID,
    *,
    severity: Severity,
    comment: str | None,
    now: datetime,
) -> AlertActionResult:
    """Raise the severity of a firing alert.

    Args:
        session: the transaction.
        principal: the caller.
        alert_id: the alert.
        severity: the new severity.
        comment: the comment, if any.
        now: the current time, aware.

    Raises:
        NotFoundError: no such alert in the tenant scope.
        ConflictError: `already_resolved`, `severity_not_higher`.
    """
    alert, rule_name = await repository.lock_alert(session, alert_id, principal.visible())
    act = AlertAction.begin(session, principal, now)
    act.escalate(alert, rule_name, severity, comment)
    return AlertActionResult(alert, rule_name, await act.finish())


async def add_comment(
    session: WriteSession, principal: Principal, alert_id: UUID, comment: str, now: datetime
) -> AlertActionResult:
    """Add a comment to the timeline of an alert, firing or not.

    Args:
        session: the transaction.
        principal: the caller.
        alert_id: the alert.
        comment: the comment.
        now: the current time, aware.

    Raises:
        NotFoundError: no such alert in the tenant scope.
    """
    alert, rule_name = await repository.lock_alert(session, alert_id, principal.visible())
    act = AlertAction.begin(session, principal, now)
    act.comment(alert, comment)
    return AlertActionResult(alert, rule_name, await act.finish())


async def close_alerts(
    session: WriteSession,
    *,
    reason: str,
    now: datetime,
    rule_id: UUID | None = None,
    box_keys: Sequence[int] | None = None,
) -> int:
    """Resolve firing alerts and reset the rule states behind them (implements `AlertCloser`).

    Args:
        session: the transaction.
        reason: the resolution.
        now: the current time, aware.
        rule_id: the rule; None for all rules.
        box_keys: the boxes; None for all boxes.

    Returns:
        The number of resolved alerts.

    Raises:
        ValueError: neither a rule nor a box was given.
    """
    if rule_id is None and box_keys is None:
        raise ValueError("close_alerts needs a rule or a box")
    # First: waits for the current ingest batch, so that its alerts are found below.
    await close_ingest_barrier(session)
    locked = await repository.lock_states(session, rule_id, box_keys)
    closed = await repository.resolve_alerts(session, rule_id, box_keys, reason=reason, now=now)
    await repository.clear_rule_states(session, locked, rule_id)
    await repository.delete_index_states(session, rule_id, box_keys)
    await write_timeline_in_session(session, [_resolved_entry(alert, reason) for alert, _ in closed], now)
    # A resolution is published exactly if the firing was.
    notified = [(alert, name) for alert, name in closed if alert.notified]
    await enqueue_session_events(
        session, [build_event("alert.resolved", alert, name, now) for alert, name in notified]
    )
    for alert, _ in closed:
        ALERT_TRANSITIONS.labels("resolved", alert.severity).inc()
    return len(closed)


def _resolved_entry(alert: Alert, reason: str) -> NewTimelineEntry:
    at = alert.resolved_at or alert.updated_at
    return NewTimelineEntry(
        alert.id, alert.organisation_id, "resolved", at, alert.severity, data={"reason": reason}
    )
