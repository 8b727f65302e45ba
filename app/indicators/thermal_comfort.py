"""Comfort in rooms and outdoors: temperature by category, humidex, light by the use of a room.

Owns the ranges, the classes and the light that each use needs. Pure.
"""

import math
from collections.abc import Mapping
from typing import Final, Literal

import numpy as np

from app.indicators.calendar_periods import Period
from app.indicators.class_scales import Scale
from app.indicators.index_results import Band, Citation, Component, Method, Result, Text
from app.indicators.input_types import Hourly, lacking, mean_of, percent
from app.indicators.result_builder import made

COVERAGE: Final = 75.0
type Season = Literal["heating", "cooling"]

CATEGORIES: Final = (
    Band("a", Text("Category A (high expectation)", "Catégorie A (attente élevée)")),
    Band("b", Text("Category B (normal)", "Catégorie B (normale)")),
    Band("c", Text("Category C (moderate)", "Catégorie C (modérée)")),
    Band("outside", Text("Outside the categories", "Hors catégories")),
)
RANGES: Final[Mapping[Season, tuple[tuple[float, float], ...]]] = {
    "heating": ((21.0, 23.0), (20.0, 24.0), (19.0, 25.0)),
    "cooling": ((23.5, 25.5), (23.0, 26.0), (22.0, 27.0)),
}
"""°C of categories A, B and C, both ends included: 22 ± 1, 2, 3 and 24.5 ± 1, 1.5, 2.5."""

THERMAL: Final = Method(
    "thermal-comfort",
    1,
    Text("Thermal comfort of sedentary rooms", "Confort thermique des pièces à activité sédentaire"),
    Citation(
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
        Text(
            "Of the air's temperature: the standard means that of air and walls together (operative).",
            "De la température de l'air : la norme entend celle de l'air et des parois ensemble (opérative).",
        ),
    ),
)

HUMIDEX_SCALE: Final = Scale(
    (
        Band("none", Text("Little or no discomfort", "Peu ou pas d'inconfort")),
        Band("some", Text("Some discomfort", "Un certain inconfort")),
        Band("great", Text("Great discomfort: avoid exertion", "Beaucoup d'inconfort : éviter l'effort")),
        Band("dangerous", Text("Dangerous: heat stroke possible", "Danger : coup de chaleur possible")),
    ),
    (30, 40, 45),
    ("upper", "upper", "lower"),
)
HUMIDEX: Final = Method(
    "humidex",
    1,
    Text("Humidex", "Humidex"),
    Citation(
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
    (
        Text(
            "For warm air: below 20 °C it says little.",
            "Pour l'air chaud : au-dessous de 20 °C, il est peu significatif.",
        ),
    ),
)

LIGHT_NEEDS: Final[Mapping[str, tuple[float, Text]]] = {
    "writing": (500, Text("Writing, reading, data", "Écriture, lecture, saisie")),
    "cad": (500, Text("CAD workstations", "Postes de CAO")),
    "drawing": (750, Text("Technical drawing", "Dessin technique")),
    "meeting": (500, Text("Meeting rooms", "Salles de réunion")),
    "reception": (300, Text("Reception", "Accueil")),
    "filing": (300, Text("Filing, copying", "Classement, copie")),
    "archive": (200, Text("Archives", "Archives")),
    "corridor": (100, Text("Corridors", "Couloirs")),
}
"""lx at the place of the task, by the use of the room."""
LIGHT_BANDS: Final = (
    Band("too_dark", Text("Too dark for this use", "Trop sombre pour cet usage")),
    Band("sufficient", Text("Enough light for this use", "Éclairement suffisant pour cet usage")),
)
LIGHT: Final = Method(
    "light",
    1,
    Text("Light by the use of a room", "Éclairement selon l'usage de la pièce"),
    Citation(
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
        Text(
            "Where the box stands; the standard means the place of the task. Take hours of work only.",
            "À l'endroit du boîtier ; la norme entend celui de la tâche. Prenez les heures de travail.",
        ),
    ),
)


def category(temperature_c: float, season: Season) -> Band:
    """The best category that a temperature lies in."""
    rounded = round(temperature_c, 9)
    for band, (low, high) in zip(CATEGORIES, RANGES[season], strict=False):
        if low <= rounded <= high:
            return band
    return CATEGORIES[-1]


def thermal_comfort(temperature: Hourly | None, period: Period, season: Season) -> Result:
    """The category of a period's mean temperature, and the share of hours in each category.

    Args:
        temperature: hourly means in °C.
        period: take the hours in which people are there.
        season: `heating`: clothed for winter; `cooling`: for summer.
    """
    mean = mean_of(temperature, period, COVERAGE)
    if temperature is None or mean.value is None:
        return made(THERMAL, period, None, mean.coverage, reason=mean.reason)
    found = temperature.on(period.hours())
    bands = [category(value, season) for value in found[np.isfinite(found)].tolist()]
    components = tuple(
        Component(band.key, percent(bands.count(band), len(bands)), "%", mean.coverage, band)
        for band in CATEGORIES
    )
    band = category(mean.value, season)
    return made(THERMAL, period, mean.value, mean.coverage, band=band, components=components)


def dew_point(temperature_c: float, humidity: float) -> float:
    """The dew point in °C, by Magnus' formula over water (humidity above 0 %RH)."""
    a, b = 17.62, 243.12
    gamma = math.log(humidity / 100.0) + a * temperature_c / (b + temperature_c)
    return b * gamma / (a - gamma)


def humidex_of(temperature_c: float, dew_point_c: float) -> float:
    """T + 0.5555·(6.11·exp(5417.7530·(1/273.16 - 1/(273.15 + dew point))) - 10)."""
    vapour = 6.11 * math.exp(5_417.753 * (1 / 273.16 - 1 / (273.15 + dew_point_c)))
    return temperature_c + 0.5555 * (vapour - 10.0)


def humidex(temperature: Hourly | None, humidity: Hourly | None, period: Period) -> Result:
    """The highest humidex of a period's hours.

    Args:
        temperature: hourly means in °C.
        humidity: hourly means in %RH.
        period: any.
    """
    if temperature is None or humidity is None:
        return made(HUMIDEX, period, None, 0.0, reason="metric_missing")
    hours = period.hours()
    warm, damp = temperature.on(hours), humidity.on(hours)
    there = np.isfinite(warm) & (damp > 0)
    covered = percent(int(there.sum()), len(hours))
    reason = lacking(temperature.begun(period), covered, COVERAGE)
    if reason is not None:
        return made(HUMIDEX, period, None, covered, reason=reason)
    pairs = zip(warm[there].tolist(), damp[there].tolist(), strict=True)
    value = max(humidex_of(t, dew_point(t, rh)) for t, rh in pairs)
    return made(HUMIDEX, period, value, covered, band=HUMIDEX_SCALE.band(value))


def light(illuminance: Hourly | None, period: Period, use: str) -> Result:
    """A period's mean illuminance by what the use of the room needs.

    Args:
        illuminance: hourly means in lx.
        period: take hours of work.
        use: a key of `LIGHT_NEEDS`.

    Returns:
        `limit` is the need, and `exceeded` says that there is more light than that.
    """
    need, _ = LIGHT_NEEDS[use]
    mean = mean_of(illuminance, period, COVERAGE)
    scale = Scale.of(LIGHT_BANDS, need, side="upper")
    band = None if mean.value is None else scale.band(mean.value)
    return made(LIGHT, period, mean.value, mean.coverage, limit=need, band=band, reason=mean.reason)


METHODS: Final = (THERMAL, HUMIDEX, LIGHT)
