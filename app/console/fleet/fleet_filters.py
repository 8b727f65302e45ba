"""Reads the filters of a list of boxes, and converts them for bulk operations. Pure."""

from collections.abc import Mapping
from typing import Any, Final

NAMES: Final = (
    *("q", "site", "state", "activity", "firmware", "firmware_below", "kind", "tag"),
    "id_prefix",
    *("battery_below", "rssi_below", "late_share_above", "clock_skew_above_ms"),
)
"""Filters of `GET /v1/boxes` that the page offers."""
_NUMBERS: Final = frozenset({"battery_below", "rssi_below", "late_share_above", "clock_skew_above_ms"})


def read_box_filters(given: Mapping[str, str]) -> dict[str, str]:
    """Return the filters that have a value."""
    return {name: given[name].strip() for name in NAMES if given.get(name, "").strip()}


def build_selection(filters: Mapping[str, str]) -> dict[str, Any] | None:
    """Build the `select` of a bulk operation; None if it cannot express the filters."""
    selection: dict[str, Any] = {}
    for name, value in filters.items():
        if name == "activity":
            if value != "silent":
                return None
            selection["silent"] = True
        elif name == "tag":
            selection["tag"] = [value]
        elif name in _NUMBERS:
            selection[name] = float(value)
        else:
            selection[name] = value
    return selection
