"""Comfort: categories of temperature, humidex, light."""

import numpy as np
import pytest

from app.environmental_indices.indoor_comfort import (
    Season,
    compute_humidex,
    compute_light,
    compute_thermal_comfort,
    dew_point,
    humidex_from_dew_point,
)
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.instants import HOUR_US
from tests.unit.environmental_indices.build import constant, hourly, step_of, us

START = us("2025-06-02T00:00")
DAY = TimePeriod(START, START + 24 * HOUR_US)
ISO = "EN ISO 7730:2005, table A.5"


@pytest.mark.parametrize(
    ("citation", "season", "ends", "inside", "outside"),
    [
        (ISO, "heating", (21.0, 23.0), "a", "b"),
        (ISO, "heating", (20.0, 24.0), "b", "c"),
        (ISO, "heating", (19.0, 25.0), "c", "outside"),
        (ISO, "cooling", (23.5, 25.5), "a", "b"),
        (ISO, "cooling", (23.0, 26.0), "b", "c"),
        (ISO, "cooling", (22.0, 27.0), "c", "outside"),
    ],
)
def test_categories(
    citation: str, season: Season, ends: tuple[float, float], inside: str, outside: str
) -> None:
    low, high = ends
    values = (low - step_of(low), low, low + step_of(low), high - step_of(high), high, high + step_of(high))
    bands = [compute_thermal_comfort(constant(*DAY, value), DAY, season).band for value in values]
    expected = [outside, inside, inside, inside, inside, outside]
    assert [band.key for band in bands if band] == expected, citation


def test_shares_of_hours_and_coverage() -> None:
    values = np.array([22.0] * 12 + [24.5] * 6)
    result = compute_thermal_comfort(hourly(START, values), DAY, "heating")
    assert result.value == pytest.approx(values.mean())
    assert (result.band and result.band.key, result.coverage) == ("a", 75.0)
    assert {part.key: part.value for part in result.components} == {
        "a": pytest.approx(66.67),
        "b": 0.0,
        "c": pytest.approx(33.33),
        "outside": 0.0,
    }
    few = compute_thermal_comfort(hourly(START, values[:17]), DAY, "heating")
    assert (few.value, few.band, few.reason) == (None, None, "coverage_too_low")


@pytest.mark.parametrize(
    ("source", "celsius", "dew", "expected"),
    [
        ("Environment Canada's examples", 30.0, 15.0, 34),
        ("Environment Canada's examples", 30.0, 25.0, 42),
        ("a calculator's example", 30.0, 21.0, 38),
    ],
)
def test_humidex_of_a_dew_point(source: str, celsius: float, dew: float, expected: int) -> None:
    assert round(humidex_from_dew_point(celsius, dew)) == expected, source


@pytest.mark.parametrize(
    ("celsius", "humidity", "dew"),
    # Saturated air is at its dew point; 20 °C and 50 %RH: 9.3 °C; 30 °C and 70 %RH: 23.9 °C (tables).
    [(25.0, 100.0, 25.0), (20.0, 50.0, 9.3), (30.0, 70.0, 23.9), (-5.0, 100.0, -5.0)],
)
def test_dew_point(celsius: float, humidity: float, dew: float) -> None:
    assert dew_point(celsius, humidity) == pytest.approx(dew, abs=0.05)


CANADA = "Environment Canada: degrees of comfort"


@pytest.mark.parametrize(
    ("citation", "bound", "below", "at", "beyond"),
    [
        (CANADA, 30.0, "none", "some", "some"),
        (CANADA, 40.0, "some", "great", "great"),
        (CANADA, 45.0, "great", "great", "dangerous"),
    ],
)
def test_degrees_of_discomfort(citation: str, bound: float, below: str, at: str, beyond: str) -> None:
    # At saturation the dew point is the temperature: the humidex is then one function of it.
    low, high = 10.0, 40.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if humidex_from_dew_point(middle, middle) < bound else (low, middle)
    found = []
    for value in (low - 1e-6, high, high + 1e-6):
        band = compute_humidex(constant(*DAY, value), constant(*DAY, 100.0), DAY).band
        found.append(band.key if band else None)
    assert found == [below, at, beyond], citation


def test_the_highest_hour_counts_and_both_are_needed() -> None:
    warm = np.full(24, 20.0)
    warm[15] = 35.0
    result = compute_humidex(hourly(START, warm), constant(*DAY, 50.0), DAY)
    assert result.value == pytest.approx(humidex_from_dew_point(35.0, dew_point(35.0, 50.0)))
    part = compute_humidex(hourly(START, warm), hourly(START, np.full(17, 50.0)), DAY)
    assert (part.value, part.reason) == (None, "coverage_too_low")
    assert compute_humidex(hourly(START, warm), None, DAY).reason == "metric_missing"
    # Air without any water has no dew point: such hours have no humidex.
    assert compute_humidex(hourly(START, warm), constant(*DAY, 0.0), DAY).reason == "coverage_too_low"


EN = "EN 12464-1, secondary tables"


@pytest.mark.parametrize(
    ("citation", "use", "need"),
    [
        (EN, "writing", 500.0),
        (EN, "cad", 500.0),
        (EN, "drawing", 750.0),
        (EN, "meeting", 500.0),
        (EN, "reception", 300.0),
        (EN, "filing", 300.0),
        (EN, "archive", 200.0),
        (EN, "corridor", 100.0),
    ],
)
def test_light(citation: str, use: str, need: float) -> None:
    step = step_of(need)
    found = [compute_light(constant(*DAY, value), DAY, use) for value in (need - step, need, need + step)]
    bands = [result.band.key for result in found if result.band]
    assert bands == ["too_dark", "sufficient", "sufficient"], citation
    assert [result.limit for result in found] == [need] * 3
    assert compute_light(None, DAY, use).reason == "metric_missing"
