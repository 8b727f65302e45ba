"""Applies changes to a rule's definition, and decides whether they restart it (close its alerts). Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from app.platform.http.contract.fields import collect_sent_fields
from app.platform.kernel.errors import InvalidError
from app.rules.definitions.condition_leaves import to_stored_json
from app.rules.definitions.condition_trees import ConditionPath, count_index_parts, iterate_named_boxes
from app.rules.definitions.schemas import RuleChange
from app.rules.engine.rule_compiler import compile_rule

DEFINITION_FIELDS: Final = ("scope", "active", "max_age", "escalations", "remind_every")
"""The fields of a definition besides its levels, as request bodies name them."""
# The fields besides the levels that decide when a rule fires.
_FIRING_FIELDS: Final = ("scope", "active", "max_age")
_CONDITION: Final = "condition"


def apply_rule_change(definition: Mapping[str, Any], change: RuleChange) -> dict[str, Any]:
    """Return the definition after a change.

    Raises:
        InvalidError: `condition_or_levels` if a rule with levels gets only a severity or only a condition.
    """
    fields = collect_sent_fields(change)
    new = dict(definition) | {
        name: to_stored_json(fields[name]) for name in DEFINITION_FIELDS if name in fields
    }
    if "levels" in fields:
        new["levels"] = [_level(level.severity, level.condition) for level in change.levels]
    elif {"severity", _CONDITION} & fields.keys():
        first, *others = definition["levels"]
        if others and not {"severity", _CONDITION} <= fields.keys():
            raise InvalidError(
                "The rule has levels. Send `levels`, or both `severity` and `condition` to replace them.",
                code="condition_or_levels",
            )
        new["levels"] = [first | {name: to_stored_json(fields[name]) for name in first if name in fields}]
    return new


def _level(severity: str, condition: Any) -> dict[str, Any]:  # noqa: ANN401 (a node of any kind)
    return {"severity": severity, _CONDITION: to_stored_json(condition)}


def should_restart_rule(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether a new definition decides differently when the rule fires.

    The severity of a single level, escalations and reminders do not matter.
    """
    return _get_firing_parts(old) != _get_firing_parts(new)


def _get_firing_parts(definition: Mapping[str, Any]) -> list[Any]:
    levels = definition["levels"]
    conditions: list[Any] = [levels[0][_CONDITION]] if len(levels) == 1 else levels
    return [conditions, *(definition[name] for name in _FIRING_FIELDS)]


def compute_effort(definition: Mapping[str, Any]) -> int:
    """Count the parts of a definition that are evaluated for each sample.

    It is 0 for threshold rules, which the prefilter evaluates by column, and for rules on indices.
    """
    unused_id = UUID(int=0)
    rule = compile_rule(unused_id, 1, unused_id, unused_id, "", definition)
    return 0 if rule.column is not None or rule.index_queries else rule.parts


def count_index_conditions(definition: Mapping[str, Any]) -> int:
    """Count the parts of a definition that query an index."""
    return sum(count_index_parts(level[_CONDITION]) for level in definition["levels"])


def iterate_rule_boxes(definition: Mapping[str, Any]) -> Iterator[tuple[ConditionPath, str]]:
    """Yield the ids of boxes that a definition names, with their paths in a request body."""
    for index, box in enumerate((definition["scope"] or {}).get("boxes", ())):
        yield ("scope", "boxes", index), box
    levels = definition["levels"]
    for index, level in enumerate(levels):
        where: ConditionPath = (_CONDITION,) if len(levels) == 1 else ("levels", index, _CONDITION)
        for path, box in iterate_named_boxes(level[_CONDITION]):
            yield (*where, *path), box
