"""Lists the units of SenML (RFC 8428, RFC 8798) that fit metrics of the catalogue, with conversions.

A unit that is not listed does not fit the metric and is refused.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from app.catalogue.metrics import CATALOGUE, METRICS_BY_NAME, Metric
from app.catalogue.units import FACTORS
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value

_DECIMALS: Final = 9


class UnitConversion(NamedTuple):
    """`value * times / over + plus`. Dividing by 100 keeps decimals that multiplying by 0.01 loses."""

    times: float = 1
    over: float = 1
    plus: float = 0


_SAME: Final = UnitConversion()

CONVERSIONS: Final[Mapping[str, Mapping[str, UnitConversion]]] = MappingProxyType(
    {
        "°C": {"Cel": _SAME, "K": UnitConversion(plus=-273.15)},
        "%RH": {"%RH": _SAME},
        "hPa": {"hPa": _SAME, "Pa": UnitConversion(over=100)},
        "lx": {"lx": _SAME},
        "dB": {"dB": _SAME, "Bspl": UnitConversion(times=10)},
        "dBm": {"dBm": _SAME, "dBW": UnitConversion(plus=30)},
        "%": {"%EL": _SAME, "%": _SAME, "/100": _SAME, "/": UnitConversion(times=100)},
        "ppm": {"ppm": _SAME, "/": UnitConversion(times=1e6)},
        "ppb": {"ppm": UnitConversion(times=1e3), "/": UnitConversion(times=1e9)},
        "µg/m³": {"ug/m3": _SAME, "kg/m3": UnitConversion(times=1e9)},
        "mg/m³": {"ug/m3": UnitConversion(over=1e3), "kg/m3": UnitConversion(times=1e6)},
        "ou/m³": {},
    }
)
"""The catalogue's unit → SenML's unit → the conversion to the catalogue's."""

# Also accepted for gases: SenML's unit, the unit in `app.catalogue.units`, and the factor to that unit.
_OF_GASES: Final = {
    "ppm": ("ppm", 1.0),
    "ppb": ("ppb", 1.0),
    "/": ("ppm", 1e6),
    "ug/m3": ("µg/m³", 1.0),
    "kg/m3": ("mg/m³", 1e6),
}


def _only() -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for metric in CATALOGUE:
        for unit in CONVERSIONS.get(metric.unit, ()):
            found.setdefault(unit, []).append(metric.name)
    return {unit: names[0] for unit, names in found.items() if len(names) == 1}


BY_UNIT: Final[Mapping[str, str]] = MappingProxyType(_only())
"""The metric of each unit that only one metric has."""


def find_conversion(metric: str, unit: str | None) -> UnitConversion:
    """Return the conversion from a SenML unit to the unit of a metric; without a unit there is none.

    Raises:
        RejectedError: `wrong_unit`.
    """
    if unit is None:
        return _SAME
    due: Metric = METRICS_BY_NAME[metric]
    units = {**_of_gas(metric), **CONVERSIONS.get(due.unit, {})}
    if unit not in units:
        names = ", ".join(units) or "no unit of SenML is"
        raise RejectedError("wrong_unit", f"{format_rejected_value(unit)} does not measure {metric}: {names}")
    return units[unit]


def _of_gas(metric: str) -> dict[str, UnitConversion]:
    """Return the conversions to the unit of a gas, also from a mass to a volume; empty for other metrics."""
    factors = FACTORS.get(metric, {})
    return {
        unit: UnitConversion(times=factors[name] * many)
        for unit, (name, many) in _OF_GASES.items()
        if name in factors
    }


def convert_value(value: float, by: UnitConversion) -> float:
    """Convert a value to the unit of the catalogue. An integer without conversion stays an integer."""
    if by == _SAME:
        return value
    return round(float(value) * by.times / by.over + by.plus, _DECIMALS)
