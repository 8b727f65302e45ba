"""Formats numbers, times, units and names in each language, and cleans texts from clients. Pure.

French uses decimal commas and non-breaking spaces. Times are in the site's time zone. Texts from clients pass
through `clean_line` or `clean_lines` before they are shown.
"""

import re
import unicodedata
from datetime import UTC, datetime, time, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from app.catalogue.metrics import CATALOGUE
from app.notifications.email.mail_texts import ENGLISH, FRENCH, MailTexts
from app.platform.kernel.instants import parse_rfc3339, to_datetime
from app.platform.kernel.rejection_codes import RejectedError
from app.presentation.translation import NBSP

_METRICS: Final = {metric.name: metric for metric in CATALOGUE}
_ZERO_WIDTH_JOINERS: Final = "\u200c\u200d"  # part of how some scripts, and emoji, are written
_BREAKS: Final = frozenset({"Cc", "Zl", "Zp"})  # controls, line ends among them
_HIDDEN: Final = frozenset(
    {"Cf", "Cs"}
)  # invisible, or turning the direction of writing; halves of characters
_READ: Final = 4  # times the limit that is read of a text: characters may be removed from it
_SPACES: Final = re.compile(r"[^\S\xa0\u202f]+")
_HUGE: Final = 1e15
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
# The results of these functions are not in the metric's unit.
_COUNT, _RATE = "count", "rate"
# NF EN 13725 writes European odour units in French like this.
_ODOUR_UNIT, _ODOUR_UNIT_FR = "ou/m³", "uoE/m³"


def get_mail_texts(language: str) -> MailTexts:
    """Return the texts of a language; English for an unknown one."""
    return FRENCH if language == FRENCH.language else ENGLISH


def clean_line(text: str, limit: int) -> str:
    """Return a text on one line of at most `limit` characters, without invisible characters.

    Characters that change the writing direction are removed too: a name must not rearrange a mail.
    """
    shown = text[: _READ * limit]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(map(_visible, shown))
    return truncate_text(_SPACES.sub(" ", shown).strip(), limit)


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if category in _BREAKS:
        return " "
    return "" if category in _HIDDEN and char not in _ZERO_WIDTH_JOINERS else char


def clean_lines(text: str, limit: int) -> list[str]:
    """Return the non-empty lines of a text, cleaned; at most `limit` characters in total."""
    lines = (clean_line(line, limit) for line in text[:limit].splitlines())
    return [line for line in lines if line]


def truncate_text(text: str, limit: int) -> str:
    """Truncate a text to `limit` characters, with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def format_count(count: int, forms: tuple[str, str], texts: MailTexts) -> str:
    """Format a count with its singular or plural form."""
    return forms[count > 1].format(format_number(count, texts))


def format_number(value: float, texts: MailTexts) -> str:
    """Format a number with two decimals, or three significant digits below 1."""
    if abs(value) >= _HUGE:
        written = f"{value:.6g}"
    elif abs(value) >= 1 or value == 0:
        written = _trimmed(f"{value:,.2f}")
    else:
        written = _trimmed(f"{value:.{_decimals(value)}f}")
    if written in ("-0", ""):
        written = "0"
    return written.translate(texts.digits)


def _decimals(value: float) -> int:
    """Return the decimals for three significant digits of a number below 1, at most nine."""
    exponent = int(f"{value:e}".rpartition("e")[2])
    return min(2 - exponent, 9)


def _trimmed(written: str) -> str:
    return written.rstrip("0").rstrip(".") if "." in written else written


def get_metric_unit(metric: str | None, function: str | None) -> str:
    """Return the unit of a metric, or of a function of it; empty if there is none."""
    known = _METRICS.get(metric or "")
    if known is None or function == _COUNT:
        return ""
    return f"{known.unit}/h" if function == _RATE else known.unit


def localize_unit(unit: str, texts: MailTexts) -> str:
    """Write a unit in the spelling of the language."""
    return unit.replace(_ODOUR_UNIT, _ODOUR_UNIT_FR) if texts.language == "fr" else unit


def format_measurement(value: float, unit: str, texts: MailTexts) -> str:
    """Format a value with its unit."""
    return format_number(value, texts) + (f"{NBSP}{localize_unit(unit, texts)}" if unit else "")


def format_percent(share: float, texts: MailTexts) -> str:
    """Format a fraction (0 to 1) as a percentage."""
    return format_number(share * 100, texts) + texts.percent


def describe_metric(metric: str, texts: MailTexts) -> str:
    """Return a metric's description with its name."""
    known = _METRICS.get(metric)
    if known is None:
        return clean_line(metric, 64)
    words = known.description_fr if texts.language == "fr" else known.description
    return f"{words} ({known.name})".translate(texts.apostrophes)


def format_duration(seconds: float, texts: MailTexts) -> str:
    """Format a duration by its two largest units, such as `1 h 30 min`."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, _DAY_S)
    hours, rest = divmod(rest, _HOUR_S)
    minutes, left = divmod(rest, _MINUTE_S)
    parts = [(days, texts.day), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((index for index, part in enumerate(parts) if part[0]), len(parts) - 1)
    shown = [part for part in parts[first : first + 2] if part[0]] or parts[-1:]
    return " ".join(f"{count}{NBSP}{unit}" for count, unit in shown)


def format_clock_time(at: time, texts: MailTexts, *, seconds: bool = False) -> str:
    """Format a time of day: `21:11`, in French `21 h 11`, with seconds `21 h 11 min 05 s`."""
    if texts.language != "fr":
        return f"{at:%H:%M:%S}" if seconds else f"{at:%H:%M}"
    clock = f"{at.hour}{NBSP}h{NBSP}{at:%M}"
    return f"{clock}{NBSP}min{NBSP}{at:%S}{NBSP}s" if seconds else clock


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
    text: str | None, zone: str | None, texts: MailTexts, *, seconds: bool = False
) -> str | None:
    """Format a time in a time zone, with the zone's name; None if the time is invalid.

    Args:
        text: The time, RFC 3339.
        zone: The IANA name of the zone; None or unknown: UTC.
        texts: The texts of the language.
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
    day = texts.first if local.day == 1 else str(local.day)
    clock = format_clock_time(local.time(), texts, seconds=seconds)
    return texts.moment.format(
        day=day, month=texts.months[local.month - 1], year=local.year, clock=clock, zone=zone_name
    )
