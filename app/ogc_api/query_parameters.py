"""Parses the query parameters of OGC API Features and EDR. Pure."""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.catalogue.metrics import COLUMNS
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, parse_rfc3339
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.standard_apis.query_error import QueryError

DEFAULT_LIMIT: Final = 100
MOST_FEATURES: Final = 1_000
"""The most features of a page. A larger `limit` is this one, as the standard says."""
CRS84: Final = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
"""Longitude and latitude in WGS 84: the only reference system."""
_CRS_NAMES: Final = frozenset({CRS84, CRS84.replace("http:", "https:"), "CRS84", "OGC:CRS84"})
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_FLAT, _HIGH = 4, 6
_OPEN: Final = frozenset({"", ".."})
_LONGEST_LIMIT: Final = 9


class BoundingBox(NamedTuple):
    """A rectangle in degrees. It crosses the 180th meridian if `west` is greater than `east`."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A time range (µs since the epoch) with both ends."""

    first_us: int = EARLIEST_US
    last_us: int = LATEST_US - 1


def parse_bbox(text: str | None) -> BoundingBox | None:
    """Parse `bbox`: four numbers, or six with heights, which have no effect (QueryError)."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in {_FLAT, _HIGH} or not all(map(_NUMBER.fullmatch, parts)):
        raise _make_error("bbox", text, "It is west,south,east,north in degrees, such as 1.3,43.5,1.5,43.7.")
    numbers = [float(part) for part in parts]
    if len(parts) == _HIGH:
        numbers = [*numbers[:2], *numbers[3:5]]
    west, south, east, north = numbers
    if south > north or not all(
        abs(each) <= limit for each, limit in zip(numbers, (180, 90) * 2, strict=True)
    ):
        raise _make_error("bbox", text, "South is below north; longitudes go to ±180, latitudes to ±90.")
    return BoundingBox(west, south, east, north)


def parse_datetime(text: str | None) -> TimeSpan:
    """Parse `datetime`: an instant, or an interval whose ends may be open (QueryError)."""
    if text is None:
        return TimeSpan()
    begin, separator, end = text.partition("/")
    if not separator:
        at = _parse_instant(text, text)
        return TimeSpan(at, at)
    first = EARLIEST_US if begin in _OPEN else _parse_instant(begin, text)
    last = LATEST_US - 1 if end in _OPEN else _parse_instant(end, text)
    if begin in _OPEN and end in _OPEN:
        raise _make_error("datetime", text, "One end of an interval has to be a time.")
    if first > last:
        raise _make_error("datetime", text, "The begin is after the end.")
    return TimeSpan(first, last)


def _parse_instant(text: str, whole: str) -> int:
    try:
        at = parse_rfc3339(text)
    except RejectedError as error:
        raise _make_error("datetime", whole, f"{error.detail}.") from None
    return min(max(at, EARLIEST_US), LATEST_US - 1)


def parse_limit(text: str | None) -> int:
    """Parse `limit` (QueryError)."""
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_LIMIT and int(text) > 0):
        raise _make_error(
            "limit", text, f"It is a number from 1; pages have {MOST_FEATURES:,} features at most."
        )
    return min(int(text), MOST_FEATURES)


def parse_parameter_names(text: str | None) -> tuple[str, ...] | None:
    """Parse `parameter-name`: metrics in the order of the catalogue; None: all (QueryError)."""
    if text is None:
        return None
    names = {part.strip() for part in text.split(",")}
    if unknown := sorted(names - set(COLUMNS)):
        raise _make_error("parameter-name", unknown[0], "GET /v1/metrics lists the metrics.")
    return tuple(name for name in COLUMNS if name in names)


def parse_format[Name: str](text: str | None, offered: tuple[Name, ...]) -> Name:
    """Parse `f`, in any case of letters; `json` and none is the first one that is offered (QueryError)."""
    if text is None or text.lower() == "json":
        return offered[0]
    for name in offered:
        if text.lower() == name.lower():
            return name
    raise _make_error("f", text, f"Use {' or '.join(offered)}.")


def check_crs(text: str | None) -> None:
    """Refuse another reference system than longitude and latitude (QueryError)."""
    if text is not None and text not in _CRS_NAMES:
        raise _make_error("crs", text, f"The only reference system is {CRS84}.")


def _make_error(parameter: str, value: str, reason: str) -> QueryError:
    return QueryError(
        f"{parameter} cannot be {format_rejected_value(value)}. {reason}",
        code="invalid_option",
        option=parameter,
    )
