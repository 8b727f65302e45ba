"""`/v1/alerts/{alert_id}/explanation`: why an alert fires, in one call. HTTP, and nothing else."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends

from app.alerts import repository
from app.alerts.alert_presentation import MEASUREMENTS, Presenter
from app.alerts.explanation_queries import read_rule, read_samples
from app.alerts.explanation_schemas import LISTED_DELIVERIES, LISTED_ENTRIES, ExplanationOut
from app.alerts.models import Alert
from app.alerts.schemas import TimelineOut
from app.notifications.api.alert_deliveries import list_alert_deliveries
from app.notifications.api.delivery_queries import attempts_of
from app.notifications.api.delivery_schemas import LISTED_ATTEMPTS, DeliveryOut
from app.platform.http.contract.dependencies import Reads
from app.platform.http.contract.problems import documented
from app.platform.http.contract.sorting import Pagination
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import Principal, requires
from app.platform.kernel.ids import parse_id

router = APIRouter(prefix="/v1/alerts", tags=["Alerts"], route_class=StrictRoute)

_Reader = Annotated[Principal, Depends(requires("alerts:read"))]


@router.get(
    "/{alert_id}/explanation",
    summary="Why an alert fires",
    operation_id="get_alert_explanation",
    responses=documented(401, 403, 404),
)
async def get_alert_explanation(
    principal: _Reader, session: Reads, presenter: Presenter, alert_id: str
) -> ExplanationOut:
    """Read why an alert fires, or fired: its rule in words, measurements, what happened, and who was told."""
    visible = principal.visible()
    found = await repository.find(session, parse_id(alert_id, "alert"), visible)
    alert, rule_name = found
    rule, definition = await read_rule(session, alert, rule_name)
    samples = None
    if principal.may(MEASUREMENTS):
        samples = await read_samples(session, alert, definition, visible, datetime.now(UTC))
    entries = await repository.timeline(session, alert.id, Pagination("recorded_at", LISTED_ENTRIES))
    return ExplanationOut(
        alert=await presenter.show_one(session, found),
        rule=rule,
        samples=samples,
        timeline=[TimelineOut.of(row) for row in entries[:LISTED_ENTRIES]],
        deliveries=await _deliveries(session, alert) if principal.may("webhooks:read") else None,
    )


async def _deliveries(session: Reads, alert: Alert) -> list[DeliveryOut]:
    found = await list_alert_deliveries(
        session,
        alert.organisation_id,
        alert.id,
        since=alert.created_at,
        until=alert.updated_at,
        most=LISTED_DELIVERIES,
    )
    attempts = await attempts_of(session, [delivery.id for delivery, _ in found], LISTED_ATTEMPTS)
    return [DeliveryOut.of(delivery, kind, attempts.get(delivery.id, ())) for delivery, kind in found]
