"""Computes outdoor air indices: the European index of an hour and the French index of a day. Pure.

In both, the worst pollutant decides, and a bound belongs to the lower (better) band: the French order writes
`concentration ≤ 40`, then `40 < concentration ≤ 90`.
"""

import math
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from app.environmental_indices.index_results import (
    BandScale,
    IndexBand,
    IndexMethod,
    IndexResult,
    MethodCitation,
    ResultComponent,
    build_result,
    common_reason,
    lowest_coverage,
)
from app.environmental_indices.input_types import (
    HOUR_COVERAGE,
    HourlySeries,
    PeriodMean,
    compute_period_mean,
)
from app.environmental_indices.period_selection import TimePeriod, hour_containing, local_day
from app.presentation.translation import translated

DAY_COVERAGE: Final = 75.0
UNIT: Final = "µg/m³"

_EAQI_BANDS: Final = (
    IndexBand("good", translated("Good"), "#50F0E6"),
    IndexBand("fair", translated("Fair"), "#50CCAA"),
    IndexBand("moderate", translated("Moderate"), "#F0E641"),
    IndexBand("poor", translated("Poor"), "#FF5050"),
    IndexBand("very_poor", translated("Very poor"), "#960032"),
    IndexBand("extremely_poor", translated("Extremely poor"), "#7D2181"),
)
EAQI_SCALES: Final[Mapping[str, BandScale]] = {
    "pm2_5": BandScale.of(_EAQI_BANDS, 5, 15, 50, 90, 140),
    "pm10": BandScale.of(_EAQI_BANDS, 15, 45, 120, 195, 270),
    "no2": BandScale.of(_EAQI_BANDS, 10, 25, 60, 100, 150),
    "o3": BandScale.of(_EAQI_BANDS, 60, 100, 120, 160, 180),
    "so2": BandScale.of(_EAQI_BANDS, 20, 40, 125, 190, 275),
}

_ATMO_BANDS: Final = (
    IndexBand("bon", translated("Good"), "#50F0E6"),
    IndexBand("moyen", translated("Medium"), "#50CCAA"),
    IndexBand("degrade", translated("Degraded"), "#F0E641"),
    IndexBand("mauvais", translated("Bad"), "#FF5050"),
    IndexBand("tres_mauvais", translated("Very bad"), "#960032"),
    IndexBand("extremement_mauvais", translated("Extremely bad"), "#872181"),
)
ATMO_SCALES: Final[Mapping[str, BandScale]] = {
    "pm2_5": BandScale.of(_ATMO_BANDS, 10, 20, 25, 50, 75),
    "pm10": BandScale.of(_ATMO_BANDS, 20, 40, 50, 100, 150),
    "no2": BandScale.of(_ATMO_BANDS, 40, 90, 120, 230, 340),
    "o3": BandScale.of(_ATMO_BANDS, 50, 100, 130, 240, 380),
    "so2": BandScale.of(_ATMO_BANDS, 100, 200, 350, 500, 750),
}
# Gases count by the highest hour of the day, particles by the mean of the day.
_BY_HIGHEST: Final = frozenset({"no2", "o3", "so2"})

PARTIAL_ATMO_NOTE: Final = translated(
    "Not every pollutant of the index has a value: the true index may be worse."
)

EAQI: Final = IndexMethod(
    "eaqi",
    1,
    translated("European Air Quality Index (hourly)"),
    MethodCitation(
        "ETC HE Report 2024/17: EEA's revision of the European air quality index bands",
        "https://www.eionet.europa.eu/etcs/etc-he/products/etc-he-products/etc-he-reports/"
        "etc-he-report-2024-17-eeas-revision-of-the-european-air-quality-index-bands",
        "verified",
        "Bounds and colours are alike in several independent programs that cite the report, one of them its "
        "table 5.2. It gives whole numbers; that a bound belongs to the lower band and nothing is rounded is "
        "how we read it.",
    ),
    "hour",
    tuple(EAQI_SCALES),
    "1",
    "75 % of the hour, for each pollutant (as in Directive 2008/50/EC, Annex VII); the others are left out.",
)

ATMO: Final = IndexMethod(
    "atmo",
    1,
    translated("French air quality index (daily)"),
    MethodCitation(
        "Arrêté du 10 juillet 2020 relatif à l'indice de la qualité de l'air ambiant (France), annexe I",
        "https://www.legifrance.gouv.fr/loda/id/JORFTEXT000042164835/",
        "verified",
        "SO₂, NO₂ and O₃ were read in the order; PM10, PM2.5 and the colours in programs that cite the guide "
        "of Atmo France. The rule of coverage is ours: none was found in the order.",
    ),
    "day",
    tuple(ATMO_SCALES),
    "1",
    "75 % of the hours of the local day, each with 75 % of the hour, for each pollutant; the others are left "
    "out.",
    (
        translated(
            "Computed in the way of the order for the place of the box; only the approved associations "
            "(AASQA) give out an index ATMO, which is of a whole area."
        ),
    ),
)


def compute_eaqi(series: Mapping[str, HourlySeries], at_us: int) -> IndexResult:
    """Compute the European Air Quality Index of one hour.

    Args:
        series: hourly means in µg/m³, by measured metric.
        at_us: an instant in the hour, µs since the epoch.

    Returns:
        The number of the worst band, 1 to 6, with the band and concentration of each pollutant, or the reason
        why it has no value.
    """
    period = hour_containing(at_us)
    return _worst(EAQI, EAQI_SCALES, period, lambda metric: _hour(series.get(metric), period))


def compute_atmo(series: Mapping[str, HourlySeries], day: date, zone: ZoneInfo) -> IndexResult:
    """Compute the French index of a local day (23 to 25 hours).

    Args:
        series: hourly means in µg/m³, by measured metric.
        day: the local date.
        zone: the time zone of the site.

    Returns:
        The number of the worst band, 1 to 6, with the band and concentration of each pollutant: the highest
        hourly mean of SO2, NO2 and O3, the mean of the day of PM10 and PM2.5.
    """
    period = local_day(day, zone)

    def found(metric: str) -> PeriodMean:
        return compute_period_mean(series.get(metric), period, DAY_COVERAGE, highest=metric in _BY_HIGHEST)

    return _worst(ATMO, ATMO_SCALES, period, found)


def _hour(hourly: HourlySeries | None, period: TimePeriod) -> PeriodMean:
    """Return the mean of one hour with its coverage."""
    if hourly is None:
        return PeriodMean(None, 0.0, "metric_missing")
    found = hourly.at(period.start_us)
    if found is None or found[1] == 0 or not math.isfinite(found[0]):
        return PeriodMean(None, 0.0, "no_data")
    value, covered = found
    if covered < HOUR_COVERAGE:
        return PeriodMean(None, round(covered, 2), "coverage_too_low")
    return PeriodMean(value, round(covered, 2), None)


def _worst(
    method: IndexMethod,
    scales: Mapping[str, BandScale],
    period: TimePeriod,
    found: Callable[[str], PeriodMean],
) -> IndexResult:
    components = tuple(_component(metric, scale, found(metric)) for metric, scale in scales.items())
    levels = [part.level for part in components if part.level is not None]
    covered = lowest_coverage(components)
    if not levels:
        reason = common_reason(components)
        return build_result(method, period, None, covered, components=components, reason=reason)
    worst = max(levels)
    band = next(iter(scales.values())).bands[worst - 1]
    notes = (PARTIAL_ATMO_NOTE,) if len(levels) < len(components) else ()
    return build_result(method, period, float(worst), covered, band=band, components=components, notes=notes)


def _component(metric: str, scale: BandScale, mean: PeriodMean) -> ResultComponent:
    if mean.value is None:
        return ResultComponent(metric, None, UNIT, mean.coverage, reason=mean.reason)
    level = scale.level(mean.value)
    return ResultComponent(metric, mean.value, UNIT, mean.coverage, scale.bands[level - 1], level)


METHODS: Final = (EAQI, ATMO)
