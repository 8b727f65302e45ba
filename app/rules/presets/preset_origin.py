"""What a rule keeps of the preset that it was made of: whether it still asks the same, and its name. Pure."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from app.rules.definitions.schemas import RuleDefinition
from app.rules.presets.preset_list import PRESETS
from app.rules.presets.preset_types import Language, PresetRule

# A scope says where a preset is used, not what it asks.
_COMPARED: Final = ("levels", "active", "max_age", "escalations", "remind_every")


def build_definition(rule: PresetRule) -> dict[str, Any]:
    """Give the definition, as it is stored, of what a preset's rule makes."""
    return RuleDefinition.model_validate(dict(rule.body)).definition()


@cache
def _made(preset_id: str) -> tuple[Mapping[str, Any], ...]:
    preset = PRESETS.get(preset_id)
    return () if preset is None else tuple(build_definition(rule) for rule in preset.rules)


def is_preset_modified(definition: Mapping[str, Any]) -> bool:
    """Tell whether a stored definition is none of those that its preset makes now.

    True of a preset that is no more; False of a rule that was made by hand. The scope does not count.
    """
    origin = definition.get("preset")
    if origin is None:
        return False
    return not any(
        all(made[part] == definition.get(part) for part in _COMPARED) for made in _made(origin["id"])
    )


def get_name_separator(language: Language) -> str:
    """Return the colon between a name of the client's own and a preset's, with the language's spacing."""
    return " :" if language == "fr" else ":"


def translate_rule_name(name: str, preset_id: str | None, language: Language) -> str:
    """Translate the name of a rule that a preset gave it; a name that a person gave stays as it is.

    Args:
        name: The rule's name, in whichever language the preset was applied.
        preset_id: The preset that the rule was made of; None: of none.
        language: The reader's.
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
