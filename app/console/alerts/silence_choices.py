"""Turns the choices of a silence's end into the fields of the API. Pure."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

from app.console.framework.page_translation import mark_text

SILENCE_ENDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PT30M": mark_text("for 30 minutes"),
        "PT1H": mark_text("for 1 hour"),
        "PT4H": mark_text("for 4 hours"),
        "P1D": mark_text("for 1 day"),
        "P7D": mark_text("for 1 week"),
        "morning": mark_text("until tomorrow, 08:00"),
        "until": mark_text("until a time"),
    }
)
"""The choices: durations of ISO 8601, tomorrow at 08:00 of the site, and a local time of the site."""
_MORNING: Final = "08:00"


def build_silence_end(choice: str, until: str, zone: ZoneInfo) -> dict[str, Any] | None:
    """Build the fields that say when a silence ends.

    Args:
        choice: A key of `SILENCE_ENDS`.
        until: The local date and time of the site (`2026-11-29T18:30`), for the choice `until`.
        zone: The time zone of the site.

    Returns:
        `duration`, `until` or `ends_at` of `POST /v1/silences`; None if the time is missing or no time.
    """
    if choice == "morning":
        return {"until": {"time": _MORNING, "days": 1}}
    if choice != "until":
        return {"duration": choice}
    try:
        return {"ends_at": datetime.fromisoformat(until).replace(tzinfo=zone).isoformat()}
    except ValueError:
        return None
