"""Applies what a person does with alerts: acknowledges, assigns, escalates and comments on them.

Must not lock or commit: the caller gives locked alerts.
"""

from datetime import datetime
from typing import Any

from app.alerts.alert_events import (
    ACKNOWLEDGEMENT_COLUMNS,
    EVENT_COLUMNS,
    REASON_PERSON,
    AlertEventType,
    build_alert_event,
)
from app.alerts.models import Alert
from app.alerts.timeline_writer import NewTimelineEntry, TimelineKind, write_timeline_in_session
from app.alerts.transition_applier import compute_due_times
from app.notifications.events.outbox import OutboxRecord, enqueue_session_events
from app.platform.db.database import WriteSession
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError
from app.rules.definitions.severity import Severity, find_highest_severity, rank_severity


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

    def acknowledge(self, alert: Alert, rule_name: str, comment: str | None) -> bool:
        """Acknowledge a firing alert. If it is acknowledged already, only add the comment.

        Args:
            alert: the locked alert.
            rule_name: the current name of its rule.
            comment: the comment, if any.

        Returns:
            Whether this acknowledged it.

        Raises:
            ConflictError: `already_resolved`.
        """
        if alert.acknowledged_at is not None:
            self.comment(alert, comment)
            return False
        if alert.state != "firing":
            raise refuse_resolved("The alert is resolved already, so it cannot be acknowledged any more.")
        alert.acknowledged_at = self.now
        alert.acknowledged_by = self._key_id
        alert.acknowledged_by_kind = self._kind
        alert.acknowledged_by_name = self._actor
        alert.sequence += 1
        alert.updated_at = self.now
        self.add_entry(alert, "acknowledged", comment)
        # Muted alerts publish no events except for their resolution.
        if alert.notified and alert.suppressed is None:
            self._events.append(build_event("alert.acknowledged", alert, rule_name, self.now))
        return True

    def unacknowledge(self, alert: Alert, comment: str | None, clock: datetime) -> bool:
        """Withdraw the acknowledgement of a firing alert, and restart its escalations and reminders.

        Args:
            alert: the locked alert.
            comment: the comment, if any.
            clock: the database's current time.

        Returns:
            Whether it was acknowledged.

        Raises:
            ConflictError: `already_resolved`.
        """
        if alert.state != "firing":
            raise refuse_resolved(
                "The alert is resolved already, so its acknowledgement cannot be withdrawn."
            )
        if alert.acknowledged_at is None:
            self.comment(alert, comment)
            return False
        for name in ACKNOWLEDGEMENT_COLUMNS:
            setattr(alert, name, None)
        alert.escalate_at, alert.remind_at = compute_due_times(alert.escalations, alert.remind_us, clock)
        alert.updated_at = self.now
        self.add_entry(alert, "unacknowledged", comment)
        return True

    def assign(self, alert: Alert, assignee: str | None, comment: str | None) -> bool:
        """Assign an alert, firing or not; None removes the assignment. Returns whether it changed."""
        if alert.assignee == assignee:
            self.comment(alert, comment)
            return False
        self.add_entry(alert, "assigned", comment, {"assignee": assignee, "previous": alert.assignee})
        alert.assignee = assignee
        alert.updated_at = self.now
        return True

    def escalate(self, alert: Alert, rule_name: str, severity: Severity, comment: str | None) -> bool:
        """Raise the severity of a firing alert. Its acknowledgement and its timers stay.

        Args:
            alert: the locked alert.
            rule_name: the current name of its rule.
            severity: the new severity, a lower limit from now on.
            comment: the comment, if any.

        Returns:
            True: an alert that has the severity already is refused.

        Raises:
            ConflictError: `already_resolved`, `severity_not_higher`.
        """
        if alert.state != "firing":
            raise refuse_resolved("The alert is resolved already, so it cannot be escalated any more.")
        before, highest = alert.severity, alert.highest_severity
        if rank_severity(severity) <= rank_severity(before):
            raise ConflictError(
                f"The severity of the alert is `{before}` already. Choose a higher one; a critical alert "
                "cannot be escalated.",
                code="severity_not_higher",
            )
        alert.severity = alert.escalated_to = severity
        alert.highest_severity = find_highest_severity((severity, alert.highest_severity))
        alert.escalated_at = alert.updated_at = self.now
        alert.sequence += 1
        cause = {"reason": REASON_PERSON, "previous_severity": before}
        self.add_entry(alert, "escalated", comment, cause)
        # When it is not muted any more, the alert timers publish the changed severity.
        if alert.notified and alert.suppressed is None:
            alert.told_severity = severity
            more = {**cause, "previous_highest_severity": highest}
            self._events.append(build_event("alert.escalated", alert, rule_name, self.now, more))
        return True

    def comment(self, alert: Alert, comment: str | None) -> bool:
        """Add a comment, if there is one. Returns whether there was."""
        if comment is not None:
            self.add_entry(alert, "commented", comment)
        return comment is not None

    def add_entry(
        self, alert: Alert, kind: TimelineKind, comment: str | None, data: dict[str, Any] | None = None
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


def refuse_resolved(detail: str) -> ConflictError:
    """Make the error of an action that needs a firing alert."""
    return ConflictError(detail, code="already_resolved")


def build_event(
    kind: AlertEventType,
    alert: Alert,
    rule_name: str,
    now: datetime,
    more: dict[str, Any] | None = None,
) -> OutboxRecord:
    """Build the outbox record of a change of an alert; the arguments are those of `build_alert_event`."""
    row = {name: getattr(alert, name) for name in ("id", *EVENT_COLUMNS, *ACKNOWLEDGEMENT_COLUMNS)}
    return build_alert_event(kind, row, rule_name, now, more)
