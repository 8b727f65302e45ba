"""Compares the desired configuration of a box with the reported one, setting by setting. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

DifferenceKind = Literal["same", "changed", "missing", "extra"]
_ABSENT: Final = object()


class SettingDifference(NamedTuple):
    """A setting of a box.

    Attributes:
        name: Its path, such as `noise.weighting`.
        desired: The desired value as JSON; empty: there is none.
        reported: The value that the box reported as JSON; empty: there is none.
        kind: `missing`: the box has not reported it; `extra`: the desired configuration lacks it.
    """

    name: str
    desired: str
    reported: str
    kind: DifferenceKind


def compare_configurations(
    desired: Mapping[str, object] | None, reported: Mapping[str, object] | None
) -> list[SettingDifference]:
    """Compare two configurations: settings that differ come first, each group by name."""
    ours, theirs = dict(_flatten(desired or {})), dict(_flatten(reported or {}))
    found = []
    for name in sorted({*ours, *theirs}):
        wanted, present = ours.get(name, _ABSENT), theirs.get(name, _ABSENT)
        kind: DifferenceKind = "same"
        if present is _ABSENT:
            kind = "missing"
        elif wanted is _ABSENT:
            kind = "extra"
        elif _format(wanted) != _format(present):
            kind = "changed"
        found.append(SettingDifference(name, _format(wanted), _format(present), kind))
    return sorted(found, key=lambda each: (each.kind == "same", each.kind == "extra"))


def format_configuration(configuration: Mapping[str, object] | None) -> str:
    """Format a configuration for an editor."""
    return json.dumps(configuration or {}, indent=2, ensure_ascii=False, sort_keys=True)


def _flatten(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value


def _format(value: object) -> str:
    return "" if value is _ABSENT else json.dumps(value, ensure_ascii=False, sort_keys=True)
