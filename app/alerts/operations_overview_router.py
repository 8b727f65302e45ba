"""Serves `/v1/overview`: firing alerts, inactive boxes and failing webhooks or channels, in one response."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import TypeAdapter

from app.alerts import overview_queries, repository
from app.alerts.alert_presentation import Presenter
from app.alerts.overview_schemas import (
    LISTED_ALERTS,
    LISTED_BOXES,
    LISTED_ENDPOINTS,
    FailingEndpoint,
    FailingEndpoints,
    OverviewOut,
)
from app.alerts.repository import AlertFilter
from app.alerts.schemas import AlertOut
from app.notifications.api.failing_endpoint_queries import (
    count_failing_endpoints,
    list_failing_endpoints,
)
from app.platform.http.contract.session_dependencies import ReaderDependency, ReadSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.registry.box_repository import BoxCounts, read_inactive_boxes
from app.registry.dependencies import CurrentSilenceCriterion, OrganisationFilter

router = APIRouter(prefix="/v1/overview", tags=["Alerts"], route_class=StrictRoute)

_Reader = Annotated[Principal, Depends(require_scope("alerts:read"))]
_LISTED: Final = TypeAdapter(list[FailingEndpoint])


@router.get("", summary="Read current problems")
async def get_overview(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    reader: ReaderDependency,
    presenter: Presenter,
    silence: CurrentSilenceCriterion,
    organisation: OrganisationFilter = None,
) -> OverviewOut:
    """Read current problems: firing alerts, silent and refused boxes, and failing endpoints.

    The response is limited to your tenant scope. Alerts of dry-run rules are left out. Read why an alert
    fires with `GET /v1/alerts/{alert_id}/explanation`.
    """
    visible = principal.visible()
    firing, at_sites = await overview_queries.count_firing(session, visible, organisation)
    boxes: list[BoxCounts] = []
    silent = refused = None
    if principal.may("sites:read"):
        boxes, rows = await read_inactive_boxes(session, visible, silence, organisation, LISTED_BOXES)
        silent, refused = await overview_queries.describe_inactive(session, boxes, rows)
    sites, sites_total = await overview_queries.list_situations(session, at_sites, boxes)
    filter_ = AlertFilter(visible=visible, state="firing", organisation_id=organisation)
    newest = await reader.fetch(repository.compile_alert_page(filter_, PageRequest("-id", LISTED_ALERTS)))
    listed = await presenter.format_rows(newest[:LISTED_ALERTS])
    return OverviewOut(
        at=silence.now,
        firing=firing,
        sites=sites,
        sites_total=sites_total,
        silent_boxes=silent,
        refused_boxes=refused,
        endpoints=await _endpoints(session, principal, organisation),
        newest=[AlertOut.model_validate(each) for each in listed],
    )


async def _endpoints(
    session: ReadSessionDep, principal: Principal, organisation: UUID | None
) -> FailingEndpoints | None:
    if not principal.may("webhooks:read"):
        return None
    counts = await count_failing_endpoints(session, principal.visible(), organisation)
    listed: list[dict[str, Any]] = []
    if counts.failing or counts.disabled:
        found = await list_failing_endpoints(session, principal.visible(), organisation, LISTED_ENDPOINTS)
        listed = [each._asdict() for each in found]
    return FailingEndpoints(
        **counts._asdict(),
        pending=sum(each["pending"] for each in listed),
        listed=_LISTED.validate_python(listed),
    )
