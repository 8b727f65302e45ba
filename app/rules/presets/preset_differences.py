"""Compares a rule with the preset that it was created from, and translates the name of the preset. Pure."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from app.rules.definitions.schemas import RuleDefinition
from app.rules.presets.preset_list import PRESETS
from app.rules.presets.preset_types import Language, PresetRule

# The scope is not compared: it says where a preset is used, not when it fires.
_COMPARED: Final = ("levels", "active", "max_age", "escalations", "remind_every")


def build_definition(rule: PresetRule) -> dict[str, Any]:
    """Build the stored definition of a rule of a preset."""
    return RuleDefinition.model_validate(dict(rule.body)).definition()


@cache
def _build_definitions(preset_id: str) -> tuple[Mapping[str, Any], ...]:
    preset = PRESETS.get(preset_id)
    return () if preset is None else tuple(build_definition(rule) for rule in preset.rules)


def is_preset_modified(definition: Mapping[str, Any]) -> bool:
    """Return whether a stored definition differs from all that its preset makes now.

    True for a preset that no longer exists; False for a rule without a preset. The scope does not count.
    """
    origin = definition.get("preset")
    if origin is None:
        return False
    return not any(
        all(made[part] == definition.get(part) for part in _COMPARED)
        for made in _build_definitions(origin["id"])
    )


def get_name_separator(language: Language) -> str:
    """Return the colon between a client's prefix and the name of a preset, with the language's spacing."""
    return " :" if language == "fr" else ":"


def translate_rule_name(name: str, preset_id: str | None, language: Language) -> str:
    """Translate the name of a rule that a preset gave it; a name that a person gave stays as it is.

    Args:
        name: the name of the rule, in the language in which the preset was applied.
        preset_id: the preset that the rule was made from, if any.
        language: the language of the reader.
    """
    preset = None if preset_id is None else PRESETS.get(preset_id)
    for rule in () if preset is None else preset.rules:
        for known in ("en", "fr"):
            given = rule.name.to(known)
            if name == given:
                return rule.name.to(language)
            if name.endswith(behind := f"{get_name_separator(known)} {given}"):
                return f"{name.removesuffix(behind)}{get_name_separator(language)} {rule.name.to(language)}"
    return name
