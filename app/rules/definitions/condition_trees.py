"""Traverses conditions as trees of JSON and yields their parts with paths. Pure.

Errors and alerts name these paths. Any JSON is accepted: a value that is no condition has no parts.
`condition_schemas` validates the parts.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

DEPTH_LIMIT: Final = 6
NODES_LIMIT: Final = 50

ConditionPath = tuple[str | int, ...]
"""Keys and list indices, from the condition down."""

_MANY: Final = ("all", "any")
_ONE: Final = ("not", "boxes")


class ConditionPart(NamedTuple):
    """A part of a condition.

    Attributes:
        path: its path; () for the whole condition.
        node: its JSON.
        depth: 1 for the whole condition.
        each_box: whether it is under `boxes`, and evaluated on each box.
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
        """Whether it has no parts."""
        return isinstance(self.node, Mapping) and not any(key in self.node for key in (*_MANY, *_ONE))


def iterate_parts(condition: object) -> Iterator[ConditionPart]:
    """Yield a condition and its parts in pre-order. Lists are cut one entry beyond NODES_LIMIT."""
    stack = [ConditionPart((), condition, 1, each_box=False)]
    while stack:
        part = stack.pop()
        yield part
        if isinstance(part.node, Mapping):
            stack += reversed(list(_below(part, part.node)))


def _below(part: ConditionPart, node: Mapping[str, Any]) -> Iterator[ConditionPart]:
    for key in _MANY:
        below = node.get(key)
        if isinstance(below, list):
            # One more than allowed is enough to detect that there are too many.
            for index, child in enumerate(islice(below, NODES_LIMIT + 1)):
                yield ConditionPart((*part.path, key, index), child, part.depth + 1, part.each_box)
    for key in _ONE:
        if key in node:
            yield ConditionPart((*part.path, key), node[key], part.depth + 1, part.each_box or key == "boxes")


def is_site_condition(condition: object) -> bool:
    """Return whether a condition is on a whole site: it counts boxes or names one."""
    return any(
        part.across or "box" in part.node
        for part in iterate_parts(condition)
        if isinstance(part.node, Mapping)
    )


def count_index_parts(condition: object) -> int:
    """Count the parts of a condition that query an index."""
    return sum(part.leaf and "index" in part.node for part in iterate_parts(condition))


def iterate_named_boxes(condition: object) -> Iterator[tuple[ConditionPath, str]]:
    """Yield the ids of boxes that a valid condition names, with the path of each."""
    for part in iterate_parts(condition):
        if "box" in part.node:
            yield (*part.path, "box"), part.node["box"]
        for index, box in enumerate((part.node.get("scope") or {}).get("boxes", ())):
            yield (*part.path, "scope", "boxes", index), box
