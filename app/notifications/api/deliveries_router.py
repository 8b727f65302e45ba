"""Serves the REST API of deliveries: lists, one delivery, its replay, and test events.

Routes wake the dispatcher after the commit. Routes below an endpoint's path are the same for webhooks and
channels; the functions here add them for either.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app.notifications.api import delivery_queries, webhook_service
from app.notifications.api.delivery_queries import DELIVERIES, DeliveryFilters
from app.notifications.api.delivery_schemas import (
    LISTED_ATTEMPTS,
    SHOWN_ATTEMPTS,
    DeliveryDetail,
    DeliveryOut,
    DeliveryType,
    EventId,
    FailureReason,
)
from app.notifications.api.dependencies import EndpointNoun, Reader, Writer
from app.notifications.api.endpoint_fields import State
from app.notifications.api.webhook_schemas import TestOut
from app.notifications.delivery import single_delivery_replay
from app.notifications.delivery.models import Delivery
from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.http.contract.fields import InstantParameter
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    make_async_dependency,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import FULL_SCOPE, TenantScope

router = APIRouter(prefix="/v1", tags=["Webhooks"], route_class=StrictRoute)


_SEARCHED = (
    f"Searches the newest {delivery_queries.SEARCH_LIMIT:,} deliveries that match the other filters: to find "
    "older ones, give `to`"
)


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """The filters of every list of deliveries."""

    state: Annotated[State | None, Query(description="Only deliveries in this state")] = None
    type: Annotated[
        list[DeliveryType] | None,
        Query(description=f"Only deliveries of this type; may be repeated. {_SEARCHED}"),
    ] = None
    event: Annotated[
        EventId | None,
        Query(description="Only deliveries of this event: its id, or a `webhook-id` (`msg_…`)"),
    ] = None
    reason: Annotated[
        FailureReason | None,
        Query(description=f"Only deliveries that ended their last attempt with this reason. {_SEARCHED}"),
    ] = None
    from_: Annotated[InstantParameter | None, Query(alias="from", description="Created at or after this")] = (
        None
    )
    to: Annotated[InstantParameter | None, Query(description="Created before this")] = None
    replay: Annotated[UUID | None, Query(description="Only deliveries last replayed by this replay")] = None
    alert: Annotated[
        UUID | None,
        Query(
            description="Only deliveries of events of this alert, and of groups that contain it; each with "
            f"its last {SHOWN_ATTEMPTS} attempts"
        ),
    ] = None
    incident: Annotated[
        UUID | None,
        Query(
            description="Only deliveries of events of this incident, not those of its alerts; each with its "
            f"last {SHOWN_ATTEMPTS} attempts",
            examples=["01a2101a-7c44-7d0b-8e21-6a9b3f5c1d72"],
        ),
    ] = None

    def filters(self, *, endpoint: UUID | None = None, organisation: UUID | None = None) -> DeliveryFilters:
        """Convert to the filters of the SQL query (InvalidError `range_reversed`)."""
        if self.from_ is not None and self.to is not None and self.from_ >= self.to:
            raise InvalidError("`from` has to be before `to`.", code="range_reversed")
        return DeliveryFilters(
            endpoint=endpoint,
            organisation=organisation,
            state=self.state,
            types=self.type,
            event=None if self.event is None else UUID(self.event),
            reason=self.reason,
            since=self.from_,
            until=self.to,
            replay=self.replay,
            alert=self.alert,
            incident=self.incident,
        )


DeliveryQueryDependency = Annotated[DeliveryQuery, Depends(make_async_dependency(DeliveryQuery))]
"""The filters of a list of deliveries, for routes."""
DeliveryPageQuery = Annotated[PageRequest, Depends(DELIVERIES.page_request)]
"""The page of a list of deliveries, for routes."""


async def read_delivery_page(
    session: AsyncSession, visible: TenantScope, filters: DeliveryFilters, page: PageRequest
) -> Page[DeliveryOut]:
    """Read a page of deliveries with their last attempts."""
    rows = await delivery_queries.list_deliveries(session, visible, filters, page)
    shown, following = DELIVERIES.cut(rows, page)
    most = LISTED_ATTEMPTS if filters.alert is None and filters.incident is None else SHOWN_ATTEMPTS
    attempts = await delivery_queries.find_last_attempts(session, [row.id for row, _ in shown], most)
    return Page(
        data=[DeliveryOut.of(row, kind, attempts.get(row.id, [])) for row, kind in shown], next=following
    )


@router.get("/deliveries", summary="List deliveries of all endpoints")
async def list_all_deliveries(
    *,
    principal: Reader,
    session: ReadSessionDep,
    query: DeliveryQueryDependency,
    page: DeliveryPageQuery,
    endpoint: Annotated[UUID | None, Query(description="Only deliveries to this webhook or channel")] = None,
    organisation: Annotated[UUID | None, Query(description="Only deliveries of this organisation")] = None,
) -> Page[DeliveryOut]:
    """Deliveries to webhooks and channels, newest first by default, each with its last attempts."""
    filters = query.filters(endpoint=endpoint, organisation=organisation)
    return await read_delivery_page(session, principal.visible(), filters, page)


@router.get("/deliveries/{delivery}", summary="Read a delivery")
async def get_delivery(delivery: str, principal: Reader, session: ReadSessionDep) -> DeliveryDetail:
    """Includes the body that is sent and the last attempts."""
    identifier = parse_id(delivery, "delivery")
    found = await delivery_queries.find_delivery(session, identifier, principal.visible())
    row, kind = _present(found, delivery)
    attempts = await delivery_queries.find_last_attempts(session, [row.id], SHOWN_ATTEMPTS)
    return DeliveryDetail.of(row, kind, attempts.get(row.id, []))


@router.post("/deliveries/{delivery}/replay", status_code=202, summary="Send a delivery again")
async def replay_delivery(delivery: str, principal: Writer, database: DatabaseDependency) -> DeliveryOut:
    """Makes the delivery due now, whatever its state.

    Body and `webhook-id` stay the same, and the retry schedule begins again.
    If the endpoint is disabled, the delivery waits until it is enabled. A delivery that is being sent, or
    that was replayed in the last 10 seconds, is refused (429 `replay_too_soon`).
    """
    identifier = parse_id(delivery, "delivery")
    async with database.write() as session:
        found = await single_delivery_replay.replay_single_delivery(session, identifier, principal.visible())
        row, kind = _present(found, delivery)
        attempts = await delivery_queries.find_last_attempts(session, [row.id], LISTED_ATTEMPTS)
        replayed = DeliveryOut.of(row, kind, attempts.get(row.id, []))
    await wake_dispatcher_after(database)
    return replayed


def _present(found: tuple[Delivery, str] | None, text: str) -> tuple[Delivery, str]:
    if found is None:
        raise NotFoundError("delivery", text)
    return found


def add_delivery_log_route(to: APIRouter, noun: EndpointNoun, *, tag: str, list_as: str) -> None:
    """Add the route that lists an endpoint's deliveries.

    Args:
        to: The router, without a prefix.
        noun: The name of endpoints in paths.
        tag: The tag of the route in the API documentation.
        list_as: The operation id.
    """

    @to.get(
        f"/v1/{noun}s/{{{noun}}}/deliveries",
        tags=[tag],
        operation_id=list_as,
        summary=f"List a {noun}'s deliveries" if noun == "channel" else "List an endpoint's deliveries",
        responses=document_problems(401, 403, 404, 422),
    )
    async def list_deliveries(
        *,
        identifier: Annotated[str, Path(alias=noun)],
        principal: Reader,
        session: ReadSessionDep,
        query: DeliveryQueryDependency,
        page: DeliveryPageQuery,
    ) -> Page[DeliveryOut]:
        """Newest first by default, each with its last attempts."""
        endpoint = await webhook_service.get_endpoint(
            session, parse_id(identifier, noun), principal, noun=noun
        )
        # The caller may see the endpoint, so its deliveries need no second check of the tenant scope.
        return await read_delivery_page(session, FULL_SCOPE, query.filters(endpoint=endpoint.id), page)


def add_test_route(to: APIRouter, noun: EndpointNoun, *, tag: str) -> None:
    """Add the route that sends a test event; the arguments are those of `add_delivery_log_route`."""

    @to.post(
        f"/v1/{noun}s/{{{noun}}}/test",
        status_code=202,
        tags=[tag],
        operation_id=f"test_{noun}",
        summary="Send a test event",
        responses=document_problems(401, 403, 404, 409, 429),
    )
    async def send_test(
        identifier: Annotated[str, Path(alias=noun)], principal: Writer, database: DatabaseDependency
    ) -> TestOut:
        """Sends a `webhook.test` event to the endpoint, whatever it subscribes to.

        Its deliveries show the outcome. An endpoint gets at most ten tests a minute (429 `too_many_tests`).
        """
        async with database.write() as session:
            endpoint = await webhook_service.get_endpoint(
                session, parse_id(identifier, noun), principal, noun=noun, hold=True
            )
            event_id = await webhook_service.send_test_event(session, endpoint, datetime.now(UTC))
        await wake_dispatcher_after(database)
        return TestOut(event_id=event_id, webhook_id=build_message_id(event_id))
