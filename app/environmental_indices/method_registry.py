"""Collects the index methods of all index modules, by name. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.environmental_indices import (
    dust_mites,
    indoor_air,
    indoor_comfort,
    mould_risk,
    noise_emergence,
    noise_levels,
    odour_hours,
    outdoor_air_indices,
    who_guidelines,
)
from app.environmental_indices.index_results import IndexMethod

_MODULES: Final = (
    outdoor_air_indices,
    who_guidelines,
    noise_levels,
    noise_emergence,
    indoor_air,
    dust_mites,
    mould_risk,
    odour_hours,
    indoor_comfort,
)

METHODS: Final[Mapping[str, IndexMethod]] = MappingProxyType(
    {method.name: method for module in _MODULES for method in module.METHODS}
)
"""Every method, by topic."""
