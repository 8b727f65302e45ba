"""Serves `/v1/alerts/bulk`: one operation on several alerts."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends

from app.alerts.bulk_alert_schemas import AlertsChanged, AlertsOperation
from app.alerts.bulk_alert_service import execute_operation
from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.http.contract.session_dependencies import DatabaseDependency
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope

router: Final = APIRouter(prefix="/v1/alerts/bulk", tags=["Alerts"], route_class=StrictRoute)


@router.post("", summary="Change many alerts")
async def change_alerts(
    principal: Annotated[Principal, Depends(require_scope("alerts:write"))],
    database: DatabaseDependency,
    body: AlertsOperation,
) -> AlertsChanged:
    """Acknowledge, unacknowledge, assign, escalate, silence or comment on up to 100 alerts.

    Each alert has its own result: an error of one does not affect the others. All changes are committed
    together, before the response. `silence` is refused for callers that are limited to some sites (403
    `limited_to_sites`). Send an `Idempotency-Key`, so that a retry changes nothing twice.
    """
    async with database.write() as session:
        outcome = await execute_operation(session, principal, body.ids, body.operation, datetime.now(UTC))
    if outcome.has_events:
        await wake_dispatcher_after(database)
    return AlertsChanged.of(body.operation, outcome.results)
