"""The life of an alert beyond its samples: what people do with it, and its end when its rule or box goes.

Must not know HTTP, and must not wake the dispatcher: that is for the caller, after its commit.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.alerts import repository
from app.alerts.alert_events import ACKNOWLEDGEMENT_COLUMNS, EVENT_COLUMNS, AlertEventType, build_alert_event
from app.alerts.alert_timeline import NewTimelineEntry, TimelineKind, write_timeline_in_session
from app.alerts.alert_transitions import compute_due_times
from app.alerts.models import Alert
from app.notifications.events.outbox import OutboxRecord, enqueue_session_events
from app.platform.db.database import WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, VigieError
from app.platform.observability.metrics_and_logs import ALERT_TRANSITIONS


class AlertActionResult(NamedTuple):
    """An alert after what a person did; `told` where something was put into the outbox."""

    alert: Alert
    rule_name: str
    told: bool


class BulkAcknowledgement(NamedTuple):
    """What became of many: `new` now acknowledged, `before` already, `refused` with the error of each."""

    new: list[UUID]
    before: list[UUID]
    refused: list[tuple[UUID, str]]
    told: bool


class AlertAction:
    """What one person does now, with the entries and events that come of it. Made by `begin`."""

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
        """Say who is acting."""
        return cls(session, principal, now)

    def acknowledge(self, alert: Alert, rule_name: str, comment: str | None) -> None:
        """Take note of a firing alert; of one that was taken note of, only the comment is new."""
        if alert.acknowledged_at is not None:
            self.comment(alert, comment)
            return
        if alert.state != "firing":
            raise _resolved("The alert has resolved, and was not acknowledged before: nothing is left to do.")
        alert.acknowledged_at = self.now
        alert.acknowledged_by = self._key_id
        alert.acknowledged_by_kind = self._kind
        alert.acknowledged_by_name = self._actor
        alert.sequence += 1
        alert.updated_at = self.now
        self.enter(alert, "acknowledged", comment)
        # What is muted is not told, but for its end.
        if alert.notified and alert.suppressed is None:
            self._events.append(_event("alert.acknowledged", alert, rule_name, self.now))

    def comment(self, alert: Alert, comment: str | None) -> None:
        """Keep what a person says, if anything."""
        if comment is not None:
            self.enter(alert, "commented", comment)

    def enter(
        self, alert: Alert, kind: TimelineKind, comment: str | None, data: dict[str, str | None] | None = None
    ) -> None:
        """Put something into the alert's timeline."""
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
        """Write it all; True where something is told."""
        await self.session.flush()
        await write_timeline_in_session(self.session, self._entries, self.now)
        await enqueue_session_events(self.session, self._events)
        return bool(self._events)


def _resolved(detail: str) -> ConflictError:
    return ConflictError(detail, code="already_resolved")


async def acknowledge_alert(
    session: WriteSession, principal: Principal, alert_id: UUID, comment: str | None, now: datetime
) -> AlertActionResult:
    """Take note of a firing alert. The first acknowledgement stands; another only adds its comment.

    Raises:
        NotFoundError: no such alert, or another organisation's.
        ConflictError: `already_resolved`: there is nothing left to see to.
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
    """Take note of many alerts: of each that can be, whatever the others are."""
    wanted = list(dict.fromkeys(alert_ids))
    found = await repository.lock_alerts(session, wanted, principal.visible())
    act = AlertAction.begin(session, principal, now)
    new: list[UUID] = []
    before: list[UUID] = []
    refused: list[tuple[UUID, str]] = []
    for identifier in wanted:
        if identifier not in found:
            refused.append((identifier, "not_found"))
            continue
        alert, rule_name = found[identifier]
        place = new if alert.acknowledged_at is None else before
        try:
            act.acknowledge(alert, rule_name, comment)
        except VigieError as error:
            refused.append((identifier, error.code))
        else:
            place.append(identifier)
    return BulkAcknowledgement(new, before, refused, await act.finish())


async def unacknowledge_alert(
    session: WriteSession, principal: Principal, alert_id: UUID, comment: str | None, now: datetime
) -> AlertActionResult:
    """Say that nobody sees to an alert after all: what waits for that is counted anew from now on.

    Raises:
        NotFoundError: no such alert, or another organisation's.
        ConflictError: `already_resolved`.
    """
    alert, rule_name = await repository.lock_alert(session, alert_id, principal.visible())
    if alert.state != "firing":
        raise _resolved("The alert has resolved: who saw to it is history.")
    act = AlertAction.begin(session, principal, now)
    if alert.acknowledged_at is None:
        act.comment(alert, comment)
        return AlertActionResult(alert, rule_name, await act.finish())
    for name in ACKNOWLEDGEMENT_COLUMNS:
        setattr(alert, name, None)
    clock = await repository.read_database_clock(session)
    alert.escalate_at, alert.remind_at = compute_due_times(alert.escalations, alert.remind_us, clock)
    alert.updated_at = now
    act.enter(alert, "unacknowledged", comment)
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
    """Say whose an alert is, firing or not; None: nobody's.

    Raises:
        NotFoundError: no such alert, or another organisation's.
    """
    alert, rule_name = await repository.lock_alert(session, alert_id, principal.visible())
    act = AlertAction.begin(session, principal, now)
    if alert.assignee == assignee:
        act.comment(alert, comment)
    else:
        act.enter(alert, "assigned", comment, {"assignee": assignee, "previous": alert.assignee})
        alert.assignee = assignee
        alert.updated_at = now
    return AlertActionResult(alert, rule_name, await act.finish())


async def add_comment(
    session: WriteSession, principal: Principal, alert_id: UUID, comment: str, now: datetime
) -> AlertActionResult:
    """Keep what somebody says of an alert, firing or not.

    Raises:
        NotFoundError: no such alert, or another organisation's.
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
    """Resolve firing alerts and forget the state behind them; see `app.platform.db.protocols.AlertCloser`.

    Raises:
        ValueError: neither a rule nor a box was given.
    """
    if rule_id is None and box_keys is None:
        raise ValueError("close_alerts needs a rule or a box")
    # First of all: a batch under way ends, and what it fired is seen below.
    await close_ingest_barrier(session)
    locked = await repository.lock_states(session, rule_id, box_keys)
    closed = await repository.resolve_alerts(session, rule_id, box_keys, reason=reason, now=now)
    await repository.clear_rule_states(session, locked, rule_id)
    await repository.delete_index_states(session, rule_id, box_keys)
    await write_timeline_in_session(session, [_ended(alert, reason) for alert, _ in closed], now)
    # An end is told exactly when the beginning was.
    told = [(alert, name) for alert, name in closed if alert.notified]
    await enqueue_session_events(
        session, [_event("alert.resolved", alert, name, now) for alert, name in told]
    )
    for alert, _ in closed:
        ALERT_TRANSITIONS.labels("resolved", alert.severity).inc()
    return len(closed)


def _ended(alert: Alert, reason: str) -> NewTimelineEntry:
    at = alert.resolved_at or alert.updated_at
    return NewTimelineEntry(
        alert.id, alert.organisation_id, "resolved", at, alert.severity, data={"reason": reason}
    )


def _event(kind: AlertEventType, alert: Alert, rule_name: str, now: datetime) -> OutboxRecord:
    row = {name: getattr(alert, name) for name in ("id", *EVENT_COLUMNS, *ACKNOWLEDGEMENT_COLUMNS)}
    return build_alert_event(kind, row, rule_name, now)
