"""Lists all presets: predefined sets of rules, such as limits of air quality. Pure.

Each topic has a module. A change of a preset's rules raises its version. A rule is compared with the preset
that it was created from, and its name is translated as long as it is the preset's.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from app.presentation.languages import Language
from app.rules.definitions.schemas import RuleDefinition
from app.rules.presets import (
    box_health_presets,
    eu_air_presets,
    index_presets,
    indoor_presets,
    sound_presets,
    who_air_presets,
)
from app.rules.presets.preset_types import Preset, PresetRule

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        preset.id: preset
        for of_topic in (
            who_air_presets,
            eu_air_presets,
            indoor_presets,
            sound_presets,
            index_presets,
            box_health_presets,
        )
        for preset in of_topic.PRESETS
    }
)
"""All presets by id, in the order of lists."""


# The scope is not compared: it says where a preset is used, not when it fires.
_COMPARED: Final = ("levels", "active", "max_age", "escalations", "remind_every")


def build_definition(rule: PresetRule) -> dict[str, Any]:
    """Build the stored definition of a rule of a preset."""
    return RuleDefinition.model_validate(dict(rule.body)).definition()


@cache
def build_definitions(preset_id: str) -> tuple[Mapping[str, Any], ...]:
    """Build the stored definitions of all rules of a preset; empty for an unknown preset."""
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
        for made in build_definitions(origin["id"])
    )


def get_name_separator(language: Language) -> str:
    """Return the colon between a client's prefix and the name of a preset.

    The space is a plain one: names of rules are stored with it, and clients compare them.
    """
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
