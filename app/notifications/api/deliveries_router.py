"""REST for what was sent to endpoints of any kind: the log, one of it, a test.

Owns the HTTP side only: shapes, statuses, who may call. What wakes the dispatcher does so after the commit.
What stands below an endpoint's path is the same for webhooks and channels, and made for both here.
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
from app.notifications.api.dependencies import DatabaseDependency, EndpointNoun, Reader, Writer
from app.notifications.api.endpoint_fields import State
from app.notifications.api.endpoint_schemas import TestOut
from app.notifications.delivery import replay_one
from app.notifications.delivery.models import Delivery
from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.http.contract.dependencies import ReadSessionDep, make_async_dependency
from app.platform.http.contract.fields import InstantParameter
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import FULL_SCOPE, TenantScope

router = APIRouter(prefix="/v1", tags=["Webhooks"], route_class=StrictRoute)


_LOOKED = (
    f"Looked for among the newest {delivery_queries.SEARCH_LIMIT:,} that the other filters leave: for "
    "older ones give `to`"
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every list of deliveries can be filtered by."""

    state: Annotated[State | None, Query(description="Only those in this state")] = None
    type: Annotated[
        list[DeliveryType] | None, Query(description=f"Of this type; may be repeated. {_LOOKED}")
    ] = None
    event: Annotated[
        EventId | None, Query(description="Of this event: its id, or a `webhook-id` (`msg_…`)")
    ] = None
    reason: Annotated[FailureReason | None, Query(description=f"Whose last attempt ended so. {_LOOKED}")] = (
        None
    )
    from_: Annotated[InstantParameter | None, Query(alias="from", description="Created at or after this")] = (
        None
    )
    to: Annotated[InstantParameter | None, Query(description="Created before this")] = None
    replay: Annotated[UUID | None, Query(description="Last sent again with this replay")] = None

    def filters(self, *, endpoint: UUID | None = None, organisation: UUID | None = None) -> DeliveryFilters:
        """The same, for the query (InvalidError `range_reversed`)."""
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
        )


_Wanted = Annotated[_Asked, Depends(make_async_dependency(_Asked))]
_Page = Annotated[PageRequest, Depends(DELIVERIES.page_request)]


async def _page(
    session: AsyncSession, visible: TenantScope, wanted: DeliveryFilters, asked: PageRequest
) -> Page[DeliveryOut]:
    rows = await delivery_queries.list_deliveries(session, visible, wanted, asked)
    kept, following = DELIVERIES.cut(rows, asked)
    attempts = await delivery_queries.find_last_attempts(
        session, [row.id for row, _ in kept], LISTED_ATTEMPTS
    )
    return Page(
        data=[DeliveryOut.of(row, kind, attempts.get(row.id, [])) for row, kind in kept], next=following
    )


@router.get(
    "/deliveries",
    operation_id="list_all_deliveries",
    summary="List deliveries of all endpoints",
    responses=document_problems(401, 403, 422),
)
async def list_all_deliveries(
    *,
    principal: Reader,
    session: ReadSessionDep,
    wanted: _Wanted,
    asked: _Page,
    endpoint: Annotated[UUID | None, Query(description="Of this webhook or channel")] = None,
    organisation: Annotated[UUID | None, Query(description="Of this organisation alone")] = None,
) -> Page[DeliveryOut]:
    """Of webhooks and channels, by default the newest first, each with its last attempts."""
    filters = wanted.filters(endpoint=endpoint, organisation=organisation)
    return await _page(session, principal.visible(), filters, asked)


@router.get(
    "/deliveries/{delivery}",
    operation_id="get_delivery",
    summary="Read a delivery",
    responses=document_problems(401, 403, 404),
)
async def get_delivery(delivery: str, principal: Reader, session: ReadSessionDep) -> DeliveryDetail:
    """With the body that is sent, and the last attempts."""
    identifier = parse_id(delivery, "delivery")
    found = await delivery_queries.find_delivery(session, identifier, principal.visible())
    row, kind = _present(found, delivery)
    attempts = await delivery_queries.find_last_attempts(session, [row.id], SHOWN_ATTEMPTS)
    return DeliveryDetail.of(row, kind, attempts.get(row.id, []))


@router.post(
    "/deliveries/{delivery}/replay",
    status_code=202,
    operation_id="replay_delivery",
    summary="Send a delivery again",
    responses=document_problems(401, 403, 404, 429),
)
async def replay_delivery(delivery: str, principal: Writer, database: DatabaseDependency) -> DeliveryOut:
    """Due now, whatever its state: the same body and `webhook-id`, and the retry schedule from its beginning.

    For a disabled endpoint it waits until that is enabled. Not while it is being sent, nor within 10 seconds
    of having been sent again (429 `replay_too_soon`).
    """
    identifier = parse_id(delivery, "delivery")
    async with database.write() as session:
        found = await replay_one.replay_single_delivery(session, identifier, principal.visible())
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
    """Add an endpoint's log below its path.

    Args:
        to: The router, without a prefix.
        noun: What the endpoints are called in paths.
        tag: Under which tag of the documentation.
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
        wanted: _Wanted,
        asked: _Page,
    ) -> Page[DeliveryOut]:
        """By default the newest first, each with its last attempts."""
        endpoint = await webhook_service.get_endpoint(
            session, parse_id(identifier, noun), principal, noun=noun
        )
        # The endpoint is the caller's: that its deliveries are too need not be asked again.
        return await _page(session, FULL_SCOPE, wanted.filters(endpoint=endpoint.id), asked)


def add_test_route(to: APIRouter, noun: EndpointNoun, *, tag: str) -> None:
    """Add an endpoint's test below its path; the arguments are those of `add_delivery_log_route`."""

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
        """Sends a `webhook.test` there, whatever is subscribed to; the deliveries show what came of it.

        At most ten in a minute (429 `too_many_tests`).
        """
        async with database.write() as session:
            endpoint = await webhook_service.get_endpoint(
                session, parse_id(identifier, noun), principal, noun=noun, hold=True
            )
            event_id = await webhook_service.send_test_event(session, endpoint, datetime.now(UTC))
        await wake_dispatcher_after(database)
        return TestOut(event_id=event_id, webhook_id=build_message_id(event_id))
