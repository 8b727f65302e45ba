"""Rates comfort: temperature by category, humidex, and light by the use of a room. Pure."""

import math
from collections.abc import Mapping
from typing import Final, Literal

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
from app.environmental_indices.input_types import (
    HourlySeries,
    compute_percent,
    compute_period_mean,
    find_no_value_reason,
)
from app.environmental_indices.period_selection import TimePeriod
from app.presentation.translation import BilingualText, translated

COVERAGE: Final = 75.0
type Season = Literal["heating", "cooling"]

COMFORT_CATEGORIES: Final = (
    IndexBand("a", translated("Category A (high expectation)")),
    IndexBand("b", translated("Category B (normal)")),
    IndexBand("c", translated("Category C (moderate)")),
    IndexBand("outside", translated("Outside the categories")),
)
COMFORT_RANGES: Final[Mapping[Season, tuple[tuple[float, float], ...]]] = {
    "heating": ((21.0, 23.0), (20.0, 24.0), (19.0, 25.0)),
    "cooling": ((23.5, 25.5), (23.0, 26.0), (22.0, 27.0)),
}
"""°C of categories A, B and C, both ends included: 22 ± 1, 2, 3 and 24.5 ± 1, 1.5, 2.5."""

THERMAL: Final = IndexMethod(
    "thermal-comfort",
    1,
    translated("Thermal comfort of sedentary rooms"),
    MethodCitation(
        "EN ISO 7730:2005, table A.5 (offices, classrooms); categories A to C have the ranges of I to III of "
        "EN 16798-1",
        None,
        "verified",
        "The ranges of EN ISO 7730 read in a text that quotes the table; of EN 16798-1 only category I could "
        "be confirmed. The rule of coverage is ours.",
    ),
    "any",
    ("temperature",),
    "°C",
    "75 % of the hours of the period, each with 75 % of the hour.",
    (
        translated(
            "From the air temperature; the standard means the operative one, of air and walls together."
        ),
    ),
)

HUMIDEX_SCALE: Final = BandScale(
    (
        IndexBand("none", translated("Little or no discomfort")),
        IndexBand("some", translated("Some discomfort")),
        IndexBand(
            "great",
            translated("Great discomfort: avoid exertion"),
        ),
        IndexBand("dangerous", translated("Dangerous: heat stroke possible")),
    ),
    (30, 40, 45),
    ("upper", "upper", "lower"),
)
HUMIDEX: Final = IndexMethod(
    "humidex",
    1,
    translated("Humidex"),
    MethodCitation(
        "Masterton and Richardson (1979), Environment Canada: humidex",
        None,
        "verified",
        "Formula and classes read in texts that quote Environment Canada; the dew point by Magnus' formula "
        "(17.62, 243.12 °C). The rule of coverage is ours.",
    ),
    "any",
    ("temperature", "humidity"),
    "1",
    "75 % of the hours of the period, each with 75 % of the hour of both.",
    (translated("For warm air: below 20 °C it says little."),),
)

LIGHT_NEEDS: Final[Mapping[str, tuple[float, BilingualText]]] = {
    "writing": (500, translated("Writing, reading, data")),
    "cad": (500, translated("CAD workstations")),
    "drawing": (750, translated("Technical drawing")),
    "meeting": (500, translated("Meeting rooms")),
    "reception": (300, translated("Reception")),
    "filing": (300, translated("Filing, copying")),
    "archive": (200, translated("Archives")),
    "corridor": (100, translated("Corridors")),
}
"""lx at the place of the task, by the use of the room."""
LIGHT_BANDS: Final = (
    IndexBand("too_dark", translated("Too dark for this use")),
    IndexBand("sufficient", translated("Enough light for this use")),
)
LIGHT: Final = IndexMethod(
    "light",
    1,
    translated("Light by the use of a room"),
    MethodCitation(
        "EN 12464-1: lighting of indoor work places",
        None,
        "verified",
        "Values read in secondary tables, not in the standard. The rule of coverage is ours.",
    ),
    "any",
    ("illuminance",),
    "lx",
    "75 % of the hours of the period, each with 75 % of the hour.",
    (
        translated(
            "Measured at the box; the standard applies to the place of the task. Use working hours only."
        ),
    ),
)


def comfort_category(temperature_c: float, season: Season) -> IndexBand:
    """Return the best category that contains a temperature."""
    rounded = round(temperature_c, 9)
    for band, (low, high) in zip(COMFORT_CATEGORIES, COMFORT_RANGES[season], strict=False):
        if low <= rounded <= high:
            return band
    return COMFORT_CATEGORIES[-1]


def compute_thermal_comfort(
    temperature: HourlySeries | None, period: TimePeriod, season: Season
) -> IndexResult:
    """Rate the mean temperature of a period, with the share of hours in each category.

    Args:
        temperature: hourly means in °C.
        period: the period; choose hours of occupancy.
        season: `heating` for winter clothing, `cooling` for summer clothing.
    """
    mean = compute_period_mean(temperature, period, COVERAGE)
    if temperature is None or mean.value is None:
        return build_result(THERMAL, period, None, mean.coverage, reason=mean.reason)
    found = temperature.on(period.hours())
    bands = [comfort_category(value, season) for value in found[np.isfinite(found)].tolist()]
    components = tuple(
        ResultComponent(band.key, compute_percent(bands.count(band), len(bands)), "%", mean.coverage, band)
        for band in COMFORT_CATEGORIES
    )
    band = comfort_category(mean.value, season)
    return build_result(THERMAL, period, mean.value, mean.coverage, band=band, components=components)


def dew_point(temperature_c: float, humidity: float) -> float:
    """Compute the dew point in °C, by Magnus' formula over water (humidity above 0 %RH)."""
    a, b = 17.62, 243.12
    gamma = math.log(humidity / 100.0) + a * temperature_c / (b + temperature_c)
    return b * gamma / (a - gamma)


def humidex_from_dew_point(temperature_c: float, dew_point_c: float) -> float:
    """Compute T + 0.5555·(6.11·exp(5417.7530·(1/273.16 - 1/(273.15 + dew point))) - 10)."""
    vapour = 6.11 * math.exp(5_417.753 * (1 / 273.16 - 1 / (273.15 + dew_point_c)))
    return temperature_c + 0.5555 * (vapour - 10.0)


def compute_humidex(
    temperature: HourlySeries | None, humidity: HourlySeries | None, period: TimePeriod
) -> IndexResult:
    """Compute the highest humidex of a period's hours.

    Args:
        temperature: hourly means in °C.
        humidity: hourly means in %RH.
        period: any period.
    """
    if temperature is None or humidity is None:
        return build_result(HUMIDEX, period, None, 0.0, reason="metric_missing")
    hours = period.hours()
    warm, damp = temperature.on(hours), humidity.on(hours)
    valid = np.isfinite(warm) & (damp > 0)
    covered = compute_percent(int(valid.sum()), len(hours))
    reason = find_no_value_reason(temperature.begun(period), covered, COVERAGE)
    if reason is not None:
        return build_result(HUMIDEX, period, None, covered, reason=reason)
    pairs = zip(warm[valid].tolist(), damp[valid].tolist(), strict=True)
    value = max(humidex_from_dew_point(t, dew_point(t, rh)) for t, rh in pairs)
    return build_result(HUMIDEX, period, value, covered, band=HUMIDEX_SCALE.band(value))


def compute_light(illuminance: HourlySeries | None, period: TimePeriod, use: str) -> IndexResult:
    """Compare the mean illuminance of a period with the need of the room's use.

    Args:
        illuminance: hourly means in lx.
        period: the period; choose working hours.
        use: a key of `LIGHT_NEEDS`.

    Returns:
        The mean. `limit` is the need; `exceeded` means that there is more light than needed.
    """
    need, _ = LIGHT_NEEDS[use]
    mean = compute_period_mean(illuminance, period, COVERAGE)
    scale = BandScale.of(LIGHT_BANDS, need, side="upper")
    band = None if mean.value is None else scale.band(mean.value)
    return build_result(LIGHT, period, mean.value, mean.coverage, limit=need, band=band, reason=mean.reason)


METHODS: Final = (THERMAL, HUMIDEX, LIGHT)
