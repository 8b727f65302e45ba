"""Finds the part of a rule that caused an event, by the path in its cause. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.notifications.sentences.rule_sentences import JsonObject


def condition_node(definition: JsonObject | None, path: str) -> JsonObject | None:
    """Return the condition of the level in a `cause.path`; None if there is no such level.

    Args:
        definition: The stored definition of a rule.
        path: The path, such as `levels/0/condition/all/1`.
    """
    parts = path.split("/")
    levels = (definition or {}).get("levels") or ()
    index = int(parts[1]) if len(parts) > 1 and parts[0] == "levels" and parts[1].isdecimal() else 0
    found = levels[index].get("condition") if index < len(levels) else None
    return found if isinstance(found, Mapping) else None


def find_condition_part(definition: JsonObject | None, path: str) -> JsonObject | None:
    """Return the part of a level's condition at a `cause.path`; None if there is none.

    Args:
        definition: The stored definition of a rule.
        path: The path, such as `levels/0/condition/all/1`.
    """
    return find_node(condition_node(definition, path), path)[0]


def find_node(condition: JsonObject | None, path: str) -> tuple[JsonObject | None, Sequence[str]]:
    """Follow a cause's path into the level's condition; return the part and the keys to it."""
    steps = path.split("/")[3:] if path.startswith("levels/") else path.split("/")[1:]
    node: Any = condition
    for step in steps:
        if isinstance(node, Mapping):
            node = node.get(step)
        elif isinstance(node, list | tuple) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            node = None
    return node if isinstance(node, Mapping) else None, steps
