"""WHO guidelines: each level, running means, days over, the peak season."""

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from app.environmental_indices.input_types import running_means
from app.environmental_indices.period_selection import local_day, local_day_range, local_year
from app.environmental_indices.who_guidelines import (
    FEW_SEASONS_NOTE,
    compute_who_24h,
    compute_who_days_over,
    compute_who_o3_8h,
    compute_who_o3_peak_season,
    compute_who_year,
)
from app.platform.kernel.instants import HOUR_US
from tests.unit.environmental_indices.build import constant, hourly, step_of, us

PARIS = ZoneInfo("Europe/Paris")
DAY = date(2025, 6, 1)
SPRING, AUTUMN = date(2025, 3, 30), date(2025, 10, 26)
WHO = "WHO global air quality guidelines (2021), table 0.1"


@pytest.mark.parametrize(
    ("citation", "metric", "guideline", "unit"),
    [
        (WHO, "pm2_5", 15, "µg/m³"),
        (WHO, "pm10", 45, "µg/m³"),
        (WHO, "no2", 25, "µg/m³"),
        (WHO, "so2", 40, "µg/m³"),
        (WHO, "co", 4, "mg/m³"),
    ],
)
def test_24_hours(citation: str, metric: str, guideline: float, unit: str) -> None:
    period, step = local_day(DAY, PARIS), step_of(guideline)
    found = [
        compute_who_24h(metric, constant(*period, value), DAY, PARIS)
        for value in (guideline - step, guideline, guideline + step)
    ]
    assert [result.exceeded for result in found] == [False, False, True], citation
    assert [(result.limit, result.unit) for result in found] == [(guideline, unit)] * 3
    assert found[1].ratio == pytest.approx(1.0)
    doubled = compute_who_24h(metric, constant(*period, 2 * guideline), DAY, PARIS)
    assert doubled.ratio == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("citation", "metric", "guideline"), [(WHO, "pm2_5", 5), (WHO, "pm10", 15), (WHO, "no2", 10)]
)
def test_a_year(citation: str, metric: str, guideline: float) -> None:
    period, step = local_year(2025, PARIS), step_of(guideline)
    found = [
        compute_who_year(metric, constant(*period, value), 2025, PARIS)
        for value in (guideline - step, guideline, guideline + step)
    ]
    assert [result.exceeded for result in found] == [False, False, True], citation
    assert len(period.hours()) == 8_760
    # Nine tenths of the hours: 7,884.
    few = compute_who_year(metric, hourly(period.start_us, np.full(7_883, 1.0)), 2025, PARIS)
    assert (few.value, few.ratio, few.exceeded, few.reason) == (None, None, None, "coverage_too_low")
    enough = compute_who_year(metric, hourly(period.start_us, np.full(7_884, 1.0)), 2025, PARIS)
    assert (enough.value, enough.coverage, enough.reason) == (1.0, 90.0, None)
    assert compute_who_year(metric, None, 2025, PARIS).reason == "metric_missing"


def test_running_means_of_eight_hours() -> None:
    values = np.arange(12.0)
    values[[0, 1]] = np.nan
    means = running_means(values)
    assert means.tolist() == [4.5, 5.0, 5.5, 6.5, 7.5]
    values[2] = np.nan
    assert np.isnan(running_means(values)).tolist() == [True, False, False, False, False]


def test_ozone_counts_on_the_day_on_which_eight_hours_end() -> None:
    day, step = local_day(DAY, PARIS), step_of(100)
    for value, exceeded in ((100 - step, False), (100.0, False), (100 + step, True)):
        assert compute_who_o3_8h(constant(*day, value), DAY, PARIS).exceeded is exceeded, WHO
    # Seven hours of the evening before and the first hour of the day make its first running mean.
    values = np.full(48, 20.0)
    values[17:25] = 180.0
    before = day.start_us - 24 * HOUR_US
    assert compute_who_o3_8h(hourly(before, values), DAY, PARIS).value == pytest.approx(180.0)
    values[24] = 20.0
    assert compute_who_o3_8h(hourly(before, values), DAY, PARIS).value == pytest.approx(160.0)


@pytest.mark.parametrize(("year", "hours"), [(2025, 7_884), (2026, 7_446)])
def test_a_year_needs_the_coverage_of_the_law_of_its_time(year: int, hours: int) -> None:
    # 90 % of 8,760 h up to 2025, 85 % from 2026 on.
    start_us = local_year(year, PARIS).start_us
    few, enough = (
        compute_who_year("no2", hourly(start_us, np.full(n, 1.0)), year, PARIS) for n in (hours - 1, hours)
    )
    assert (few.value, enough.value) == (None, 1.0)


@pytest.mark.parametrize(("day", "hours"), [(DAY, 24), (SPRING, 23), (AUTUMN, 25)])
def test_a_day_of_ozone_needs_three_quarters_of_its_running_means(day: date, hours: int) -> None:
    period = local_day(day, PARIS)
    assert len(period.hours()) == hours
    # From the evening before on: the first n hours of the day make n running means and, since six of eight
    # hours do, two more.
    enough = -(-3 * hours // 4) - 2
    start = period.start_us - 7 * HOUR_US
    few = compute_who_o3_8h(hourly(start, np.full(7 + enough - 1, 50.0)), day, PARIS)
    assert (few.value, few.reason) == (None, "coverage_too_low")
    found = compute_who_o3_8h(hourly(start, np.full(7 + enough, 50.0)), day, PARIS)
    assert (found.value, found.exceeded) == (50.0, False)
    assert found.coverage == round(100 * (enough + 2) / hours, 2)


def of_days(year: int, values: list[float]) -> "tuple[int, list[float]]":
    """Hourly values that give each local day of a year its mean."""
    first = local_day(date(year, 1, 1), PARIS).start_us
    found: list[float] = []
    for offset, value in enumerate(values):
        day = date.fromordinal(date(year, 1, 1).toordinal() + offset)
        found += [value] * len(local_day(day, PARIS).hours())
    return first, found


@pytest.mark.parametrize(("over", "exceeded"), [(0, False), (3, False), (4, True)])
def test_three_days_of_a_year_may_lie_above(over: int, exceeded: bool) -> None:  # noqa: FBT001 (a column)
    values = [10.0] * 365
    for position in range(over):
        values[40 + 30 * position] = 99.0
    result = compute_who_days_over("pm2_5", hourly(*of_days(2025, values)), 2025, PARIS)
    assert (result.value, result.limit, result.exceeded) == (over, 3, exceeded), WHO
    p99 = next(part.value for part in result.components if part.key == "p99")
    assert (p99 is not None and p99 > 15) is exceeded
    assert p99 == np.sort(np.array(values))[int(np.ceil(0.99 * 365)) - 1]


def test_days_over_need_three_quarters_of_the_year() -> None:
    # 274 of 365 days are 75.07 %, 273 are 74.79 %.
    result = compute_who_days_over("no2", hourly(*of_days(2025, [30.0] * 274)), 2025, PARIS)
    assert (result.value, result.limit, result.exceeded) == (274, 2, True)
    few = compute_who_days_over("no2", hourly(*of_days(2025, [30.0] * 273)), 2025, PARIS)
    assert (few.value, few.exceeded, few.reason) == (None, None, "coverage_too_low")


def test_the_peak_season_is_the_worst_six_months() -> None:
    whole = local_day_range(date(2024, 7, 1), date(2025, 12, 31), PARIS)
    series = constant(*whole, 40.0)
    summer = local_day_range(date(2025, 4, 1), date(2025, 9, 30), PARIS)
    inside = (series.times >= summer.start_us) & (series.times < summer.end_us)
    values = np.where(inside, 61.0, series.values)
    result = compute_who_o3_peak_season(hourly(whole.start_us, values), 2025, PARIS)
    assert [part.key for part in result.components] == [f"2025-0{month}" for month in range(4, 10)]
    assert (result.start_us, result.end_us) == summer
    # The first running means of April still hold hours of March, but the day's highest one does not.
    assert result.value == pytest.approx(61.0)
    assert (result.limit, result.exceeded) == (60.0, True), WHO
    assert FEW_SEASONS_NOTE not in result.notes


@pytest.mark.parametrize(
    ("value", "exceeded"), [(60 - step_of(60), False), (60, False), (60 + step_of(60), True)]
)
def test_the_guideline_of_the_peak_season(value: float, exceeded: bool) -> None:  # noqa: FBT001 (a column)
    half = local_day_range(date(2025, 3, 20), date(2025, 9, 30), PARIS)
    result = compute_who_o3_peak_season(constant(*half, value), 2025, PARIS)
    assert result.exceeded is exceeded, WHO
    assert FEW_SEASONS_NOTE in result.notes


def test_a_month_of_the_season_needs_three_quarters_of_its_days() -> None:
    # 22 of the 30 days of April are 73 %, 23 are 77 %.
    for first, reason in ((9, "coverage_too_low"), (8, None)):
        part = local_day_range(date(2025, 4, first), date(2025, 9, 30), PARIS)
        assert compute_who_o3_peak_season(constant(*part, 70.0), 2025, PARIS).reason == reason
    nothing = compute_who_o3_peak_season(None, 2025, PARIS)
    assert (nothing.reason, nothing.coverage) == ("metric_missing", 0.0)
    assert (nothing.start_us, nothing.end_us) == local_day_range(date(2024, 8, 1), date(2025, 12, 31), PARIS)
    assert (
        compute_who_o3_peak_season(constant(*local_year(2020, PARIS), 70.0), 2025, PARIS).reason == "no_data"
    )


def test_a_date_that_the_clocks_left_out_is_a_day_without_data() -> None:
    samoa = ZoneInfo("Pacific/Apia")
    year = constant(us("2010-12-31T00:00"), us("2012-01-01T12:00"), 150.0)
    result = compute_who_days_over("o3", year, 2011, samoa)
    # 365 dates, of which one was never there.
    assert result.value == 364
