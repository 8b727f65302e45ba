"""Indices of outdoor air: every bound, the worst pollutant, coverage, a day of real air."""

import csv
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.environmental_indices.index_results import IndexResult
from app.environmental_indices.outdoor_air_indices import PARTIAL_ATMO_NOTE, compute_atmo, compute_eaqi
from app.environmental_indices.period_selection import local_day
from tests.unit.environmental_indices.build import constant, hourly, step_of, us

PARIS = ZoneInfo("Europe/Paris")
HOUR = us("2025-06-01T10:00")
DAY = date(2025, 6, 1)
SPRING, AUTUMN = date(2025, 3, 30), date(2025, 10, 26)

EEA = "ETC HE Report 2024/17, updated bands, hourly, µg/m³"
ORDER = "Arrêté du 10 juillet 2020, annexe I, µg/m³"
GUIDE = "Atmo France, guide de calcul de l'indice ATMO, µg/m³"
BOUNDS = [
    (EEA, "eaqi", "pm2_5", (5, 15, 50, 90, 140)),
    (EEA, "eaqi", "pm10", (15, 45, 120, 195, 270)),
    (EEA, "eaqi", "no2", (10, 25, 60, 100, 150)),
    (EEA, "eaqi", "o3", (60, 100, 120, 160, 180)),
    (EEA, "eaqi", "so2", (20, 40, 125, 190, 275)),
    (ORDER, "atmo", "so2", (100, 200, 350, 500, 750)),
    (ORDER, "atmo", "no2", (40, 90, 120, 230, 340)),
    (ORDER, "atmo", "o3", (50, 100, 130, 240, 380)),
    (GUIDE, "atmo", "pm10", (20, 40, 50, 100, 150)),
    (GUIDE, "atmo", "pm2_5", (10, 20, 25, 50, 75)),
]
NAMES = {
    "eaqi": ("good", "fair", "moderate", "poor", "very_poor", "extremely_poor"),
    "atmo": ("bon", "moyen", "degrade", "mauvais", "tres_mauvais", "extremement_mauvais"),
}
EDGES = [
    (citation, method, metric, level, float(bound))
    for citation, method, metric, bounds in BOUNDS
    for level, bound in enumerate(bounds, 1)
]


def index_of(method: str, metric: str, value: float) -> IndexResult:
    """The index where one pollutant stands still all day."""
    period = local_day(DAY, PARIS)
    series = {metric: constant(period.start_us, period.end_us, value)}
    return compute_eaqi(series, HOUR) if method == "eaqi" else compute_atmo(series, DAY, PARIS)


@pytest.mark.parametrize(("citation", "method", "metric", "level", "bound"), EDGES)
def test_a_bound_belongs_to_the_lower_band(
    citation: str, method: str, metric: str, level: int, bound: float
) -> None:
    step = step_of(bound)
    found = [index_of(method, metric, value) for value in (bound - step, bound, bound + step)]
    assert [result.value for result in found] == [level, level, level + 1], citation
    keys = [result.band.key for result in found if result.band is not None]
    names = NAMES[method]
    assert keys == [names[level - 1], names[level - 1], names[level]]


def test_the_noise_of_a_sum_is_no_other_band() -> None:
    assert index_of("eaqi", "pm2_5", float(np.nextafter(15.0, 16.0))).value == 2
    # Three hours of 14.9, 15.0 and 15.1 make 15 by hand, and a little more or less by float.
    period = local_day(DAY, PARIS)
    values = np.resize([14.9, 15.1, 15.0], 24) + 5.0
    assert compute_atmo({"pm2_5": hourly(period.start_us, values)}, DAY, PARIS).value == 2


def test_the_worst_pollutant_wins_and_each_has_its_band() -> None:
    values = {"pm2_5": 4.0, "pm10": 50.0, "no2": 101.0, "o3": 61.0, "so2": 1.0}
    result = compute_eaqi({metric: hourly(HOUR, [value]) for metric, value in values.items()}, HOUR + 59)
    assert (result.value, result.start_us, result.end_us) == (5, HOUR, HOUR + 3_600_000_000)
    assert {part.key: part.level for part in result.components} == {
        "pm2_5": 1,
        "pm10": 3,
        "no2": 5,
        "o3": 2,
        "so2": 1,
    }
    assert result.band is not None
    assert result.band.colour == "#960032"
    assert PARTIAL_ATMO_NOTE not in result.notes


def test_an_hour_needs_three_quarters_and_says_what_is_not_there() -> None:
    series = {
        "pm2_5": hourly(HOUR, [4.0], 75.0),
        "pm10": hourly(HOUR, [200.0], 74.99),
        "o3": hourly(HOUR + 3_600_000_000, [200.0]),
    }
    result = compute_eaqi(series, HOUR)
    assert (result.value, result.coverage, result.reason) == (1, 75.0, None)
    assert {part.key: (part.coverage, part.reason) for part in result.components} == {
        "pm2_5": (75.0, None),
        "pm10": (74.99, "coverage_too_low"),
        "no2": (0.0, "metric_missing"),
        "o3": (0.0, "no_data"),
        "so2": (0.0, "metric_missing"),
    }
    assert PARTIAL_ATMO_NOTE in result.notes


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        ({}, "metric_missing"),
        ({"no2": hourly(HOUR - 3_600_000_000, [1.0])}, "no_data"),
        ({"no2": hourly(HOUR, [1.0], 10.0)}, "coverage_too_low"),
    ],
)
def test_without_any_value_there_is_a_reason(series: dict[str, object], reason: str) -> None:
    result = compute_eaqi(series, HOUR)  # type: ignore[arg-type]
    assert (result.value, result.band, result.reason) == (None, None, reason)


def test_gases_count_by_their_highest_hour_and_particles_by_their_mean() -> None:
    period = local_day(DAY, PARIS)
    peak = np.full(24, 10.0)
    peak[13] = 241.0
    series = {metric: hourly(period.start_us, peak) for metric in ("no2", "o3", "so2", "pm10", "pm2_5")}
    found = {part.key: part for part in compute_atmo(series, DAY, PARIS).components}
    assert [found[metric].value for metric in ("no2", "o3", "so2")] == [241.0] * 3
    assert [found[metric].level for metric in ("no2", "o3", "so2")] == [5, 5, 3]
    assert found["pm10"].value == found["pm2_5"].value == pytest.approx((23 * 10 + 241) / 24)


@pytest.mark.parametrize(("day", "hours", "enough"), [(DAY, 24, 18), (SPRING, 23, 18), (AUTUMN, 25, 19)])
def test_a_day_needs_three_quarters_of_the_hours_it_has(day: date, hours: int, enough: int) -> None:
    period = local_day(day, PARIS)
    assert len(period.hours()) == hours
    few = compute_atmo({"no2": hourly(period.start_us, np.full(enough - 1, 50.0))}, day, PARIS)
    assert (few.value, few.reason) == (None, "coverage_too_low")
    found = compute_atmo({"no2": hourly(period.start_us, np.full(enough, 50.0))}, day, PARIS)
    assert (found.value, found.coverage) == (2, round(100 * enough / hours, 2))
    # What lies before and after the day does not count.
    around = compute_atmo({"no2": hourly(period.start_us - 86_400_000_000, np.full(24, 500.0))}, day, PARIS)
    assert around.reason == "no_data"


ABERDEEN = Path(__file__).parents[3] / "simulators" / "data" / "aberdeen"


@pytest.mark.parametrize(
    ("sensor", "hours", "worst", "day"),
    # One beside a source (41 µg/m³ of PM2.5 in an hour), one that was silent for a third of the day.
    [("22068", 24, "moderate", "bon"), ("22480", 17, "good", None)],
)
def test_a_day_of_real_air(sensor: str, hours: int, worst: str, day: str | None) -> None:
    with (ABERDEEN / f"2019-03-10_sds011_sensor_{sensor}.csv").open() as file:
        lines = list(csv.DictReader(file, delimiter=";"))
    clock = np.array([datetime.fromisoformat(line["timestamp"]).hour for line in lines])
    series = {}
    for metric, column in (("pm10", "P1"), ("pm2_5", "P2")):
        values = np.array([float(line[column]) for line in lines])
        found = [values[clock == hour] for hour in range(24)]
        # A value every two and a half minutes makes 24 an hour.
        series[metric] = hourly(
            us("2019-03-10T00:00"),
            [part.mean() if len(part) else np.nan for part in found],
            [min(100.0, 100 * len(part) / 24) for part in found],
        )
    results = [compute_eaqi(series, us(f"2019-03-10T{hour:02}:00")) for hour in range(24)]
    valued = [result for result in results if result.value is not None]
    assert len(valued) == hours
    worst_of_day = max(valued, key=lambda result: result.value or 0)
    assert worst_of_day.band is not None
    assert worst_of_day.band.key == worst
    whole = compute_atmo(series, date(2019, 3, 10), ZoneInfo("Europe/London"))
    assert (whole.band.key if whole.band else None) == day


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(method, metric) for _, method, metric, _ in BOUNDS]),
    st.lists(st.floats(0, 1_000), min_size=2, max_size=2),
)
def test_more_of_a_pollutant_is_never_better(which: tuple[str, str], values: list[float]) -> None:
    low, high = (index_of(*which, value).value for value in sorted(values))
    assert low is not None
    assert high is not None
    assert low <= high


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 100)), min_size=1, max_size=24))
def test_coverage_is_a_percentage(rows: list[tuple[float, float]]) -> None:
    values, coverage = np.array(rows).T
    period = local_day(DAY, PARIS)
    series = {"pm10": hourly(period.start_us, values, coverage)}
    for result in (compute_eaqi(series, period.start_us), compute_atmo(series, DAY, PARIS)):
        assert 0 <= result.coverage <= 100
        assert all(0 <= part.coverage <= 100 for part in result.components)
        assert (result.value is None) == (result.reason is not None)
