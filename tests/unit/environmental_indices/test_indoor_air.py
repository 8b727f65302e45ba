"""Indoor air: classes of CO2, formaldehyde by mass, benzene."""

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from app.environmental_indices.indoor_air import (
    ASSUMED,
    compute_indoor_benzene,
    compute_indoor_co2,
    compute_indoor_formaldehyde_hour,
    compute_indoor_formaldehyde_week,
    convert_formaldehyde_ug_m3,
)
from app.environmental_indices.period_selection import TimePeriod, local_day_range
from app.platform.kernel.instants import HOUR_US
from tests.unit.environmental_indices.build import constant, hourly, step_of, us

START = us("2025-06-02T00:00")
DAY = TimePeriod(START, START + 24 * HOUR_US)
WEEK = TimePeriod(START, START + 7 * 24 * HOUR_US)
ORDER = "Arrêté du 27 décembre 2022, article 4"


@pytest.mark.parametrize(
    ("citation", "bound", "below", "beyond"),
    [(ORDER, 800.0, "satisfactory", "to_improve"), (ORDER, 1_500.0, "to_improve", "insufficient")],
)
def test_co2(citation: str, bound: float, below: str, beyond: str) -> None:
    step = step_of(bound)
    bands = [
        compute_indoor_co2(constant(*DAY, value), DAY).band for value in (bound - step, bound, bound + step)
    ]
    assert [band.key for band in bands if band] == [below, below, beyond], citation


def test_co2_counts_by_its_worst_hour() -> None:
    values = np.full(24, 500.0)
    values[9:12] = (900.0, 1_600.0, 801.0)
    result = compute_indoor_co2(hourly(START, values), DAY)
    assert (result.value, result.band and result.band.key) == (1_600.0, "insufficient")
    parts = {part.key: part.value for part in result.components}
    assert parts == {
        "mean": pytest.approx(values.mean()),
        "above_800": 12.5,
        "above_1500": pytest.approx(100 / 24, abs=0.01),
    }
    # 18 of 24 hours are enough, 17 are not.
    assert compute_indoor_co2(hourly(START, values[:18]), DAY).reason is None
    few = compute_indoor_co2(hourly(START, values[:17]), DAY)
    assert (few.value, few.band, few.reason) == (None, None, "coverage_too_low")
    assert compute_indoor_co2(None, DAY).reason == "metric_missing"


@pytest.mark.parametrize(
    ("celsius", "pressure", "factor"),
    # 30.026 g/mol in 24.055, 24.465 and 22.414 l/mol.
    [(20.0, 1013.25, 1.2482), (25.0, 1013.25, 1.2273), (0.0, 1013.25, 1.3396), (20.0, 506.625, 0.6241)],
)
def test_formaldehyde_by_mass(celsius: float, pressure: float, factor: float) -> None:
    found = convert_formaldehyde_ug_m3(np.array([1.0, 80.0]), np.array([celsius, celsius]), pressure)
    assert found == pytest.approx([factor, 80 * factor], rel=1e-4)


HCSP = "HCSP (2019)"


@pytest.mark.parametrize(
    ("citation", "bound", "below", "beyond"),
    [
        (HCSP, 30.0, "within_guide", "above_guide"),
        (HCSP, 100.0, "above_guide", "act"),
    ],
)
def test_formaldehyde_of_a_week(citation: str, bound: float, below: str, beyond: str) -> None:
    one = float(convert_formaldehyde_ug_m3(np.array([1.0]), np.array([22.0]))[0])
    step = step_of(bound)
    warm = constant(*WEEK, 22.0)
    found = [
        compute_indoor_formaldehyde_week(constant(*WEEK, value / one), warm, WEEK)
        for value in (bound - step, bound, bound + step)
    ]
    assert [result.band.key for result in found if result.band] == [below, below, beyond], citation
    assert [result.limit for result in found] == [30.0] * 3
    assert ASSUMED not in found[0].notes
    assert found[0].citation.endswith("[unverified]")


def test_formaldehyde_of_an_hour() -> None:
    one = float(convert_formaldehyde_ug_m3(np.array([1.0]), np.array([20.0]))[0])
    step = step_of(100.0)
    for value, exceeded in ((100.0 - step, False), (100.0, False), (100.0 + step, True)):
        values = np.full(24, 10.0)
        values[7] = value / one
        result = compute_indoor_formaldehyde_hour(hourly(START, values), None, DAY)
        assert result.value == pytest.approx(value)
        assert result.exceeded is exceeded, HCSP
        assert ASSUMED in result.notes


def test_each_hour_is_converted_at_its_own_temperature() -> None:
    warm = hourly(START, [10.0, 30.0])
    result = compute_indoor_formaldehyde_hour(
        hourly(START, [100.0, 100.0]), warm, TimePeriod(START, START + 2 * HOUR_US)
    )
    # Cold air is denser: the same share is more by mass.
    assert result.value == pytest.approx(100 * 30.026 * 101.325 / (8.314462618 * 283.15))
    assert ASSUMED not in result.notes
    part = compute_indoor_formaldehyde_hour(
        hourly(START, [100.0, 100.0]), hourly(START, [10.0]), TimePeriod(START, START + 2 * HOUR_US)
    )
    assert ASSUMED in part.notes
    assert compute_indoor_formaldehyde_hour(None, warm, DAY).reason == "metric_missing"


DECREE = "Décrets n° 2011-1727 and 2012-14"


@pytest.mark.parametrize(
    ("citation", "bound", "below", "beyond"),
    [(DECREE, 2.0, "within_guide", "above_guide"), (DECREE, 10.0, "above_guide", "act")],
)
def test_benzene(citation: str, bound: float, below: str, beyond: str) -> None:
    step = step_of(bound)
    found = [
        compute_indoor_benzene(constant(*WEEK, value), WEEK) for value in (bound - step, bound, bound + step)
    ]
    assert [result.band.key for result in found if result.band] == [below, below, beyond], citation
    assert [result.exceeded for result in found] == [
        value > 2 for value in (bound - step, bound, bound + step)
    ]


@pytest.mark.parametrize(
    ("hours", "reason"),
    [(107, "period_too_short"), (108, None), (168, None), (169, None), (170, "period_too_long")],
)
def test_a_week_is_four_and_a_half_to_seven_days(hours: int, reason: str | None) -> None:
    period = TimePeriod(START, START + hours * HOUR_US)
    result = compute_indoor_benzene(constant(*period, 1.0), period)
    assert (result.reason, result.value) == (reason, None if reason else pytest.approx(1.0))


def test_the_week_in_which_summer_time_ends_fits() -> None:
    period = local_day_range(date(2025, 10, 20), date(2025, 10, 26), ZoneInfo("Europe/Paris"))
    assert len(period.hours()) == 169
    assert compute_indoor_benzene(constant(*period, 1.0), period).reason is None
