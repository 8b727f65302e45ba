"""Acknowledges, assigns and comments on alerts, and closes alerts of removed rules and boxes.

Must not wake the dispatcher: the caller does so after its commit.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.alerts import repository
from app.alerts.alert_events import ACKNOWLEDGEMENT_COLUMNS, EVENT_COLUMNS, AlertEventType, build_alert_event
from app.alerts.models import Alert
from app.alerts.prometheus_metrics import ALERT_TRANSITIONS
from app.alerts.timeline_writer import NewTimelineEntry, TimelineKind, write_timeline_in_session
from app.alerts.transition_applier import compute_due_times
from app.notifications.events.outbox import OutboxRecord, enqueue_session_events
from app.platform.db.database import WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, VigieError


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


class AlertAction:
    """The action of one caller, which collects timeline entries and outbox events. Made by `begin`."""

    def __init__(self, session: WriteSession, principal: Principal, now: datetime) -> None:
        self.session = session
        self.now = now
        self._key_id = principal.key_id
        self._kind = principal.kind
        self._actor = principal.name or None
        self._entries: list[NewTimelineEntry] = []
        self._events: list[OutboxRecord] = []

    @classmethod
    def begin(cls, session: WriteSession, principal: Principal, now: datetime) -> "AlertAction":
        """Begin an action of a caller."""
        return cls(session, principal, now)

    def acknowledge(self, alert: Alert, rule_name: str, comment: str | None) -> None:
        """Acknowledge a firing alert. If it is acknowledged already, only add the comment.

        Args:
            alert: the locked alert.
            rule_name: the current name of its rule.
            comment: the comment, if any.

        Raises:
            ConflictError: `already_resolved`.
        """
        if alert.acknowledged_at is not None:
            self.comment(alert, comment)
            return
        if alert.state != "firing":
            raise _resolved("The alert is resolved already, so it cannot be acknowledged any more.")
        alert.acknowledged_at = self.now
        alert.acknowledged_by = self._key_id
        alert.acknowledged_by_kind = self._kind
        alert.acknowledged_by_name = self._actor
        alert.sequence += 1
        alert.updated_at = self.now
        self.add_entry(alert, "acknowledged", comment)
        # Muted alerts publish no events except for their resolution.
        if alert.notified and alert.suppressed is None:
            self._events.append(_event("alert.acknowledged", alert, rule_name, self.now))

    def comment(self, alert: Alert, comment: str | None) -> None:
        """Add a comment, if there is one."""
        if comment is not None:
            self.add_entry(alert, "commented", comment)

    def add_entry(
        self, alert: Alert, kind: TimelineKind, comment: str | None, data: dict[str, str | None] | None = None
    ) -> None:
        """Add an entry to the alert's timeline.

        Args:
            alert: the alert.
            kind: the kind of the entry.
            comment: the comment of the caller, if any.
            data: further fields of this kind.
        """
        self._entries.append(
            NewTimelineEntry(
                alert.id,
                alert.organisation_id,
                kind,
                self.now,
                alert.severity,
                actor=self._actor,
                actor_key=self._key_id,
                actor_kind=self._kind,
                comment=comment,
                data=data,
            )
        )

    async def finish(self) -> bool:
        """Write all changes, entries and events; returns whether there are events."""
        await self.session.flush()
        await write_timeline_in_session(self.session, self._entries, self.now)
        await enqueue_session_events(self.session, self._events)
        return bool(self._events)


def _resolved(detail: str) -> ConflictError:
    return ConflictError(detail, code="already_resolved")


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
    if alert.state != "firing":
        raise _resolved("The alert is resolved already, so its acknowledgement cannot be withdrawn.")
    act = AlertAction.begin(session, principal, now)
    if alert.acknowledged_at is None:
        act.comment(alert, comment)
        return AlertActionResult(alert, rule_name, await act.finish())
    for name in ACKNOWLEDGEMENT_COLUMNS:
        setattr(alert, name, None)
    clock = await repository.read_database_clock(session)
    alert.escalate_at, alert.remind_at = compute_due_times(alert.escalations, alert.remind_us, clock)
    alert.updated_at = now
    act.add_entry(alert, "unacknowledged", comment)
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
    if alert.assignee == assignee:
        act.comment(alert, comment)
    else:
        act.add_entry(alert, "assigned", comment, {"assignee": assignee, "previous": alert.assignee})
        alert.assignee = assignee
        alert.updated_at = now
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
        session, [_event("alert.resolved", alert, name, now) for alert, name in notified]
    )
    for alert, _ in closed:
        ALERT_TRANSITIONS.labels("resolved", alert.severity).inc()
    return len(closed)


def _resolved_entry(alert: Alert, reason: str) -> NewTimelineEntry:
    at = alert.resolved_at or alert.updated_at
    return NewTimelineEntry(
        alert.id, alert.organisation_id, "resolved", at, alert.severity, data={"reason": reason}
    )


def _event(kind: AlertEventType, alert: Alert, rule_name: str, now: datetime) -> OutboxRecord:
    row = {name: getattr(alert, name) for name in ("id", *EVENT_COLUMNS, *ACKNOWLEDGEMENT_COLUMNS)}
    return build_alert_event(kind, row, rule_name, now)
