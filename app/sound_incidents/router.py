"""Serves `/v1/incidents`: lists (JSON or GeoJSON, RFC 7946), details, reviews and statistics."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Response

from app.notifications.events.incident_event_schemas import Evidence, IncidentState
from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.db.database import Database
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import InstantParameter
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    make_json_response,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.ids import parse_id
from app.registry.dependencies import OrganisationFilter
from app.registry.site_repository import find_site
from app.sound_incidents import incident_queries
from app.sound_incidents.incident_queries import GeoCircle, IncidentFilter
from app.sound_incidents.incident_statistics import CONFIDENCE_LEVEL, read_incident_statistics
from app.sound_incidents.review_service import ReviewFinding, review_incident
from app.sound_incidents.schemas import (
    IncidentDetail,
    IncidentOut,
    IncidentReview,
    IncidentStatisticsOut,
    PrecisionInterval,
)

MEDIA_TYPE: Final = "application/geo+json"


def build_feature_collection(incidents: Sequence[IncidentOut], following: str | None) -> dict[str, Any]:
    """Build a FeatureCollection: each feature has an incident's geometry, or null, and its other fields.

    Args:
        incidents: the incidents, in their order.
        following: the cursor of the next page, as a foreign member (RFC 7946, 6.1).
    """
    features = []
    for each in incidents:
        shown = each.model_dump(mode="json", by_alias=True)
        geometry = shown.pop("geometry")
        features.append({"type": "Feature", "id": shown["id"], "geometry": geometry, "properties": shown})
    return {"type": "FeatureCollection", "features": features, "next": following}


router: Final = APIRouter(prefix="/v1", tags=["Incidents"], route_class=StrictRoute)

Reader = Annotated[Principal, Depends(require_scope("incidents:read"))]
Writer = Annotated[Principal, Depends(require_scope("incidents:write"))]
_PageQuery = Annotated[PageRequest, Depends(incident_queries.INCIDENTS.page_request)]
_FARTHEST_M: Final = 100_000.0
_EAST, _NORTH = 180.0, 90.0
_RANGE: Final = timedelta(days=90)
_NUMBER: Final = r"-?[0-9]{1,6}(\.[0-9]{1,16})?"
_EXAMPLE: Final[dict[str, Any]] = {"type": "FeatureCollection", "features": [], "next": None}


async def _filter(
    *,
    principal: Reader,
    organisation: OrganisationFilter = None,
    site: Annotated[str | None, Query(description="Only of this site")] = None,
    state: Annotated[IncidentState | None, Query(description="Only in this state")] = None,
    evidence: Annotated[Evidence | None, Query(description="Only with this evidence")] = None,
    min_probability: Annotated[
        float | None,
        Query(ge=0, le=1, description="Only with at least this probability of a gunshot or an explosion"),
    ] = None,
    near: Annotated[
        str | None,
        Query(
            pattern=rf"^{_NUMBER},{_NUMBER},{_NUMBER}$",
            description="Only with a position in this circle: longitude, latitude (degrees), radius (m)",
            examples=["1.4442,43.6047,500"],
        ),
    ] = None,
    start: Annotated[
        InstantParameter | None, Query(alias="from", description="Occurred at this time or later")
    ] = None,
    end: Annotated[
        InstantParameter | None, Query(alias="to", description="Occurred before this time")
    ] = None,
) -> IncidentFilter:
    if start is not None and end is not None and start >= end:
        raise InvalidError("`from` must be before `to`.", code="range_reversed")
    return IncidentFilter(
        visible=principal.visible(),
        organisation_id=organisation,
        site_id=None if site is None else parse_id(site, "site"),
        state=state,
        evidence=evidence,
        min_probability=min_probability,
        start=start,
        end=end,
        near=None if near is None else _circle(near),
    )


def _circle(near: str) -> GeoCircle:
    longitude, latitude, radius = (float(part) for part in near.split(","))
    if not (abs(longitude) <= _EAST and abs(latitude) <= _NORTH and 0 < radius <= _FARTHEST_M):
        raise InvalidError(
            f"`near` is invalid. Send longitude,latitude,radius: degrees, and metres up to {_FARTHEST_M:g}.",
            code="invalid_near",
        )
    return GeoCircle(longitude, latitude, radius)


@router.get(
    "/incidents",
    summary="List incidents",
    response_model=Page[IncidentOut],
    responses={
        **document_problems(404),
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "object"}, "example": _EXAMPLE}}},
    },
)
async def list_incidents(
    session: ReadSessionDep,
    filter_: Annotated[IncidentFilter, Depends(_filter)],
    query: _PageQuery,
    *,
    format_: Annotated[
        Literal["json", "geojson"],
        Query(alias="format", description="`geojson`: a FeatureCollection (RFC 7946) with a `next` member"),
    ] = "json",
) -> Page[IncidentOut] | Response:
    """List incidents, by default the newest first.

    `?state=open` lists those without a review. Erased incidents are left out.
    """
    rows, following = incident_queries.INCIDENTS.cut(
        await incident_queries.list_incidents(session, filter_, query), query
    )
    page: Page[IncidentOut] = Page(data=[IncidentOut.of(row) for row in rows], next=following)
    if format_ == "json":
        return page
    response = make_json_response(build_feature_collection(page.data, following))
    response.headers["Content-Type"] = MEDIA_TYPE
    return response


@router.get("/incidents/{incident_id}", summary="Read an incident")
async def get_incident(principal: Reader, session: ReadSessionDep, incident_id: str) -> IncidentDetail:
    """Read one incident with its events, their residuals, and its history."""
    row = await incident_queries.find_incident(
        session, parse_id(incident_id, "incident"), principal.visible()
    )
    return IncidentDetail.whole(
        row,
        await incident_queries.list_incident_events(session, row.id),
        await incident_queries.list_incident_history(session, row.id),
    )


@router.post("/incidents/{incident_id}/confirm", summary="Confirm an incident")
async def confirm_incident(
    principal: Writer,
    database: DatabaseDependency,
    incident_id: str,
    body: IncidentReview,
    matching: PreconditionDep,
) -> IncidentOut:
    """Confirm that the incident happened. Endpoints receive `incident.confirmed`.

    Only a signed-in person can review: an API key is refused with 403 `person_required`. A second review is
    refused with 409 `already_reviewed`. To correct a review, send the incident's `sequence`; the earlier
    review stays in the history.
    """
    return await _review(principal, database, incident_id, ("confirmed", body), matching)


@router.post("/incidents/{incident_id}/dismiss", summary="Dismiss an incident")
async def dismiss_incident(
    principal: Writer,
    database: DatabaseDependency,
    incident_id: str,
    body: IncidentReview,
    matching: PreconditionDep,
) -> IncidentOut:
    """Dismiss the incident as a false alarm, with its real source. Endpoints receive `incident.dismissed`."""
    return await _review(principal, database, incident_id, ("dismissed", body), matching)


async def _review(
    principal: Principal,
    database: Database,
    incident_id: str,
    review: tuple[ReviewFinding, IncidentReview],
    matching: PreconditionDep,
) -> IncidentOut:
    finding, body = review
    # A separate session: the dispatcher must be woken after the commit.
    async with database.write() as session:
        row = await review_incident(
            session,
            principal,
            parse_id(incident_id, "incident"),
            finding=finding,
            review=body,
            now=datetime.now(UTC),
            check=matching.on(IncidentOut.of),
        )
        shown = IncidentOut.of(row)
    await wake_dispatcher_after(database)
    return shown


@router.get("/sites/{site_id}/incident-statistics", summary="Read incident statistics of a site")
async def get_incident_statistics(
    principal: Reader,
    session: ReadSessionDep,
    site_id: str,
    *,
    start: Annotated[
        InstantParameter | None,
        Query(alias="from", description="Detected at this time or later; by default 90 days before `to`"),
    ] = None,
    end: Annotated[
        InstantParameter | None, Query(alias="to", description="Detected before this time; by default now")
    ] = None,
) -> IncidentStatisticsOut:
    """Count the incidents of a site by state, with precision, false alarm rate and median review time."""
    last = end or datetime.now(UTC)
    first = start or last - _RANGE
    if first >= last:
        raise InvalidError("`from` must be before `to`.", code="range_reversed")
    site = await find_site(session, parse_id(site_id, "site"), principal.visible())
    if site is None:
        raise NotFoundError("site", site_id)
    found = await read_incident_statistics(session, site.id, first, last)
    interval = found.precision_interval
    return IncidentStatisticsOut.model_validate(
        {
            "site_id": site.id,
            "from": first,
            "to": last,
            "open": found.open,
            "confirmed": found.confirmed,
            "dismissed": found.dismissed,
            "withdrawn": found.withdrawn,
            "precision": found.precision,
            "precision_interval": None
            if interval is None
            else PrecisionInterval(low=interval[0], high=interval[1], level=CONFIDENCE_LEVEL),
            "unreviewed_share": found.unreviewed_share,
            "median_review_s": found.median_review_s,
            "boxes": found.boxes,
            "days": found.days,
            "false_alarms_per_box_day": found.false_alarms_per_box_day,
        }
    )
