"""The presets, as data: by topic, one file each. A change of a preset's rules counts up its version."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.rules.preset_data import air, boxes, eu_air, indices, indoors, sound
from app.rules.preset_data.shape import Preset

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        preset.id: preset
        for of_topic in (air, eu_air, indoors, sound, indices, boxes)
        for preset in of_topic.PRESETS
    }
)
"""All presets by their id, in the order in which lists show them."""
