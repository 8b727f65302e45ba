"""Finds the fields of the form that faults of the API belong to. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from app.console.framework.api_calls import FieldFault

_LEVEL: Final = re.compile(r"^levels\.(\d+)(?:\.(severity|condition))?(?:\.|$)")
_OF_LEVEL: Final = frozenset(
    {"threshold", "clear", "low", "high", "margin", "band", "clear_band", "no_data", "for"}
)
_RENAMED: Final[Mapping[str, str]] = {
    "site_id": "site",
    "keep_firing_for": "calm",
    "remind_every": "remind",
    "active": "hours",
    "escalations": "escalate",
    "scope": "where",
}
_METRICS: Final[Mapping[str, str]] = {
    "silence": "silence_metric",
    "band": "index_metric",
    "index": "index_metric",
}
_LISTS: Final = ("boxes", "kinds", "tags")


def place_faults(
    faults: Sequence[FieldFault], *, kind: str, numbers: Sequence[int]
) -> tuple[dict[str, str], list[str]]:
    """Return the faults by field of the form, and those that have no field.

    Args:
        faults: The faults of the API.
        kind: The kind of condition that the form has.
        numbers: The numbers of the form's levels, in the order of the rule's levels.
    """
    placed: dict[str, str] = {}
    others = []
    for fault in faults:
        name = _field_of(fault.field, kind, numbers)
        if name:
            placed.setdefault(name, fault.detail)
        else:
            others.append(f"{fault.field}: {fault.detail}" if fault.field else fault.detail)
    return placed, others


def _field_of(path: str, kind: str, numbers: Sequence[int]) -> str:
    number, rest = 1, path
    if match := _LEVEL.match(path):
        index = int(match[1])
        number = numbers[index] if index < len(numbers) else 1
        rest = path[match.end() :]
        if match[2] != "condition":
            return f"severity_{number}"
    elif path == "severity":
        return "severity_1"
    elif path.startswith("condition"):
        rest = path.removeprefix("condition").removeprefix(".")
    else:
        return _of_rule(path)
    return _of_condition(rest, kind, number)


def _of_rule(path: str) -> str:
    first, _, rest = path.partition(".")
    if first == "scope" and rest.partition(".")[0] in _LISTS:
        return rest.partition(".")[0]
    known = ("name", "description", "max_age", *_RENAMED)
    return _RENAMED.get(first, first) if first in known else ""


def _of_condition(rest: str, kind: str, number: int) -> str:
    first, _, inner = rest.partition(".")
    if not first:
        return "kind"
    if first == "threshold" and inner == "attribute":
        return f"attribute_{number}"
    if first in _OF_LEVEL:
        return f"{first}_{number}"
    if first == "metric":
        return _METRICS.get(kind, "metric")
    if first == "operator" and kind == "range":
        return "side"
    return _RENAMED.get(first, first)
