"""Lists all presets: predefined sets of rules, such as limits of air quality. Pure.

Each topic has a module. A change of a preset's rules raises its version.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.rules.presets import (
    box_health_presets,
    eu_air_presets,
    index_presets,
    indoor_presets,
    sound_presets,
    who_air_presets,
)
from app.rules.presets.preset_types import Preset

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
