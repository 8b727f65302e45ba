"""All methods by name, as data. A method is registered by the module that computes it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.city import air_indices, comfort, emergence, indoor, mites, mould, noise, odour, who
from app.city.results import Method

_MODULES: Final = (air_indices, who, noise, emergence, indoor, mites, mould, odour, comfort)

METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {method.name: method for module in _MODULES for method in module.METHODS}
)
"""Every method, by topic."""
