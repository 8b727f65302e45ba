"""What a change makes of a rule's definition, and whether the rule then begins anew. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from app.platform.http.contract.fields import given
from app.platform.kernel.errors import InvalidError
from app.rules.definitions.condition_leaves import stored
from app.rules.definitions.condition_trees import Path, index_parts, named_boxes
from app.rules.definitions.schemas import RuleChange
from app.rules.engine.rule_compiler import compile_rule

DEFINED: Final = ("scope", "active", "max_age", "escalations", "remind_every")
"""What a definition has beside its levels, by the names that bodies have for it."""
# What decides when a rule fires, beside its levels.
_DECIDING: Final = ("scope", "active", "max_age")
_CONDITION: Final = "condition"


def changed(definition: Mapping[str, Any], change: RuleChange) -> dict[str, Any]:
    """Give the definition that a change leads to.

    Raises:
        InvalidError: `condition_or_levels`: of a ladder neither severity nor condition changes alone.
    """
    fields = given(change)
    new = dict(definition) | {name: stored(fields[name]) for name in DEFINED if name in fields}
    if "levels" in fields:
        new["levels"] = [_level(level.severity, level.condition) for level in change.levels]
    elif {"severity", _CONDITION} & fields.keys():
        first, *others = definition["levels"]
        if others and not {"severity", _CONDITION} <= fields.keys():
            raise InvalidError(
                "The rule has levels: give `levels`, or both `severity` and `condition` in their place.",
                code="condition_or_levels",
            )
        new["levels"] = [first | {name: stored(fields[name]) for name in first if name in fields}]
    return new


def _level(severity: str, condition: Any) -> dict[str, Any]:  # noqa: ANN401 (a node of any kind)
    return {"severity": severity, _CONDITION: stored(condition)}


def begins_anew(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell whether a definition asks something else than the one before it.

    The severity of a single level, escalations and reminders are no part of the question.
    """
    return _question(old) != _question(new)


def _question(definition: Mapping[str, Any]) -> list[Any]:
    levels = definition["levels"]
    asked = [levels[0][_CONDITION]] if len(levels) == 1 else levels
    return [asked, *(definition[name] for name in _DECIDING)]


def effort_of(definition: Mapping[str, Any]) -> int:
    """Count the parts of a definition that are looked at for each sample; 0 where a gate spares that.

    No part of a rule on indices is.
    """
    nobody = UUID(int=0)
    rule = compile_rule(nobody, 1, nobody, nobody, "", definition)
    return 0 if rule.column is not None or rule.asks else rule.parts


def indices_of(definition: Mapping[str, Any]) -> int:
    """Count the parts of a definition that look at an index."""
    return sum(index_parts(level[_CONDITION]) for level in definition["levels"])


def boxes_named(definition: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the ids of boxes that a definition names, with the path that a body has for each."""
    for place, box in enumerate((definition["scope"] or {}).get("boxes", ())):
        yield ("scope", "boxes", place), box
    levels = definition["levels"]
    for place, level in enumerate(levels):
        where: Path = (_CONDITION,) if len(levels) == 1 else ("levels", place, _CONDITION)
        for path, box in named_boxes(level[_CONDITION]):
            yield (*where, *path), box
