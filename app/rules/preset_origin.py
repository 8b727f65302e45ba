"""Whether a rule that was made of a preset still asks what that one makes. Pure."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from app.rules.preset_data import PRESETS
from app.rules.preset_data.shape import PresetRule
from app.rules.schemas import Definition

# A scope says where a preset is used, not what it asks.
_COMPARED: Final = ("levels", "active", "max_age", "escalations", "remind_every")


def made_of(rule: PresetRule) -> dict[str, Any]:
    """Give the definition, as it is stored, of what a preset's rule makes."""
    return Definition.model_validate(dict(rule.body)).definition()


@cache
def _made(preset_id: str) -> tuple[Mapping[str, Any], ...]:
    preset = PRESETS.get(preset_id)
    return () if preset is None else tuple(made_of(rule) for rule in preset.rules)


def modified(definition: Mapping[str, Any]) -> bool:
    """Tell whether a stored definition is none of those that its preset makes now.

    True of a preset that is no more; False of a rule that was made by hand. The scope does not count.
    """
    origin = definition.get("preset")
    if origin is None:
        return False
    return not any(
        all(made[part] == definition.get(part) for part in _COMPARED) for made in _made(origin["id"])
    )
