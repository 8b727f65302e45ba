"""Computes the mould index of the VTT model hour by hour. Pure.

Defines the critical humidity, the rates of growth and decline, and the classes of materials.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from app.environmental_indices.index_results import (
    BandScale,
    IndexBand,
    IndexMethod,
    IndexResult,
    MethodCitation,
    ResultComponent,
    build_result,
)
from app.environmental_indices.input_types import HourlySeries, compute_percent, find_no_value_reason
from app.environmental_indices.period_selection import TimePeriod
from app.presentation.translation import translated

COVERAGE: Final = 75.0
MOULD_TOP: Final = 6.0
_WARM: Final = 20.0
_HOTTEST: Final = 50.0
_EARLY: Final = 1.0
# Hours since the air was last damp enough: the index declines, then rests, then declines at half the rate.
_DECLINE_FIRST_H: Final = 6
_REST_UNTIL_H: Final = 24
_DECLINE_FIRST_PER_DAY: Final = 0.032
_DECLINE_LATER_PER_DAY: Final = 0.016
_HOURS_A_DAY: Final = 24


class MouldSensitivity(NamedTuple):
    """The parameters of a class of materials.

    Attributes:
        early, late: growth factors below index 1 and from 1 on.
        a, b, c: coefficients of the highest index.
        least_rh: the least relative humidity for growth, %RH.
    """

    early: float
    late: float
    a: float
    b: float
    c: float
    least_rh: float


SENSITIVITIES: Final[Mapping[str, MouldSensitivity]] = {
    "very_sensitive": MouldSensitivity(1.0, 2.0, 1.0, 7.0, 2.0, 80.0),
    "sensitive": MouldSensitivity(0.578, 0.386, 0.3, 6.0, 1.0, 80.0),
    "medium_resistant": MouldSensitivity(0.072, 0.097, 0.0, 5.0, 1.5, 85.0),
    "resistant": MouldSensitivity(0.033, 0.014, 0.0, 3.0, 1.0, 85.0),
}
"""Pine sapwood is very sensitive, planed wood and board with paper sensitive, concrete medium resistant."""

MOULD_SCALE: Final = BandScale.of(
    (
        IndexBand("none", translated("No growth")),
        IndexBand("microscopic", translated("Growth under the microscope")),
        IndexBand("visible", translated("Visible growth")),
    ),
    1,
    3,
    side="upper",
)
MOULD: Final = IndexMethod(
    "mould-index",
    1,
    translated("Mould index (VTT model)"),
    MethodCitation(
        "Hukka and Viitanen, Wood Sci Technol 33 (1999) 475-485; classes of materials: Ojanen et al. (2010)",
        "https://doi.org/10.1007/s002260050131",
        "unverified",
        "Formula, classes and the unit of growth (a 1/7 for days is the 1/168 for hours of arXiv:1804.02992) "
        "are alike in three programs; that the decline of 0.032 and 0.016 is one per day was read in one. "
        "The paper itself was not read.",
    ),
    "any",
    ("temperature", "humidity"),
    "1",
    "75 % of the hours of the period, each with 75 % of the hour of both; other hours do not change it.",
    (
        translated(
            "From the air of the room: the model needs the humidity at the surface, higher on cold walls."
        ),
    ),
)


def critical_humidity(temperature_c: float, least_rh: float = 80.0) -> float:
    """Compute the relative humidity from which mould grows, in %RH.

    -0.00267·T³ + 0.160·T² - 3.13·T + 100 up to 20 °C, and never below the minimum of the material (80 or 85).
    """
    if temperature_c > _WARM:
        return least_rh
    t = temperature_c
    return max(least_rh, -0.00267 * t**3 + 0.160 * t**2 - 3.13 * t + 100.0)


def advance_mould_index(
    index: float, dry_hours: int, temperature_c: float, humidity: float, material: MouldSensitivity
) -> tuple[float, int]:
    """Compute the mould index and the consecutive dry hours after one more hour.

    Growth: dM/dt = k1·k2 / (7·exp(-0.68·ln T - 13.9·ln RH + 66.02)) a day, where k2 = 1 - exp(2.3·(M - Mmax))
    and not below 0, Mmax = A + B·x - C·x², x = (RHcrit - RH) / (RHcrit - 100). Only between 0 and 50 °C.

    Args:
        index: the index before the hour, 0 to 6.
        dry_hours: the consecutive dry hours before it.
        temperature_c: the mean temperature of the hour, °C.
        humidity: the mean humidity of the hour, %RH.
        material: the class of the material.
    """
    critical = critical_humidity(temperature_c, material.least_rh)
    if not 0.0 < temperature_c < _HOTTEST or humidity < critical:
        dry_hours += 1
        return max(0.0, index - _decline(dry_hours)), dry_hours
    x = (critical - humidity) / (critical - 100.0) if critical < 100.0 else 0.0  # noqa: PLR2004 (percent)
    highest = material.a + material.b * x - material.c * x * x
    rate = material.early if index < _EARLY else material.late
    slowed = max(0.0, 1.0 - math.exp(2.3 * (index - highest)))
    days = 7.0 * math.exp(-0.68 * math.log(temperature_c) - 13.9 * math.log(humidity) + 66.02)
    return min(MOULD_TOP, index + rate * slowed / days / _HOURS_A_DAY), 0


def compute_mould_index(
    temperature: HourlySeries | None,
    humidity: HourlySeries | None,
    period: TimePeriod,
    *,
    material: str = "very_sensitive",
    begin: float = 0.0,
    dry_hours: int = 0,
) -> IndexResult:
    """Compute the mould index at the end of a period, hour by hour.

    Args:
        temperature: hourly means in °C.
        humidity: hourly means in %RH.
        period: any period; the index takes weeks to grow.
        material: a key of `SENSITIVITIES`.
        begin: the index at the start, 0 to 6.
        dry_hours: the consecutive dry hours at the start.

    Returns:
        0 (no growth) to 6 (all covered). Components: the highest index in the period, the share of hours with
        growth, and the consecutive dry hours at the end (the input of a following period).
    """
    if temperature is None or humidity is None:
        return build_result(MOULD, period, None, 0.0, reason="metric_missing")
    hours = period.hours()
    warm, damp = temperature.on(hours), humidity.on(hours)
    valid = np.isfinite(warm) & np.isfinite(damp)
    covered = compute_percent(int(valid.sum()), len(hours))
    reason = find_no_value_reason(humidity.begun(period), covered, COVERAGE)
    if reason is not None:
        return build_result(MOULD, period, None, covered, reason=reason)
    of = SENSITIVITIES[material]
    index = highest = begin
    growing = 0
    for t, rh in zip(warm[valid].tolist(), damp[valid].tolist(), strict=True):
        index, dry_hours = advance_mould_index(index, dry_hours, t, rh, of)
        highest = max(highest, index)
        growing += dry_hours == 0
    components = (
        ResultComponent(
            "highest", highest, "1", covered, MOULD_SCALE.band(highest), MOULD_SCALE.level(highest)
        ),
        ResultComponent("growing", compute_percent(growing, int(valid.sum())), "%", covered),
        ResultComponent("dry_hours", float(dry_hours), "h", covered),
    )
    return build_result(MOULD, period, index, covered, band=MOULD_SCALE.band(index), components=components)


def _decline(dry_hours: int) -> float:
    """Return by how much the index falls in the n-th consecutive dry hour."""
    if dry_hours <= _DECLINE_FIRST_H:
        return _DECLINE_FIRST_PER_DAY / _HOURS_A_DAY
    return 0.0 if dry_hours <= _REST_UNTIL_H else _DECLINE_LATER_PER_DAY / _HOURS_A_DAY


METHODS: Final = (MOULD,)
