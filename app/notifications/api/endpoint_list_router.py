"""Serves the list of all endpoints, webhooks and channels, with their health: failing ones first."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Integer, Select, Text, case, cast, func, literal, or_, select

from app.notifications.api.delivery_queries import build_state_literal
from app.notifications.api.dependencies import Reader
from app.notifications.api.endpoint_fields import RECIPIENT, Kind
from app.notifications.api.failing_endpoint_queries import MOST_COUNTED
from app.notifications.api.health_queries import HealthState, LastFailure, classify_health
from app.notifications.delivery.endpoint_state_repository import describe_target
from app.notifications.delivery.models import Delivery, Endpoint, EndpointState
from app.platform.http.contract.etags import ResponseModel
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.session_dependencies import ReadSessionDep
from app.platform.http.contract.sorting import PageRequest, SortOrders, number_sort_key, uuid_sort_key
from app.platform.http.contract.strict_body import StrictRoute
from app.registry.dependencies import OrganisationFilter

router: Final = APIRouter(prefix="/v1", tags=["Webhooks"], route_class=StrictRoute)
_RECENT: Final = timedelta(days=1)
# What needs a person comes first; what a person switched off comes last.
_RANK: Final = case(
    (Endpoint.enabled.is_(True) & (EndpointState.consecutive_failures > 0), 0),
    (Endpoint.enabled.is_(False) & Endpoint.disabled_reason.is_not(None), 1),
    (Endpoint.enabled.is_(True) & or_(EndpointState.slow_step > 0, EndpointState.open_until > func.now()), 2),
    (Endpoint.enabled.is_(True), 3),
    else_=4,
).label("rank")
_ORDERS: Final = SortOrders(
    "endpoints",
    (uuid_sort_key(Endpoint.id, lambda row: row.Endpoint.id),),
    {"attention": (number_sort_key(cast(_RANK.element, Integer), lambda row: row.rank),), "created_at": ()},
    "attention",
)


class EndpointSummary(ResponseModel):
    """A webhook or a channel, with the state of its deliveries."""

    id: UUID = Field(description="The id of the webhook or the channel")
    organisation_id: UUID
    kind: Kind = Field(description="`webhook`, or the kind of the channel")
    target: str | None = Field(
        description="Where it delivers to, without secrets and personal data",
        examples=["https://example.com"],
    )
    recipient: Annotated[str | None, RECIPIENT]
    description: str | None
    min_severity: Literal["info", "warning", "critical"] | None = Field(
        description="Alerts below this severity are not sent; null: all are", examples=["warning"]
    )
    site_ids: list[UUID] | None = Field(
        description="The only sites whose events are sent; null: all", examples=[None]
    )
    events: list[str] = Field(examples=[["alert.firing", "alert.resolved"]])
    enabled: bool
    disabled_reason: str | None = Field(
        description="Why Vigie disabled it: `gone` or `failing`; null if it did not", examples=[None]
    )
    state: HealthState = Field(
        description="As in `GET /v1/webhooks/{webhook}/health`, from the attempts of the last day"
    )
    failing_since: datetime | None = Field(description="The first failure since the last success")
    consecutive_failures: int
    last_success_at: datetime | None
    last_failure: LastFailure | None
    open_until: datetime | None = Field(description="No attempt is made before this")
    pending: int = Field(
        description=f"Deliveries that are neither delivered nor given up, counted up to {MOST_COUNTED:,}"
    )
    created_at: datetime


@router.get("/endpoints", summary="List webhooks and channels with their health")
async def list_all_endpoints(
    *,
    principal: Reader,
    session: ReadSessionDep,
    page: Annotated[PageRequest, Depends(_ORDERS.page_request)],
    organisation: OrganisationFilter = None,
    enabled: Annotated[bool | None, Query(description="Only enabled or only disabled endpoints")] = None,
) -> Page[EndpointSummary]:
    """Lists failing endpoints first, then those that Vigie disabled, then all others (`sort=attention`)."""
    statement = _select_endpoints().where(*principal.visible().within(Endpoint.organisation_id))
    if organisation is not None:
        statement = statement.where(Endpoint.organisation_id == organisation)
    if enabled is not None:
        statement = statement.where(Endpoint.enabled.is_(enabled))
    rows = (await session.execute(_ORDERS.page(statement, page))).all()
    shown, following = _ORDERS.cut(rows, page)
    return Page(data=[_present(row) for row in shown], next=following)


def _select_endpoints() -> Select[Any]:
    waiting = select(literal(1)).where(
        Delivery.endpoint_id == Endpoint.id, Delivery.state == build_state_literal("pending")
    )
    some = waiting.limit(MOST_COUNTED).correlate(Endpoint).subquery()
    pending = select(func.count()).select_from(some).scalar_subquery().label("pending")
    target = cast(Endpoint.target, Text).label("stored_target")
    columns = (Endpoint, EndpointState, _RANK, pending, target, func.now().label("now"))
    return select(*columns).outerjoin(EndpointState, EndpointState.endpoint_id == Endpoint.id)


def _present(row: Any) -> EndpointSummary:  # noqa: ANN401 (a row)
    endpoint: Endpoint = row.Endpoint
    state: EndpointState = row.EndpointState or EndpointState(consecutive_failures=0, slow_step=0)
    ended = [at for at in (state.last_success_at, state.last_failure_at) if at is not None]
    recent = sum(at >= row.now - _RECENT for at in ended)
    failure = None
    if state.last_failure_at is not None and state.last_reason is not None:
        failure = LastFailure(time=state.last_failure_at, reason=state.last_reason, status=state.last_status)
    is_open = state.open_until is not None and state.open_until > row.now
    return EndpointSummary(
        id=endpoint.id,
        organisation_id=endpoint.organisation_id,
        kind=endpoint.kind,
        target=describe_target(endpoint.kind, endpoint.url, row.stored_target),
        recipient=endpoint.recipient,
        description=endpoint.description,
        min_severity=endpoint.min_severity,
        site_ids=endpoint.site_ids,
        events=endpoint.events,
        enabled=endpoint.enabled,
        disabled_reason=endpoint.disabled_reason,
        state=classify_health(endpoint, state, row.now, attempts=recent, pending=row.pending),
        failing_since=state.failing_since,
        consecutive_failures=state.consecutive_failures,
        last_success_at=state.last_success_at,
        last_failure=failure,
        open_until=state.open_until if is_open else None,
        pending=row.pending,
        created_at=endpoint.created_at,
    )
