"""Marks routes as deprecated, in the OpenAPI document and in the headers of their responses.

    @router.get("/v1/old", **mark_deprecated(since=JANUARY, sunset=AUGUST, link="/docs#/Sites/list_sites"))

The headers are those of RFC 9745 (`Deprecation`, with `Link` to the replacement) and RFC 8594 (`Sunset`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final, TypedDict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.buffered_response import append_headers, map_response_start

MIN_NOTICE_PERIOD: Final = timedelta(days=180)
"""The least time between a route's deprecation and its removal."""

_EXTENSION: Final = "x-deprecation"


class DeprecatedRouteArguments(TypedDict):
    """Arguments of a route's decorator."""

    deprecated: bool
    openapi_extra: dict[str, Any]


def mark_deprecated(
    *, since: datetime, sunset: datetime, link: str, openapi_extra: Mapping[str, Any] | None = None
) -> DeprecatedRouteArguments:
    """Mark a route deprecated.

    Args:
        since: Time of the deprecation (aware).
        sunset: Time of the removal (aware), at least `MIN_NOTICE_PERIOD` later.
        link: Page that describes the replacement: a URL, or a path of this API.
        openapi_extra: Other extensions of the route.

    Raises:
        ValueError: The removal comes too soon, or the link is not valid in a header.
    """
    if sunset - since < MIN_NOTICE_PERIOD:
        raise ValueError(f"a route is deprecated for {MIN_NOTICE_PERIOD.days} days at least before it goes")
    if not link.isascii() or set(link) & set("<> \r\n"):
        raise ValueError("a link in a header has neither spaces nor angle brackets")
    entry = {"since": since.isoformat(), "sunset": sunset.isoformat(), "link": link}
    return {"deprecated": True, "openapi_extra": {**(openapi_extra or {}), _EXTENSION: entry}}


class DeprecationMiddleware:
    """ASGI middleware that adds deprecation headers to every response of deprecated routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        def add_headers(message: Message) -> Message:
            deprecated = getattr(scope.get("route"), "deprecated", None)
            return append_headers(message, _headers(scope["route"])) if deprecated else message

        await self._app(scope, receive, map_response_start(send, add_headers))


def _headers(route: Any) -> list[tuple[bytes, bytes]]:  # noqa: ANN401 (whatever kind of route it is)
    entry = (route.openapi_extra or {}).get(_EXTENSION)
    if entry is None:
        return []
    since, sunset = (datetime.fromisoformat(entry[name]) for name in ("since", "sunset"))
    return [
        (b"deprecation", b"@%d" % since.timestamp()),
        (b"sunset", format_datetime(sunset.astimezone(UTC), usegmt=True).encode()),
        (b"link", f'<{entry["link"]}>; rel="deprecation"; type="text/html"'.encode()),
    ]
