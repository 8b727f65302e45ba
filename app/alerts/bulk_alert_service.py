"""Executes one operation on several alerts, each independently of the others.

Must not wake the dispatcher: the caller does so after its commit.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from app.alerts import muting_service, repository
from app.alerts.alert_actions import AlertAction
from app.alerts.bulk_alert_schemas import (
    AcknowledgeAlerts,
    AlertOperation,
    AlertResult,
    AssignAlerts,
    CommentAlerts,
    EscalateAlerts,
    SilenceAlerts,
)
from app.alerts.models import Alert
from app.alerts.muting_schemas import SilenceCreate
from app.alerts.repository import AlertWithRuleName
from app.platform.db.database import WriteSession
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import NotFoundError, VigieError


class BulkOutcome(NamedTuple):
    """The results in the order of the ids; `has_events` if the outbox has events of the alerts."""

    results: list[AlertResult]
    has_events: bool


async def execute_operation(
    session: WriteSession,
    principal: Principal,
    alert_ids: Sequence[UUID],
    operation: AlertOperation,
    now: datetime,
) -> BulkOutcome:
    """Execute an operation on alerts.

    Args:
        session: the transaction.
        principal: the caller.
        alert_ids: the alerts; duplicates count once.
        operation: the operation.
        now: the current time, aware.

    Raises:
        ForbiddenError: `limited_to_sites`: a silence concerns the whole organisation.
    """
    if isinstance(operation, SilenceAlerts):
        principal.check_whole()
    identifiers = list(dict.fromkeys(alert_ids))
    found = await repository.lock_alerts(session, identifiers, principal.visible())
    run = _BulkRun(session, principal, operation, now, await repository.read_database_clock(session))
    results = [await run.execute(identifier, found.get(identifier)) for identifier in identifiers]
    return BulkOutcome(results, await run.act.finish())


class _BulkRun:
    """The execution of one operation."""

    def __init__(
        self,
        session: WriteSession,
        principal: Principal,
        operation: AlertOperation,
        now: datetime,
        clock: datetime,
    ) -> None:
        self.act = AlertAction.begin(session, principal, now)
        self._session = session
        self._principal = principal
        self._operation = operation
        self._now = now
        self._clock = clock
        self._silences: dict[tuple[UUID, int | None], UUID] = {}

    async def execute(self, identifier: UUID, found: AlertWithRuleName | None) -> AlertResult:
        """Execute the operation on one alert; None was not found."""
        try:
            if found is None:
                raise NotFoundError("alert", identifier)
            if isinstance(self._operation, SilenceAlerts):
                silence_id = await self._silence(found[0], self._operation)
                return AlertResult(id=identifier, result="changed", silence_id=silence_id)
            return AlertResult(id=identifier, result=self._apply(*found))
        except VigieError as error:
            # Before anything was written: the other alerts are not affected.
            return AlertResult(id=identifier, result="error", code=error.code, detail=error.detail)

    def _apply(self, alert: Alert, rule_name: str) -> Literal["changed", "unchanged"]:
        operation, act = self._operation, self.act
        match operation:
            case AcknowledgeAlerts():
                changed = act.acknowledge(alert, rule_name, operation.comment)
            case AssignAlerts():
                changed = act.assign(alert, operation.assignee, operation.comment)
            case EscalateAlerts():
                changed = act.escalate(alert, rule_name, operation.severity, operation.comment)
            case CommentAlerts():
                changed = act.comment(alert, operation.comment)
            case _:
                changed = act.unacknowledge(alert, operation.comment, self._clock)
        return "changed" if changed else "unchanged"

    async def _silence(self, alert: Alert, operation: SilenceAlerts) -> UUID:
        """Create a silence of the alert's rule and box, unless this run has created it."""
        key = alert.rule_id, alert.box_key
        if key not in self._silences:
            body = SilenceCreate(
                alert_id=alert.id,
                ends_at=operation.ends_at,
                duration=operation.duration,
                until=operation.until,
                timezone=operation.timezone,
                comment=operation.comment,
            )
            made = await muting_service.add_silence(self._session, self._principal, body, self._now)
            self._silences[key] = made.silence.id
        return self._silences[key]
