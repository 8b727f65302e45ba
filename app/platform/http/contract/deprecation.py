"""Routes that will go: marked in the OpenAPI document, and in the headers of every answer of theirs.

    @router.get("/v1/old", **deprecated(since=JANUARY, sunset=AUGUST, link="/docs#/Sites/list_sites"))

The headers are those of RFC 9745 (`Deprecation`, and `Link` to what to do instead) and RFC 8594 (`Sunset`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final, TypedDict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.buffered_response import append_headers, map_response_start

MIN_NOTICE_PERIOD: Final = timedelta(days=180)
"""The least time between a route's deprecation and its end."""

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
        since: From when on it should not be used any more (aware).
        sunset: When it will be gone (aware), at least `MIN_NOTICE_PERIOD` later.
        link: Where it says what to use instead: a URL, or a path of this API.
        openapi_extra: What the route says there besides.

    Raises:
        ValueError: The end comes too soon, or the link could not stand in a header.
    """
    if sunset - since < MIN_NOTICE_PERIOD:
        raise ValueError(f"a route is deprecated for {MIN_NOTICE_PERIOD.days} days at least before it goes")
    if not link.isascii() or set(link) & set("<> \r\n"):
        raise ValueError("a link in a header has neither spaces nor angle brackets")
    entry = {"since": since.isoformat(), "sunset": sunset.isoformat(), "link": link}
    return {"deprecated": True, "openapi_extra": {**(openapi_extra or {}), _EXTENSION: entry}}


class DeprecationMiddleware:
    """ASGI middleware that tells clients of deprecated routes, whatever these answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        def told(message: Message) -> Message:
            deprecated = getattr(scope.get("route"), "deprecated", None)
            return append_headers(message, _headers(scope["route"])) if deprecated else message

        await self._app(scope, receive, map_response_start(send, told))


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
