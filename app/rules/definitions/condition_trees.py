"""Conditions as trees of JSON: their parts, with the paths that refusals and alerts name. Pure.

Owns which parts a condition has and how many it may have. Takes any JSON: what is no condition has no parts.
What a part may hold is the matter of `app.rules.definitions.condition_schemas`.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

DEPTH_LIMIT: Final = 6
NODES_LIMIT: Final = 50

ConditionPath = tuple[str | int, ...]
"""Keys and places in lists, from the condition down."""

_MANY: Final = ("all", "any")
_ONE: Final = ("not", "boxes")


class ConditionPart(NamedTuple):
    """A part of a condition.

    Attributes:
        path: where it stands; () for the whole.
        node: what stands there.
        depth: 1 for the whole.
        each_box: whether it is asked of each box: it stands under `boxes`.
    """

    path: ConditionPath
    node: Any
    depth: int
    each_box: bool

    @property
    def across(self) -> bool:
        """Whether it counts boxes."""
        return isinstance(self.node, Mapping) and "boxes" in self.node

    @property
    def leaf(self) -> bool:
        """Whether it has no parts of its own."""
        return isinstance(self.node, Mapping) and not any(key in self.node for key in (*_MANY, *_ONE))


def iterate_parts(condition: object) -> Iterator[ConditionPart]:
    """Yield a condition and its parts, each before its own parts; at most NODES_LIMIT of any list."""
    waiting = [ConditionPart((), condition, 1, each_box=False)]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part.node, Mapping):
            waiting += reversed(list(_below(part, part.node)))


def _below(part: ConditionPart, node: Mapping[str, Any]) -> Iterator[ConditionPart]:
    for key in _MANY:
        below = node.get(key)
        if isinstance(below, list):
            # One more than may be: enough to see that they are too many.
            for place, child in enumerate(islice(below, NODES_LIMIT + 1)):
                yield ConditionPart((*part.path, key, place), child, part.depth + 1, part.each_box)
    for key in _ONE:
        if key in node:
            yield ConditionPart((*part.path, key), node[key], part.depth + 1, part.each_box or key == "boxes")


def is_site_condition(condition: object) -> bool:
    """Tell whether a condition is on a site as a whole: it counts boxes, or names one."""
    return any(
        part.across or "box" in part.node
        for part in iterate_parts(condition)
        if isinstance(part.node, Mapping)
    )


def count_index_parts(condition: object) -> int:
    """Count the parts of a condition that look at a city's index."""
    return sum(part.leaf and "index" in part.node for part in iterate_parts(condition))


def iterate_named_boxes(condition: object) -> Iterator[tuple[ConditionPath, str]]:
    """Yield the ids of boxes that a valid condition names, with the path of each."""
    for part in iterate_parts(condition):
        if "box" in part.node:
            yield (*part.path, "box"), part.node["box"]
        for place, box in enumerate((part.node.get("scope") or {}).get("boxes", ())):
            yield (*part.path, "scope", "boxes", place), box
