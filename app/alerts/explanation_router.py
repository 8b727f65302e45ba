"""Serves `/v1/alerts/{alert_id}/explanation`: why an alert fires, in one response."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends

from app.alerts import repository
from app.alerts.alert_presentation import MEASUREMENTS_SCOPE, Presenter
from app.alerts.explanation_queries import read_rule_at_firing, read_samples_around
from app.alerts.explanation_schemas import LISTED_DELIVERIES, LISTED_ENTRIES, ExplanationOut
from app.alerts.models import Alert
from app.alerts.schemas import TimelineOut
from app.notifications.api.delivery_queries import find_last_attempts, list_alert_deliveries
from app.notifications.api.delivery_schemas import LISTED_ATTEMPTS, DeliveryOut
from app.platform.http.contract.dependencies import ReadSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import Principal, require_scope
from app.platform.kernel.ids import parse_id

router = APIRouter(prefix="/v1/alerts", tags=["Alerts"], route_class=StrictRoute)

_Reader = Annotated[Principal, Depends(require_scope("alerts:read"))]


@router.get("/{alert_id}/explanation", summary="Explain an alert")
async def get_alert_explanation(
    principal: _Reader, session: ReadSessionDep, presenter: Presenter, alert_id: str
) -> ExplanationOut:
    """Read why an alert fires, or fired: its rule in words, measurements, timeline and deliveries."""
    visible = principal.visible()
    found = await repository.find_alert(session, parse_id(alert_id, "alert"), visible)
    alert, rule_name = found
    rule, definition = await read_rule_at_firing(session, alert, rule_name)
    samples = None
    if principal.may(MEASUREMENTS_SCOPE):
        samples = await read_samples_around(session, alert, definition, visible, datetime.now(UTC))
    entries = await repository.list_timeline_entries(
        session, alert.id, PageRequest("recorded_at", LISTED_ENTRIES)
    )
    return ExplanationOut(
        alert=await presenter.show_one(session, found),
        rule=rule,
        samples=samples,
        timeline=[TimelineOut.of(row) for row in entries[:LISTED_ENTRIES]],
        deliveries=await _deliveries(session, alert) if principal.may("webhooks:read") else None,
    )


async def _deliveries(session: ReadSessionDep, alert: Alert) -> list[DeliveryOut]:
    found = await list_alert_deliveries(
        session,
        alert.organisation_id,
        alert.id,
        since=alert.created_at,
        until=alert.updated_at,
        most=LISTED_DELIVERIES,
    )
    attempts = await find_last_attempts(session, [delivery.id for delivery, _ in found], LISTED_ATTEMPTS)
    return [DeliveryOut.of(delivery, kind, attempts.get(delivery.id, ())) for delivery, kind in found]
