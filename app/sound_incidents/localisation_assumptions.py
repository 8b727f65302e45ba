"""Estimates the air temperature for localisation, and cites the methods that made an incident. Pure."""

from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from app.acoustics.classification_pooling import CLASS_PRIOR
from app.acoustics.localisation_inputs import AirConditions, LocalisationSettings
from app.sound_incidents.event_clustering import MAX_CLOCK_ERROR_MS, AirTemperature
from app.sound_incidents.settings import IncidentSettings

INDOOR_SITE_KINDS: Final = frozenset({"office", "indoor"})
"""Kinds of sites without wind and at room temperature."""

_INDOORS: Final = AirTemperature(21.0, 3.0)
_MEASURED_SIGMA_C: Final = 2.0
_COLDEST_C, _WARMEST_C = -40.0, 55.0

LOCALISATION_METHOD: Final = ("tdoa_robust_least_squares", 1)
ASSOCIATION_METHOD: Final = ("travel_time_association", 1)
FUSION_METHOD: Final = ("logarithmic_opinion_pool", 1)
_CITED: Final = {
    LOCALISATION_METHOD: "Schau and Robinson, IEEE Trans. ASSP 35(8), 1987; Fang, IEEE Trans. AES 26(5), "
    "1990; "
    "docs/acoustics.md#where-it-was",
    ASSOCIATION_METHOD: "docs/acoustics.md#which-events-are-one-incident",
    FUSION_METHOD: "Genest and Zidek, Statistical Science 1(1), 1986; docs/acoustics.md#what-it-was",
}


def estimate_temperature(measured: list[float], kind: str, settings: IncidentSettings) -> AirTemperature:
    """Estimate the air temperature: the median of plausible measurements, or else a default.

    Args:
        measured: the newest temperature of each box that measured one, °C.
        kind: the kind of the site.
        settings: the default outdoor temperature and its standard error.
    """
    plausible = [value for value in measured if _COLDEST_C <= value <= _WARMEST_C]
    if plausible:
        return AirTemperature(float(median(plausible)), _MEASURED_SIGMA_C, len(plausible))
    if kind in INDOOR_SITE_KINDS:
        return _INDOORS
    return AirTemperature(settings.temperature_c, settings.temperature_sigma_c)


def build_localisation_settings(
    temperature: AirTemperature, kind: str, settings: IncidentSettings
) -> LocalisationSettings:
    """Build the error model of a site."""
    wind = 0.0 if kind in INDOOR_SITE_KINDS else settings.wind_sigma_m_s
    return LocalisationSettings(AirConditions(temperature.celsius, temperature.sigma_celsius, wind))


def describe_methods(settings: LocalisationSettings) -> list[dict[str, Any]]:
    """Describe the methods that made an incident, with their versions, citations and parameters."""
    parameters: dict[tuple[str, int], Mapping[str, float]] = {
        LOCALISATION_METHOD: {
            "wind_sigma_m_s": settings.conditions.wind_sigma_m_s,
            "jitter_ms": settings.jitter_ms,
            "unknown_clock_ms": settings.unknown_clock_ms,
            "position_sigma_m": settings.position_sigma_m,
            "range_m": settings.range_m,
            "late_share": settings.late_share,
            "false_share": settings.false_share,
            "level_of_test": settings.level_of_test,
        },
        ASSOCIATION_METHOD: {"range_m": settings.range_m, "most_clock_ms": MAX_CLOCK_ERROR_MS},
        FUSION_METHOD: {f"prior_{kind}": share for kind, share in CLASS_PRIOR.items()},
    }
    return [
        {"name": name, "version": version, "citation": _CITED[name, version], "parameters": dict(values)}
        for (name, version), values in parameters.items()
    ]
