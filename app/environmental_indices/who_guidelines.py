"""Compares outdoor air with the guidelines of the World Health Organization. Pure."""

import math
from collections.abc import Mapping
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from app.catalogue.metrics import METRICS_BY_NAME
from app.environmental_indices.index_results import (
    IndexMethod,
    IndexResult,
    MethodCitation,
    ResultComponent,
    build_result,
    exceeds_limit,
)
from app.environmental_indices.input_types import (
    HourlySeries,
    PeriodMean,
    compute_percent,
    compute_period_mean,
    daily_highest_runs,
    daily_means,
    find_no_value_reason,
)
from app.environmental_indices.period_selection import (
    TimePeriod,
    last_of_month,
    list_dates,
    local_day,
    local_day_range,
    local_year,
)
from app.presentation.translation import translated

GUIDELINES_24H: Final[Mapping[str, float]] = {"pm2_5": 15, "pm10": 45, "no2": 25, "so2": 40, "co": 4}
GUIDELINES_YEAR: Final[Mapping[str, float]] = {"pm2_5": 5, "pm10": 15, "no2": 10}
GUIDELINE_O3_8H: Final = 100.0
GUIDELINE_O3_PEAK: Final = 60.0
DAY_COVERAGE: Final = 75.0
YEAR_COVERAGE: Final = 85.0
"""Percent, by Directive (EU) 2024/2881, Annex V, point B, for years from 2026 on."""
FORMER_YEAR_COVERAGE: Final = 90.0
"""Percent, by Directive 2008/50/EC, Annex I, for the years before."""
RECAST_YEAR: Final = 2026
PERCENTILE: Final = 99
_OZONE: Final = "o3"
_SEASON_MONTHS: Final = 6
_MONTHS: Final = 12

_URL: Final = "https://www.ncbi.nlm.nih.gov/books/NBK574591/"


def _citation(coverage: str) -> MethodCitation:
    return MethodCitation(
        "WHO global air quality guidelines (2021), table 0.1",
        _URL,
        "verified",
        f"Levels and footnotes read in texts that quote the table. {coverage}",
    )


_OURS: Final = "The rule of coverage is that of European law; the guidelines set none."

WHO_24H: Final = IndexMethod(
    "who-24h",
    1,
    translated("WHO guideline, 24 hours"),
    _citation(_OURS),
    "day",
    tuple(GUIDELINES_24H),
    "µg/m³ (CO: mg/m³)",
    "75 % of the hours of the local day, each with 75 % of the hour.",
)
WHO_O3_8H: Final = IndexMethod(
    "who-o3-8h",
    1,
    translated("WHO guideline, ozone over 8 hours"),
    _citation(_OURS),
    "day",
    (_OZONE,),
    "µg/m³",
    "6 of 8 hours for each running mean, 75 % of the day's running means, each of the day it ends on.",
)
WHO_YEAR: Final = IndexMethod(
    "who-year",
    2,
    translated("WHO guideline, year"),
    _citation(
        "The rule of coverage is the minimum data coverage of Directive (EU) 2024/2881, Annex V, point B, "
        "read in a transcription; for the years up to 2025 that of Directive 2008/50/EC, Annex I."
    ),
    "year",
    tuple(GUIDELINES_YEAR),
    "µg/m³",
    "85 % of the hours of the local year (90 % up to 2025), each with 75 % of the hour.",
)
WHO_O3_PEAK: Final = IndexMethod(
    "who-o3-peak-season",
    1,
    translated("WHO guideline, ozone in the peak season"),
    _citation("The rule of coverage is ours. Of several seasons those that end in the year are meant."),
    "year",
    (_OZONE,),
    "µg/m³",
    "75 % of the days of each of six months in a row, each with its highest 8-hour mean.",
)
WHO_DAYS: Final = IndexMethod(
    "who-days-over",
    1,
    translated("Days over the WHO guideline for 24 (ozone: 8) hours"),
    _citation("The 99th percentile is read as the nearest rank: three days of a whole year may lie above."),
    "year",
    (*GUIDELINES_24H, _OZONE),
    "d",
    "75 % of the days of the local year, each with 75 % of its hours.",
)
FEW_SEASONS_NOTE: Final = translated(
    "Not every six months that end in the year are covered: the true peak season may be a worse one."
)


def compute_who_24h(metric: str, hourly: HourlySeries | None, day: date, zone: ZoneInfo) -> IndexResult:
    """Compare the mean of a local day with the 24-hour guideline.

    Args:
        metric: a key of `GUIDELINES_24H`.
        hourly: hourly means in the metric's unit; None if it is not measured.
        day: the local date.
        zone: the time zone of the site.

    Raises:
        KeyError: the metric has no guideline.
    """
    limit, period = GUIDELINES_24H[metric], local_day(day, zone)
    mean = compute_period_mean(hourly, period, DAY_COVERAGE)
    return _of_mean(WHO_24H, metric, period, mean, limit)


def compute_who_year(metric: str, hourly: HourlySeries | None, year: int, zone: ZoneInfo) -> IndexResult:
    """Compare the mean of a local year with the annual guideline.

    Args:
        metric: a key of `GUIDELINES_YEAR`.
        hourly: hourly means in the metric's unit; None if it is not measured.
        year: the year.
        zone: the time zone of the site.

    Raises:
        KeyError: the metric has no guideline.
    """
    limit, period = GUIDELINES_YEAR[metric], local_year(year, zone)
    needed = YEAR_COVERAGE if year >= RECAST_YEAR else FORMER_YEAR_COVERAGE
    return _of_mean(WHO_YEAR, metric, period, compute_period_mean(hourly, period, needed), limit)


def compute_who_o3_8h(hourly: HourlySeries | None, day: date, zone: ZoneInfo) -> IndexResult:
    """Compare the highest 8-hour running mean of ozone of a local day with its guideline."""
    period = local_day(day, zone)
    mean = (
        PeriodMean(None, 0.0, "metric_missing")
        if hourly is None
        else daily_highest_runs(hourly, [day], zone)[0]
    )
    return _of_mean(WHO_O3_8H, _OZONE, period, mean, GUIDELINE_O3_8H)


def compute_who_o3_peak_season(hourly: HourlySeries | None, year: int, zone: ZoneInfo) -> IndexResult:
    """Compute the peak season of ozone: the worst six consecutive months that end in a year.

    The value is the mean of the daily highest 8-hour means.

    Args:
        hourly: hourly means in µg/m³ from August of the year before; None if ozone is not measured.
        year: the year in which the six months end.
        zone: the time zone of the site.

    Returns:
        The mean, with the period of that season. Components: its months, such as `2025-04` to `2025-09`.
    """
    whole = local_day_range(date(year - 1, _MONTHS - _SEASON_MONTHS + 2, 1), date(year, _MONTHS, 31), zone)
    if hourly is None:
        return build_result(WHO_O3_PEAK, whole, None, 0.0, limit=GUIDELINE_O3_PEAK, reason="metric_missing")
    months = [_month(hourly, year + (index // _MONTHS), index % _MONTHS + 1, zone) for index in range(-5, 12)]
    seasons = [months[begin : begin + _SEASON_MONTHS] for begin in range(_MONTHS)]
    good = [season for season in seasons if all(month.coverage >= DAY_COVERAGE for month in season)]
    if not good:
        best = max(min(month.coverage for month in season) for season in seasons)
        reason = find_no_value_reason(hourly.begun(whole), best, DAY_COVERAGE)
        return build_result(WHO_O3_PEAK, whole, None, best, limit=GUIDELINE_O3_PEAK, reason=reason)
    worst = max(good, key=_season_mean)
    return build_result(
        WHO_O3_PEAK,
        TimePeriod(worst[0].period.start_us, worst[-1].period.end_us),
        _season_mean(worst),
        min(month.coverage for month in worst),
        limit=GUIDELINE_O3_PEAK,
        components=tuple(month.component() for month in worst),
        notes=(FEW_SEASONS_NOTE,) if len(good) < len(seasons) else (),
    )


def compute_who_days_over(metric: str, hourly: HourlySeries | None, year: int, zone: ZoneInfo) -> IndexResult:
    """Compare the number of days of a local year above the short-term guideline with the allowed number.

    Args:
        metric: a key of `GUIDELINES_24H`, or `o3`.
        hourly: hourly means in the metric's unit; None if it is not measured.
        year: the year.
        zone: the time zone of the site.

    Returns:
        The number of days. `limit` is the number above the 99th percentile (nearest rank): 3 of 365.
        `exceeded` means that the percentile is above the guideline. Components: `p99`, and the number of
        valid days (`days`).

    Raises:
        KeyError: the metric has no guideline.
    """
    guideline = GUIDELINE_O3_8H if metric == _OZONE else GUIDELINES_24H[metric]
    period = local_year(year, zone)
    if hourly is None:
        return build_result(WHO_DAYS, period, None, 0.0, limit=0.0, reason="metric_missing")
    days = list_dates(date(year, 1, 1), date(year, _MONTHS, 31))
    of_days = (daily_highest_runs if metric == _OZONE else daily_means)(hourly, days, zone)
    found = sorted(mean.value for mean in of_days if mean.value is not None)
    covered = compute_percent(len(found), len(days))
    rank = math.ceil(len(found) * PERCENTILE / 100)
    allowed = float(len(found) - rank)
    reason = find_no_value_reason(hourly.begun(period), covered, DAY_COVERAGE)
    if reason is not None:
        return build_result(WHO_DAYS, period, None, covered, limit=allowed, reason=reason)
    over = sum(exceeds_limit(value, guideline) for value in found)
    components = (
        ResultComponent("p99", found[rank - 1], METRICS_BY_NAME[metric].unit, covered),
        ResultComponent("days", float(len(found)), "d", covered),
    )
    return build_result(
        WHO_DAYS, period, float(over), covered, limit=allowed, has_ratio=False, components=components
    )


class _Month:
    """A month of daily highest 8-hour means."""

    def __init__(self, name: str, period: TimePeriod, values: list[float], days: int) -> None:
        self.name, self.period, self.values = name, period, values
        self.coverage = compute_percent(len(values), days)

    def component(self) -> ResultComponent:
        return ResultComponent(self.name, sum(self.values) / len(self.values), "µg/m³", self.coverage)


def _month(hourly: HourlySeries, year: int, month: int, zone: ZoneInfo) -> _Month:
    first, last = date(year, month, 1), last_of_month(year, month)
    days = list_dates(first, last)
    values = [mean.value for mean in daily_highest_runs(hourly, days, zone) if mean.value is not None]
    return _Month(f"{year}-{month:02}", local_day_range(first, last, zone), values, len(days))


def _season_mean(season: list[_Month]) -> float:
    values = [value for month in season for value in month.values]
    return sum(values) / len(values)


def _of_mean(
    method: IndexMethod, metric: str, period: TimePeriod, mean: PeriodMean, limit: float
) -> IndexResult:
    unit = METRICS_BY_NAME[metric].unit
    part = ResultComponent(metric, mean.value, unit, mean.coverage, reason=mean.reason)
    return build_result(
        method,
        period,
        mean.value,
        mean.coverage,
        limit=limit,
        unit=unit,
        components=(part,),
        reason=mean.reason,
    )


METHODS: Final = (WHO_24H, WHO_O3_8H, WHO_YEAR, WHO_O3_PEAK, WHO_DAYS)
