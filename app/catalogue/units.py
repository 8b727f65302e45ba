"""Converts values from the units that samples may use into the metric's own unit. Pure.

A metric that is not a single gas is accepted only in its own unit or a multiple of it.

A mixing ratio (ppm, ppb) becomes a mass concentration with the molar volume of an ideal gas at 20 °C and
1013.25 hPa. Directive 2008/50/EC (Annex VI, C) uses 293 K and 101.3 kPa, which differs by 0.03 %. Whether
(EU) 2024/2881 (Annex VI) retains this is `unverified`: its text was not read.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.catalogue.metrics import CATALOGUE, Metric
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value

TEMPERATURE_K: Final = 293.15
PRESSURE_PA: Final = 101_325.0
_GAS_CONSTANT: Final = 8.314_462_618
"""J/(mol K): CODATA 2018, exact to these digits."""

MOLAR_VOLUME_L: Final = _GAS_CONSTANT * TEMPERATURE_K / PRESSURE_PA * 1e3
"""The volume of one mole in litres: 24.055."""

# CIAAW, Abridged standard atomic weights 2021 (Prohaska et al., Pure Appl. Chem. 94, 2022, 573).
_H, _C, _N, _O, _S = 1.008, 12.011, 14.007, 15.999, 32.06

MOLAR_MASSES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "no": _N + _O,
        "no2": _N + 2 * _O,
        "o3": 3 * _O,
        "so2": _S + 2 * _O,
        "co": _C + _O,
        "co2": _C + 2 * _O,
        "h2s": 2 * _H + _S,
        "nh3": _N + 3 * _H,
        "hcho": 2 * _H + _C + _O,
        "benzene": 6 * _C + 6 * _H,
    }
)
"""Metric of a single gas → its molar mass in g/mol."""

# The size of each unit, in the smallest unit of its family.
_MASS: Final = {"µg/m³": 1.0, "mg/m³": 1e3}
_RATIO: Final = {"ppb": 1.0, "ppm": 1e3}
_SPELLINGS: Final = {
    "ug/m3": "µg/m³",
    "µg/m3": "µg/m³",
    "\N{GREEK SMALL LETTER MU}g/m³": "µg/m³",
    "\N{GREEK SMALL LETTER MU}g/m3": "µg/m³",
    "mg/m3": "mg/m³",
}
_DECIMALS: Final = 9


def _factors(metric: Metric) -> Mapping[str, float]:
    family = next((each for each in (_MASS, _RATIO) if metric.unit in each), {metric.unit: 1.0})
    own = family[metric.unit]
    factors = {metric.unit: 1.0} | {unit: size / own for unit, size in family.items()}
    if metric.name in MOLAR_MASSES:
        # ppb · (g/mol) / (l/mol) = µg/m³
        density = MOLAR_MASSES[metric.name] / MOLAR_VOLUME_L
        other, by = (_RATIO, density) if family is _MASS else (_MASS, 1 / density)
        factors |= {unit: size * by / own for unit, size in other.items()}
    return MappingProxyType(factors)


FACTORS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {metric.name: _factors(metric) for metric in CATALOGUE}
)
"""Metric → accepted unit → factor to the metric's own unit, which comes first with factor 1."""


def get_unit_factor(metric: str, unit: str) -> float:
    """Return the factor that converts a unit into a metric's own unit.

    Args:
        metric: A metric of the catalogue.
        unit: As the sender wrote it; `ug/m3` and `mg/m3` stand for `µg/m³` and `mg/m³`.

    Raises:
        RejectedError: `wrong_unit`; the detail names the accepted units.
    """
    known = FACTORS[metric]
    factor = known.get(_SPELLINGS.get(unit, unit))
    if factor is None:
        raise RejectedError(
            "wrong_unit",
            f"{format_rejected_value(unit)} does not measure {metric}: send it in {', '.join(known)}",
        )
    return factor


def convert_to_metric_unit(value: float, factor: float) -> float:
    """Convert a value into the metric's own unit, with the same rounding for MQTT and HTTP."""
    return value if factor == 1 else round(value * factor, _DECIMALS)
