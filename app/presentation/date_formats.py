"""Formats dates, times of day and durations in each language. Pure: no clock."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.units import format_unit

from app.platform.kernel.instants import parse_rfc3339, to_datetime
from app.platform.kernel.rejection_codes import RejectedError
from app.presentation.languages import LOCALES, Language
from app.presentation.typography import NBSP

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_UNITS: Final = ((_DAY_S, "day"), (_HOUR_S, "hour"), (_MINUTE_S, "minute"), (1, "second"))
_DAY_SYMBOLS: Final[Mapping[Language, str]] = {"en": "d", "fr": "j"}
_LOCAL_TIMES: Final[Mapping[Language, str]] = {
    "en": "{day} at {clock} ({zone})",
    "fr": "{day} à {clock} ({zone})",
}


def format_day(day: date, language: Language) -> str:
    """Format a date: `24 November 2026`."""
    return _format_date(day, "d MMMM y", language)


def format_full_day(day: date, language: Language) -> str:
    """Format a date with its weekday: `Tuesday 24 November 2026`."""
    return _format_date(day, "EEEE d MMMM y", language)


def format_short_day(day: date, language: Language) -> str:
    """Format a date without its year: `24 November`."""
    return _format_date(day, "d MMMM", language)


def format_month(day: date, language: Language) -> str:
    """Format a month with its year: `November 2026`."""
    return format_date(day, "MMMM y", locale=LOCALES[language])


def _format_date(day: date, pattern: str, language: Language) -> str:
    text = format_date(day, pattern, locale=LOCALES[language])
    # French writes the first day of a month as "1er"; the CLDR does not.
    return re.sub(r"\b1 ", f"1er{NBSP}", text, count=1) if language == "fr" and day.day == 1 else text


def format_clock_time(at: time | datetime, language: Language, *, seconds: bool = False) -> str:
    """Format a time of day: `21:11`, in French `21 h 11`, with seconds `21 h 11 min 05 s`."""
    clock = format_hour_and_minute(at.hour, at.minute, language)
    if not seconds:
        return clock
    return f"{clock}:{at:%S}" if language == "en" else f"{clock}{NBSP}min{NBSP}{at:%S}{NBSP}s"


def format_hour_and_minute(hour: int, minute: int, language: Language) -> str:
    """Format an hour, 0 to 24, and a minute: `06:30`, in French `6 h 30`."""
    return f"{hour:02}:{minute:02}" if language == "en" else f"{hour}{NBSP}h{NBSP}{minute:02}"


def format_full_hour(hour: int, language: Language) -> str:
    """Format an hour of an axis, 0 to 24: `06:00`, in French `6 h`."""
    return format_hour_and_minute(hour, 0, language) if language == "en" else f"{hour}{NBSP}h"


def format_duration(seconds: float, language: Language) -> str:
    """Format a duration by its two largest units, as symbols: `1 h 30 min`."""
    symbols = {"day": _DAY_SYMBOLS[language], "hour": "h", "minute": "min", "second": "s"}
    return " ".join(f"{count}{NBSP}{symbols[unit]}" for count, unit in _split_duration(seconds))


def spell_duration(seconds: float, language: Language) -> str:
    """Format a duration by its two largest units, in words: `1 hour 30 minutes`."""
    spelled = (
        format_unit(count, f"duration-{unit}", "long", locale=LOCALES[language])
        for count, unit in _split_duration(seconds)
    )
    # The CLDR has a non-breaking space for some units only.
    return " ".join(spelled).replace(NBSP, " ")


def _split_duration(seconds: float) -> list[tuple[int, str]]:
    """Split a duration into its largest unit and the next smaller one, if that is not zero."""
    left = max(0, round(seconds))
    counts: list[tuple[int, str]] = []
    for length, unit in _UNITS:
        count, left = divmod(left, length)
        counts.append((count, unit))
    first = next((index for index, (count, _) in enumerate(counts) if count), len(counts) - 1)
    return [part for part in counts[first : first + 2] if part[0]] or counts[-1:]


def find_time_zone(name: str | None) -> tuple[tzinfo, str]:
    """Return a time zone and its name; UTC if it is unknown."""
    if name is None:
        return UTC, "UTC"
    try:
        return ZoneInfo(name), name
    except (KeyError, ValueError, OSError):
        return UTC, "UTC"


def parse_instant(text: str | None) -> datetime | None:
    """Parse an RFC 3339 time; None if it is invalid."""
    if text is None:
        return None
    try:
        return to_datetime(parse_rfc3339(text))
    except RejectedError:
        return None


def format_local_time(
    text: str | None, zone: str | None, language: Language, *, seconds: bool = False
) -> str | None:
    """Format a time in a time zone, with the zone's name; None if the time is invalid.

    Args:
        text: The time, RFC 3339.
        zone: The IANA name of the zone; None or unknown: UTC.
        language: The language.
        seconds: Whether to show seconds.
    """
    at = parse_instant(text)
    if at is None:
        return None
    zone_info, zone_name = find_time_zone(zone)
    try:
        local = at.astimezone(zone_info)
    except OverflowError:
        local, zone_name = at, "UTC"
    return _LOCAL_TIMES[language].format(
        day=format_day(local.date(), language),
        clock=format_clock_time(local, language, seconds=seconds),
        zone=zone_name,
    )
