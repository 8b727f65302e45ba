"""Tells pages that something changed, by server-sent events."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from app.console.framework.console_visit import uses_https
from app.notifications.api.dependencies import WebhookSettingsDependency
from app.notifications.stream.event_stream import StreamFilter
from app.notifications.stream.stream_router import (
    MAY_LISTEN,
    OpenStream,
    StreamQuery,
    start_event_stream,
)
from app.notifications.stream.stream_wakeup_hub import StreamHub
from app.platform.identity.caller_authentication import CallerAuthenticator
from app.platform.identity.session_cookie import CONSOLE_PATH, read_session_cookie
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.errors import UnauthorisedError

router: Final = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)
_Authenticator = Annotated[CallerAuthenticator, Depends(make_resource_dependency(CallerAuthenticator))]
_Hub = Annotated[StreamHub, Depends(make_resource_dependency(StreamHub))]


async def _open_reader_stream(
    request: Request, authenticator: _Authenticator, hub: _Hub
) -> AsyncIterator[tuple[OpenStream, str]]:
    key = read_session_cookie(request.scope, https=uses_https(request))
    if key is None:
        raise UnauthorisedError("Sign in again.")
    principal = await authenticator.authenticate(key, datetime.now(UTC))
    MAY_LISTEN.check(principal)
    query = StreamQuery(principal.organisation_id, StreamFilter(None, None, None))
    # Ends after the last byte, or when the browser disconnects.
    with hub.open_slot(query.organisation, principal.tree) as slot:
        yield OpenStream(query, slot), key


@router.get("/live", response_class=StreamingResponse)
async def stream_changes(
    authenticator: _Authenticator,
    settings: WebhookSettingsDependency,
    hub: _Hub,
    opened: Annotated[tuple[OpenStream, str], Depends(_open_reader_stream)],
) -> EventSourceResponse:
    """Stream the organisation's events. Pages read themselves again when one arrives.

    A browser that may not listen, or finds too many streams open, reads its page at intervals instead.
    """
    stream, key = opened
    return await start_event_stream(
        hub, stream, settings=settings, authenticator=authenticator, key=key, token=None
    )
