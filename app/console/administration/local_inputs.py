"""Converts the times of form fields between a time zone and the API. Pure."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def parse_local_time(text: str, zone: str) -> str | None:
    """Return the instant of a `datetime-local` or `date` field in RFC 3339; None if it is empty.

    Text that is no time is returned as it is, so that the API refuses it with the name of its field.
    """
    if not text:
        return None
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        return text
    aware = local if local.tzinfo else local.replace(tzinfo=ZoneInfo(zone))
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_local_time(at: str | None, zone: str) -> str:
    """Return an instant as the value of a `datetime-local` field; empty if there is none."""
    if at is None:
        return ""
    return datetime.fromisoformat(at).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M")
