"""Serves the event stream as Server-Sent Events.

No database session is held while a stream is open.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials
from fastapi.sse import EventSourceResponse
from pydantic import Field

from app.notifications.api.dependencies import WebhookSettingsDependency
from app.notifications.events.event_types import ALL_EVENTS, EVENTS, TEST_EVENT
from app.notifications.settings import WebhookSettings
from app.notifications.stream.event_stream import EventStream, StreamCursor, StreamFilter, format_reset_event
from app.notifications.stream.stream_queries import read_oldest_time, read_stream_head
from app.notifications.stream.stream_wakeup_hub import StreamHub
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import DatabaseDependency
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.http.streaming.key_check import KeyCheck
from app.platform.http.streaming.stream_slots import StreamSlot
from app.platform.http.streaming.wakeup_hub import DATABASE_TIMEOUT_S
from app.platform.identity.caller_authentication import (
    CallerAuthenticator,
    Principal,
    bearer,
    require_scope,
)
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.organisation_repository import find_organisation
from app.registry.site_repository import find_site

router = APIRouter(prefix="/v1", tags=["Event stream"], route_class=StrictRoute)

_TYPES: Final = (*EVENTS, TEST_EVENT)
_NAMED: Final = "|".join(re.escape(each) for each in (ALL_EVENTS, *_TYPES))
_LISTED: Final = rf"^\s*({_NAMED})\s*(,\s*({_NAMED})\s*)*$"
_LONGEST: Final = 512
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_EXAMPLE: Final = """\
retry: 3000
: keep-alive Vb3m6FsiZXZlbnRzIl0
event: alert.firing
data: {"id":"msg_01a21017c4e97abfa8ae97180a390a41","type":"alert.firing","timestamp":"2026-11-24T10:10:02Z",\
"data":{"alert_id":"…","box":"box-0001","metric":"pm2_5","value":31.2,"severity":"warning","sequence":1}}
id: 1pQ3aFsiZXZlbnRzIl0

"""
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events as they happen, until one side closes the connection",
        "headers": {
            "Last-Event-ID": {
                "description": "The token at which the stream begins, to resume from before the first event",
                "schema": {"type": "string"},
            }
        },
        "content": {"text/event-stream": {"example": _EXAMPLE}},
    },
    **document_problems(401, 403, 404, 422, 429, 503),
}


_Hub = Annotated[StreamHub, Depends(make_resource_dependency(StreamHub))]
MAY_LISTEN: Final = require_scope("alerts:read", whole=True)
"""The scope that a reader of the stream needs."""
_Reader = Annotated[Principal, Depends(MAY_LISTEN)]


class StreamQuery(NamedTuple):
    """The events of a stream.

    Attributes:
        organisation: The organisation that they belong to.
        events: Which of its events.
    """

    organisation: UUID
    events: StreamFilter


def _types(given: list[str] | None) -> frozenset[str] | None:
    """Parse the `types` parameter; None: all types."""
    if given is None:
        return None
    names = {name.strip() for text in given for name in text.split(",")}
    for name in sorted(names):
        if name != ALL_EVENTS and name not in _TYPES:
            raise InvalidError(
                f"{format_rejected_value(name)} is not an event. Use any of: {ALL_EVENTS}, "
                f"{', '.join(_TYPES)}",
                code="unknown_event_type",
            )
    return None if ALL_EVENTS in names else frozenset(names)


async def _query(
    *,
    principal: _Reader,
    database: DatabaseDependency,
    types: Annotated[
        list[Annotated[str, Field(json_schema_extra={"pattern": _LISTED})]] | None,
        Query(max_length=32, description="Only events of these types: repeated, or separated by commas"),
    ] = None,
    site: Annotated[UUID | None, Query(description="Only events of this site")] = None,
    min_severity: Annotated[
        Literal["info", "warning", "critical"] | None,
        Query(
            description="Only alerts that have or had at least this severity, and events without a severity"
        ),
    ] = None,
    organisation: Annotated[
        UUID | None,
        Query(description="For the platform's administrators: the organisation. Default: the key's own"),
    ] = None,
) -> StreamQuery:
    """Parse the query parameters: the organisation and the filter."""
    owner = principal.organisation_id if organisation is None else organisation
    events = StreamFilter(_types(types), site, min_severity)
    async with database.read() as session:
        if await find_organisation(session, owner, principal.visible()) is None:
            raise NotFoundError("organisation", owner)
        if site is not None and await find_site(session, site, TenantScope.of([owner])) is None:
            raise NotFoundError("site", site)
    return StreamQuery(owner, events)


class OpenStream(NamedTuple):
    """A stream with its slot.

    Attributes:
        query: The events.
        slot: Counts for the limits of streams.
    """

    query: StreamQuery
    slot: StreamSlot


async def _open_stream(
    hub: _Hub, principal: _Reader, query: Annotated[StreamQuery, Depends(_query)]
) -> AsyncIterator[OpenStream]:
    # Ends after the last byte, or when the client disconnects. It passes the query on: if the route depended
    # on it too, each error of a parameter would be reported twice.
    with hub.open_slot(query.organisation, principal.tree) as slot:
        yield OpenStream(query, slot)


@router.get(
    "/events/stream",
    summary="Stream events",
    # FastAPI treats a route with EventSourceResponse as a generator: its errors would come after the
    # response's headers, and its keep-alive has neither a token nor a configurable interval.
    response_class=StreamingResponse,
    responses=_RESPONSES,
)
async def stream_events(
    *,
    authenticator: Annotated[CallerAuthenticator, Depends(make_resource_dependency(CallerAuthenticator))],
    settings: WebhookSettingsDependency,
    hub: _Hub,
    opened: Annotated[OpenStream, Depends(_open_stream)],
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
    after: Annotated[
        str | None,
        Query(max_length=_LONGEST, description="Like `Last-Event-ID`, for clients that cannot set headers"),
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            max_length=_LONGEST, description="The `id` of the last event that you got, to resume after it"
        ),
    ] = None,
) -> EventSourceResponse:
    """All events of the organisation, in order, as Server-Sent Events (`text/event-stream`).

    `data` is a webhook's body with the `webhook-id` as `id`. Without `Last-Event-ID`, the stream begins now.
    If events after that id are no longer stored, `stream.reset` comes first: read `GET /v1/alerts` then.
    Comments keep an idle connection alive. The response's header `Last-Event-ID` is the token at which the
    stream begins: if you are disconnected before the first event, resume from it.
    """
    return await start_event_stream(
        hub,
        opened,
        settings=settings,
        authenticator=authenticator,
        key=credentials.credentials,
        token=last_event_id or after,
    )


async def start_event_stream(
    hub: StreamHub,
    opened: OpenStream,
    *,
    settings: WebhookSettings,
    authenticator: CallerAuthenticator,
    key: str,
    token: str | None,
) -> EventSourceResponse:
    """Start the response of an open stream.

    Args:
        hub: Wakes streams.
        opened: The organisation, the filter and the slot.
        settings: How long events are stored.
        authenticator: Checks from time to time whether the key is still valid.
        key: The API key or session token of the reader.
        token: The token to resume after; None: the stream begins now.
    """
    query, slot = opened
    organisation = query.organisation
    reset = b""
    async with asyncio.timeout(DATABASE_TIMEOUT_S), hub.pool.acquire() as connection:
        newest = await read_stream_head(connection)
        mark = StreamCursor(newest.position, newest.at)
        if token is not None:
            mark = StreamCursor.read(token, organisation, newest)
            if not mark.is_retained(newest, settings.keep_events_days):
                oldest = await read_oldest_time(connection, organisation, mark.position)
                mark = mark._replace(at=newest.at)
                reset = format_reset_event(oldest, mark, organisation)

    def allows(principal: Principal) -> bool:
        # The same check as when the stream was opened: the key may have been limited to sites since.
        MAY_LISTEN.check(principal)
        return principal.visible().includes(organisation)

    stream = EventStream(
        hub,
        slot,
        mark=mark,
        filter_=query.events,
        allowed=KeyCheck(authenticator, key, allows),
        reset=reset,
    )
    # A client that is disconnected before the reset event has to get it again.
    begins = token if reset and token is not None else stream.token
    return EventSourceResponse(stream.blocks(), headers={**_HEADERS, "Last-Event-ID": begins})
