"""Converts durations between ISO 8601 and a number with a unit, as forms show them. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.platform.kernel.instants import parse_iso_duration

UNITS: Final[Mapping[str, int]] = MappingProxyType({"s": 1, "min": 60, "h": 3_600, "d": 86_400})
"""The units of forms, in seconds."""
_TWO_DAYS_S: Final = 172_800
_PATTERNS: Final = {"s": "PT{}S", "min": "PT{}M", "h": "PT{}H", "d": "P{}D"}


def duration_of(amount: float | str | None, unit: str) -> str | None:
    """Return the duration of a number and a unit; None without a number.

    Text that is no number becomes a duration that the API refuses, so that its field gets the fault.
    """
    if amount is None:
        return None
    pattern = _PATTERNS.get(unit, "{}")
    if isinstance(amount, str):
        return pattern.format(amount)
    if isinstance(amount, int) and amount >= 0:
        return pattern.format(amount) if amount else "PT0S"
    seconds = float(amount * UNITS.get(unit, 1))
    return f"PT{int(seconds)}S" if seconds.is_integer() else f"PT{seconds:.6f}S"


def split_duration(duration: str) -> tuple[str, str]:
    """Return a duration as a number and the largest unit of which it is a multiple; a day is 24 hours.

    Raises:
        RejectedError: `invalid_duration`.
    """
    seconds = parse_iso_duration(duration)
    if seconds == 0:
        return "0", "min"
    if not float(seconds).is_integer():
        return str(seconds), "s"
    unit = next(
        name
        for name in reversed(list(UNITS))
        if seconds % UNITS[name] == 0 and (name != "d" or seconds >= _TWO_DAYS_S)
    )
    return str(int(seconds) // UNITS[unit]), unit
