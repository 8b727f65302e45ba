"""What a change makes of a rule's definition, and whether the rule then begins anew. Pure."""

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
"""What a definition has beside its levels, by the names that bodies have for it."""
# What decides when a rule fires, beside its levels.
_DECIDING: Final = ("scope", "active", "max_age")
_CONDITION: Final = "condition"


def apply_rule_change(definition: Mapping[str, Any], change: RuleChange) -> dict[str, Any]:
    """Give the definition that a change leads to.

    Raises:
        InvalidError: `condition_or_levels`: of a ladder neither severity nor condition changes alone.
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
                "The rule has levels: give `levels`, or both `severity` and `condition` in their place.",
                code="condition_or_levels",
            )
        new["levels"] = [first | {name: to_stored_json(fields[name]) for name in first if name in fields}]
    return new


def _level(severity: str, condition: Any) -> dict[str, Any]:  # noqa: ANN401 (a node of any kind)
    return {"severity": severity, _CONDITION: to_stored_json(condition)}


def should_restart_rule(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell whether a definition asks something else than the one before it.

    The severity of a single level, escalations and reminders are no part of the question.
    """
    return _question(old) != _question(new)


def _question(definition: Mapping[str, Any]) -> list[Any]:
    levels = definition["levels"]
    asked = [levels[0][_CONDITION]] if len(levels) == 1 else levels
    return [asked, *(definition[name] for name in _DECIDING)]


def compute_effort(definition: Mapping[str, Any]) -> int:
    """Count the parts of a definition that are looked at for each sample; 0 where a gate spares that.

    No part of a rule on indices is.
    """
    nobody = UUID(int=0)
    rule = compile_rule(nobody, 1, nobody, nobody, "", definition)
    return 0 if rule.column is not None or rule.index_queries else rule.parts


def count_index_conditions(definition: Mapping[str, Any]) -> int:
    """Count the parts of a definition that look at an index."""
    return sum(count_index_parts(level[_CONDITION]) for level in definition["levels"])


def iterate_rule_boxes(definition: Mapping[str, Any]) -> Iterator[tuple[ConditionPath, str]]:
    """Yield the ids of boxes that a definition names, with the path that a body has for each."""
    for place, box in enumerate((definition["scope"] or {}).get("boxes", ())):
        yield ("scope", "boxes", place), box
    levels = definition["levels"]
    for place, level in enumerate(levels):
        where: ConditionPath = (_CONDITION,) if len(levels) == 1 else ("levels", place, _CONDITION)
        for path, box in iterate_named_boxes(level[_CONDITION]):
            yield (*where, *path), box
