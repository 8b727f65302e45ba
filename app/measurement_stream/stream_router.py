"""Serves the measurement stream over REST: as Server-Sent Events, and in pages for clients that poll.

No database session is held while a stream is open.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials
from fastapi.sse import EventSourceResponse

from app.measurement_stream.formats.format_registry import FORMATS
from app.measurement_stream.formats.json_items import describe_item
from app.measurement_stream.item_reader import START, WHOLE_COMMIT, read_items
from app.measurement_stream.item_stream import ItemStream, StreamRequest, format_reset_event
from app.measurement_stream.items import StreamFilter, StreamPosition
from app.measurement_stream.schemas import ChangesPage, StreamFormat
from app.measurement_stream.stream_cursor import MeasurementCursor
from app.measurement_stream.stream_parameters import (
    MAY_READ,
    Reader,
    ReadRequest,
    StartParameter,
    limit_scope,
    parse_read_request,
)
from app.measurement_stream.stream_tail import MeasurementHub
from app.platform.db.database import RawConnection
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import make_json_response
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.http.streaming.key_check import KeyCheck
from app.platform.http.streaming.stream_slots import StreamSlot
from app.platform.http.streaming.wakeup_hub import DATABASE_TIMEOUT_S
from app.platform.identity.caller_authentication import CallerAuthenticator, Principal, bearer
from app.platform.identity.grant_access import count_granted_values, open_to_grants
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.errors import ConflictError, InvalidError
from app.platform.kernel.instants import US_PER_S, format_us, from_datetime
from app.timeseries.commit_log.stream_positions import StreamHead, read_oldest_time, read_stream_head

router = APIRouter(prefix="/v1/measurements", tags=["Measurement stream"], route_class=StrictRoute)

_LONGEST: Final = 512
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_LIMIT_MOST: Final = 1000
_EXAMPLE: Final = """\
retry: 3000
: keep-alive Vb3m6FsiZXZlbnRzIl0
event: sample
data: {"id":"4711-0","kind":"sample","organisation_id":"…","site_id":"…","box":"box-0001",\
"time":"2026-11-24T10:10:02.000000Z","values":{"pm2_5":12.4},"seq":1042}
id: 1pQ3aFsibWVhc3VyZW1lbnRzIl0

"""
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Items as they are committed, until one side closes the connection",
        "headers": {
            "Last-Event-ID": {
                "description": "The token at which the stream begins, to resume from before the first item",
                "schema": {"type": "string"},
            }
        },
        "content": {"text/event-stream": {"example": _EXAMPLE}},
    },
    **document_problems(401, 403, 404, 422, 429, 503),
}

_Hub = Annotated[MeasurementHub, Depends(make_resource_dependency(MeasurementHub))]
_Request = Annotated[ReadRequest, Depends(parse_read_request)]


class OpenStream(NamedTuple):
    """A stream with its slot, which counts for the limits of streams."""

    request: ReadRequest
    slot: StreamSlot


async def _open_stream(hub: _Hub, principal: Reader, request: _Request) -> AsyncIterator[OpenStream]:
    # Ends after the last byte, or when the client disconnects. It passes the request on: if the route
    # depended on it too, each error of a parameter would be reported twice.
    grant = request.tenant_scope.grant
    holder = None if grant is None else grant.grant_id
    with hub.open_slot(request.organisation, principal.tree, holder) as slot:
        yield OpenStream(request, slot)


@router.get(
    "/stream",
    summary="Stream measurements",
    # FastAPI treats a route with EventSourceResponse as a generator: its errors would come after the
    # response's headers, and its keep-alive has neither a token nor a configurable interval.
    response_class=StreamingResponse,
    responses=_RESPONSES,
)
@open_to_grants("stream")
async def stream_measurements(
    *,
    authenticator: Annotated[CallerAuthenticator, Depends(make_resource_dependency(CallerAuthenticator))],
    hub: _Hub,
    opened: Annotated[OpenStream, Depends(_open_stream)],
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
    format_: Annotated[
        StreamFormat,
        Query(
            alias="format",
            description="Of `data`: `json`, `cloudevents`, `senml` (samples only), or `csv` (samples only, "
            "with the columns `box,site,time` and the metrics)",
        ),
    ] = "json",
    start: StartParameter = "now",
    after: Annotated[
        str | None,
        Query(max_length=_LONGEST, description="Like `Last-Event-ID`, for clients that cannot set headers"),
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(max_length=_LONGEST, description="The `id` of the last item that you got, to resume after it"),
    ] = None,
) -> EventSourceResponse:
    """All committed samples, events and corrections, and settled hours, once and in commit order.

    Late samples are included. The name of an event is the item's `kind`. Without `Last-Event-ID`, the stream
    begins now. If items after that id are no longer stored, `stream.reset` comes first. Comments keep an idle
    connection alive. The response's header `Last-Event-ID` is the token at which the stream begins.
    """
    read, slot = opened
    organisation = read.organisation
    request = StreamRequest(organisation, read.tenant_scope, _limit_kinds(read.filter, format_), format_)
    token, reset = last_event_id or after, b""
    async with asyncio.timeout(DATABASE_TIMEOUT_S), hub.pool.acquire() as connection:
        head = await read_stream_head(connection)
        cursor = await _begin(connection, head, organisation, start)
        if token is not None:
            cursor = MeasurementCursor.read(
                token, organisation, last_assigned=head.last_assigned, now=head.at
            )
            if not cursor.is_retained(head.at, hub.keep_days):
                oldest_us = await _find_oldest(connection, organisation, cursor.offset.position)
                cursor = cursor._replace(at_s=int(head.at.timestamp()))
                reset = format_reset_event(oldest_us, cursor, organisation)

    def allows(principal: Principal) -> bool:
        # The key may have been limited to sites since, or its grant may include less.
        MAY_READ.check(principal)
        is_visible = principal.visible().includes(organisation)
        return is_visible and limit_scope(principal, organisation) == read.tenant_scope

    stream = ItemStream(
        hub,
        slot,
        request=request,
        cursor=cursor,
        allowed=KeyCheck(authenticator, credentials.credentials, allows),
        reset=reset,
    )
    # A client that is disconnected before the reset event has to get it again.
    begins = token if reset and token is not None else stream.token
    return EventSourceResponse(stream.blocks(), headers={**_HEADERS, "Last-Event-ID": begins})


@router.get(
    "/changes",
    summary="Poll measurements",
    response_model=ChangesPage,
    responses=document_problems(401, 403, 404, 409, 422),
)
@open_to_grants("stream")
async def list_changes(
    hub: _Hub,
    request: _Request,
    *,
    start: StartParameter = "now",
    after: Annotated[
        str | None,
        Query(
            max_length=_LONGEST,
            description="The `next` of the previous response, or the `id` of an event of the stream",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=_LIMIT_MOST, description="Items a page")] = 100,
) -> Response:
    """The items of the stream after a token, for clients that poll.

    `next` is always a token: send it as `after` in the next call. A page can have fewer items than `limit`,
    or none, while there are more (`more`). Without `after` the first call begins now, or with the oldest
    stored item (`start=oldest`). If items after the token are no longer stored, the response is 409
    `cursor_expired`.
    """
    organisation = request.organisation
    async with asyncio.timeout(DATABASE_TIMEOUT_S), hub.poll_pool.acquire() as connection:
        head = await read_stream_head(connection)
        cursor = await _begin(connection, head, organisation, start)
        if after is not None:
            cursor = MeasurementCursor.read(
                after, organisation, last_assigned=head.last_assigned, now=head.at
            )
            if not cursor.is_retained(head.at, hub.keep_days):
                oldest_us = await _find_oldest(connection, organisation, cursor.offset.position)
                raise _expired(oldest_us)
        page = await read_items(connection, request.tenant_scope, cursor.offset, request.filter, limit)
    count_granted_values(
        sum(len(item.values) for item in page.items),
        sites={item.site_id for item in page.items},
        metrics={name for item in page.items for name in item.values},
    )
    following = MeasurementCursor(page.next, max(page.next_us // US_PER_S, cursor.at_s))
    return make_json_response(
        {
            "data": [describe_item(item) for item in page.items],
            "next": following.token(organisation),
            "more": page.full,
        }
    )


async def _begin(
    connection: RawConnection, head: StreamHead, organisation: UUID, start: str
) -> MeasurementCursor:
    if start == "oldest" and (oldest_us := await _find_oldest(connection, organisation)) is not None:
        return MeasurementCursor(START, oldest_us // US_PER_S)
    return MeasurementCursor(StreamPosition(head.position, WHOLE_COMMIT), int(head.at.timestamp()))


async def _find_oldest(connection: RawConnection, organisation: UUID, after: int = 0) -> int | None:
    oldest = await read_oldest_time(connection, organisation, after)
    return None if oldest is None else from_datetime(oldest)


def _expired(oldest_us: int | None) -> ConflictError:
    return ConflictError(
        "Items after this token are no longer stored. Read their samples with GET /v1/readings/export, then "
        "continue with `start=oldest`.",
        code="cursor_expired",
        extra={"oldest": None if oldest_us is None else format_us(oldest_us)},
    )


def _limit_kinds(filter_: StreamFilter, format_: StreamFormat) -> StreamFilter:
    """Limit a filter to the kinds that a format can express.

    Raises:
        InvalidError: `format_without_kind`.
    """
    expressible = FORMATS[format_].kinds
    kinds = frozenset(expressible) if filter_.kinds is None else filter_.kinds
    if unfit := sorted(kinds - set(expressible)):
        raise InvalidError(
            f"The format {format_} cannot express items of the kind {unfit[0]}. Use `json` or `cloudevents`, "
            f"or only the kinds {', '.join(expressible)}.",
            code="format_without_kind",
        )
    return replace(filter_, kinds=kinds)
