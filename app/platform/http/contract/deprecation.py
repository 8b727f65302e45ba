"""Marks routes as deprecated, in the OpenAPI document and in the headers of their responses.

    @router.get("/v1/old", **mark_deprecated(since=JANUARY, sunset=AUGUST, link="/docs#/Sites/list_sites"))

The headers are those of RFC 9745 (`Deprecation`, with `Link` to the replacement) and RFC 8594 (`Sunset`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final, TypedDict

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


def list_deprecation_headers(route: Any) -> list[tuple[bytes, bytes]]:  # noqa: ANN401 (whatever kind of route it is)
    """Return the headers of every response of a route that is deprecated; none for other routes."""
    if not getattr(route, "deprecated", None):
        return []
    entry = (route.openapi_extra or {}).get(_EXTENSION)
    if entry is None:
        return []
    since, sunset = (datetime.fromisoformat(entry[name]) for name in ("since", "sunset"))
    return [
        (b"deprecation", b"@%d" % since.timestamp()),
        (b"sunset", format_datetime(sunset.astimezone(UTC), usegmt=True).encode()),
        (b"link", f'<{entry["link"]}>; rel="deprecation"; type="text/html"'.encode()),
    ]
