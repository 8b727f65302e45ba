"""Serves `/v1/overview`: current problems in one response, and `/v1/overview/changes`: recent changes."""

import time
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import TypeAdapter

from app.alerts import overview_queries, repository
from app.alerts.alert_presentation import Presenter
from app.alerts.change_queries import ChangesRequest, list_changes
from app.alerts.change_schemas import CHANGES_DAYS, OverviewChanges
from app.alerts.overview_schemas import (
    LISTED_ALERTS,
    LISTED_BOXES,
    LISTED_ENDPOINTS,
    LISTED_INCIDENTS,
    FailingEndpoint,
    FailingEndpoints,
    OpenIncidents,
    OverviewOut,
)
from app.alerts.repository import AlertFilter
from app.alerts.schemas import AlertOut
from app.alerts.stored_sample_rates import StoredSampleRates
from app.notifications.api.failing_endpoint_queries import (
    count_failing_endpoints,
    list_failing_endpoints,
)
from app.platform.http.contract.fields import InstantParameter
from app.platform.http.contract.session_dependencies import ReaderDependency, ReadSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.application_resources import make_resource_dependency
from app.presentation.languages import Language
from app.registry.box_repository import BoxCounts, read_inactive_boxes
from app.registry.dependencies import CurrentSilenceCriterion, OrganisationFilter
from app.sound_incidents.open_incident_queries import list_open_incidents

router = APIRouter(prefix="/v1/overview", tags=["Alerts"], route_class=StrictRoute)

_Reader = Annotated[Principal, Depends(require_scope("alerts:read"))]
RatesDependency = Annotated[StoredSampleRates, Depends(make_resource_dependency(StoredSampleRates))]
_DEFAULT_HOURS: Final = 24
_LISTED: Final = TypeAdapter(list[FailingEndpoint])


@router.get("", summary="Read current problems")
async def get_overview(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    reader: ReaderDependency,
    presenter: Presenter,
    silence: CurrentSilenceCriterion,
    rates: RatesDependency,
    organisation: OrganisationFilter = None,
) -> OverviewOut:
    """Read current problems: alerts, incidents to review, silent and refused boxes, failing endpoints.

    The response is limited to your tenant scope. Alerts of dry-run rules are left out. Read why an alert
    fires with `GET /v1/alerts/{alert_id}/explanation`.
    """
    visible = principal.visible()
    firing, at_sites = await overview_queries.count_firing(session, visible, organisation)
    boxes: list[BoxCounts] = []
    silent = refused = activities = None
    if principal.may("sites:read"):
        boxes, rows = await read_inactive_boxes(session, visible, silence, organisation, LISTED_BOXES)
        silent, refused = await overview_queries.describe_inactive(session, boxes, rows)
        activities = overview_queries.sum_activities(boxes)
    sites, sites_total = await overview_queries.list_situations(session, at_sites, boxes)
    filter_ = AlertFilter(visible=visible, state="firing", organisation_id=organisation)
    newest = await reader.fetch(repository.compile_alert_page(filter_, PageRequest("-id", LISTED_ALERTS)))
    listed = await presenter.format_rows(newest[:LISTED_ALERTS])
    return OverviewOut(
        at=silence.now,
        firing=firing,
        sites=sites,
        sites_total=sites_total,
        boxes=activities,
        samples_per_s=await _rate(session, principal, organisation, rates, silence.now),
        silent_boxes=silent,
        refused_boxes=refused,
        endpoints=await _endpoints(session, principal, organisation),
        open_incidents=await _incidents(session, principal, organisation),
        newest=[AlertOut.model_validate(each) for each in listed],
    )


@router.get("/changes", summary="List recent changes")
async def list_overview_changes(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    silence: CurrentSilenceCriterion,
    since: Annotated[
        InstantParameter | None,
        Query(
            description=f"Only changes at or after this; by default {_DEFAULT_HOURS} hours ago, at most "
            f"{CHANGES_DAYS} days ago"
        ),
    ] = None,
    language: Annotated[Language, Query(description="The language of sentences")] = "en",
    organisation: OrganisationFilter = None,
) -> OverviewChanges:
    """List what changed since a time, the newest first.

    - `alert.…`: alerts that fired, changed their severity, were acknowledged or resolved, as endpoints get
      them.
    - `incident.…`: incidents that were detected or reviewed. They need `incidents:read`.
    - `endpoint.…`: webhooks and channels that fail or were disabled. They need `webhooks:read`.
    - `rule.…`: rules that were created, changed or deleted. They need `rules:read`.
    - `box.…`: boxes that became silent, or reported that they are online or offline, by their latest change.
      They need `sites:read`.

    Changes that need a scope that you lack are left out.
    """
    earliest = silence.now - timedelta(days=CHANGES_DAYS)
    start = silence.now - timedelta(hours=_DEFAULT_HOURS) if since is None else max(since, earliest)
    request = ChangesRequest(principal, organisation, start, language)
    listed, truncated = await list_changes(session, request, silence)
    return OverviewChanges(as_of=silence.now, since=start, data=listed, truncated=truncated)


async def _rate(
    session: ReadSessionDep,
    principal: Principal,
    organisation: UUID | None,
    rates: StoredSampleRates,
    now: datetime,
) -> float | None:
    visible = principal.visible()
    # Samples are counted by organisation, not by site.
    if not principal.may("telemetry:read") or visible.sites is not None:
        return None
    total = await overview_queries.count_stored_samples(session, visible, organisation, now.date())
    return rates.add((visible, organisation), total, time.monotonic())


async def _incidents(
    session: ReadSessionDep, principal: Principal, organisation: UUID | None
) -> OpenIncidents | None:
    if not principal.may("incidents:read"):
        return None
    rows, total = await list_open_incidents(session, principal.visible(), organisation, LISTED_INCIDENTS)
    return overview_queries.describe_open_incidents(rows, total)


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
