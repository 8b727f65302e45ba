"""What computations read and what classes are made of: shapes, what they refuse, local days."""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.environmental_indices.index_results import BandScale, IndexBand, exceeds_limit
from app.environmental_indices.input_types import (
    HourlySeries,
    SampleSeries,
    SoundLevels,
    compute_percent,
    compute_period_mean,
)
from app.environmental_indices.period_selection import (
    TimePeriod,
    last_of_month,
    local_day,
    local_day_range,
    local_year,
    resolve_local_time,
)
from app.platform.kernel.instants import HOUR_US
from app.presentation.translation import BilingualText
from tests.unit.environmental_indices.build import hourly, us

START = us("2025-06-02T00:00")
BANDS = tuple(IndexBand(key, BilingualText(key, key)) for key in "abc")


@pytest.mark.parametrize(
    ("times", "values", "coverage"),
    [
        ([START, START], [1, 2], 100),
        ([START + HOUR_US, START], [1, 2], 100),
        ([START + 1], [1], 100),
        ([START], [1, 2], 100),
        ([START], [1], 100.1),
        ([START], [1], -0.1),
        ([[START]], [[1]], 100),
    ],
)
def test_odd_hours_are_refused(times: list[int], values: list[float], coverage: float) -> None:
    with pytest.raises(ValueError, match=r"columns|ascend|whole hours|percent"):
        HourlySeries.of(times, values, coverage)


@pytest.mark.parametrize(
    ("starts", "ends", "values", "seconds"),
    [
        ([0], [0], [50], [0]),
        ([0, 5_000_000], [6_000_000, 9_000_000], [50, 50], [1, 1]),
        ([0], [1_000_000], [np.nan], [1]),
        ([0], [1_000_000], [50], [1.1]),
        ([0], [1_000_000], [50], [-1]),
    ],
)
def test_odd_levels_are_refused(
    starts: list[int], ends: list[int], values: list[float], seconds: list[float]
) -> None:
    with pytest.raises(ValueError, match=r"intervals|level|measured"):
        SoundLevels(
            np.array(starts), np.array(ends), np.array(values, dtype=float), np.array(seconds, dtype=float)
        )


def test_samples_stand_until_the_next_one() -> None:
    samples = SampleSeries.of([0, 30_000_000, 200_000_000], [1.0, np.nan, 2.0], 60)
    assert samples.ends.tolist() == [60_000_000, 260_000_000]
    assert SampleSeries.of([0, 30_000_000], [1.0, 2.0], 60).ends.tolist() == [30_000_000, 90_000_000]
    assert SampleSeries.of([0], [1.0], 0.5).ends.tolist() == [500_000]
    with pytest.raises(ValueError, match="interval"):
        SampleSeries.of([0], [1.0], 0)


def test_hours_weigh_what_was_measured_of_them() -> None:
    hours = [START + number * HOUR_US for number in range(5)]
    levels = SoundLevels.of_hours(hours, [50, 60, np.nan, 70, 80], [3_600, 0, 10, 1, 9_999], 1)
    assert levels.starts.tolist() == [hours[0], hours[3], hours[4]]
    assert levels.seconds.tolist() == [3_600, 1, 3_600]
    assert levels.values.tolist() == [50, 70, 80]


def test_hours_are_found_on_a_grid() -> None:
    series = hourly(START, [1, np.nan, 3, 4], [100, 100, 74, 75])
    grid = series.on(range(START - HOUR_US, START + 5 * HOUR_US, HOUR_US))
    assert np.array_equal(grid, [np.nan, 1, np.nan, np.nan, 4, np.nan], equal_nan=True)
    assert series.valid.tolist() == [True, False, False, True]
    assert HourlySeries.of([START], [1.0]).coverage.tolist() == [100.0]
    assert (series.at(START + 2 * HOUR_US), series.at(START + 4 * HOUR_US), series.at(START + 1)) == (
        (3.0, 74.0),
        None,
        None,
    )
    mean = compute_period_mean(series, TimePeriod(START, START + 2 * HOUR_US), 50)
    assert (mean.value, mean.coverage, mean.reason) == (1, 50, None)
    assert (
        compute_period_mean(series, TimePeriod(START, START + 2 * HOUR_US), 50.01).reason
        == "coverage_too_low"
    )
    assert compute_period_mean(None, TimePeriod(START, START + HOUR_US), 50) == (None, 0.0, "metric_missing")


PARIS, KOLKATA, BEIRUT = ZoneInfo("Europe/Paris"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Asia/Beirut")


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2025, 3, 30), PARIS, 23),
        (date(2025, 10, 26), PARIS, 25),
        (date(2025, 6, 1), PARIS, 24),
        (date(2025, 6, 1), KOLKATA, 24),
        # There the clocks jump at midnight: the day begins at 1 h.
        (date(2025, 3, 30), BEIRUT, 23),
    ],
)
def test_local_days(day: date, zone: ZoneInfo, hours: int) -> None:
    period = local_day(day, zone)
    assert period.seconds == hours * 3600
    assert len(period.hours()) == hours
    first = datetime.fromtimestamp(period.start_us / 1e6, zone)
    last = datetime.fromtimestamp((period.end_us - 1) / 1e6, zone)
    assert first.date() == last.date() == day


def test_days_follow_one_another() -> None:
    assert local_day_range(date(2025, 1, 1), date(2025, 12, 31), PARIS) == local_year(2025, PARIS)
    assert local_day(date(2025, 3, 30), PARIS).end_us == local_day(date(2025, 3, 31), PARIS).start_us
    assert [last_of_month(2024, month).day for month in (1, 2, 12)] == [31, 29, 31]
    assert resolve_local_time(date(2025, 10, 26), time(2, 30), PARIS) == us("2025-10-26T00:30")


def test_scales() -> None:
    scale = BandScale(BANDS, (1, 2), ("lower", "upper"))
    assert [scale.level(value) for value in (0.9, 1, 1.1, 1.9, 2, 2.1)] == [1, 1, 2, 2, 3, 3]
    assert scale.band(2).key == "c"
    for bounds in ((1,), (2, 1), (1, 1)):
        with pytest.raises(ValueError, match="scale"):
            BandScale.of(BANDS, *bounds)


def test_percent() -> None:
    assert [
        compute_percent(1, 3),
        compute_percent(0.5, 1),
        compute_percent(2, 1),
        compute_percent(-1, 1),
    ] == [33.33, 50.0, 100.0, 0.0]
    assert compute_percent(1, 0) == 0.0


def test_what_equals_a_limit_is_not_above_it() -> None:
    assert [exceeds_limit(value, 0.3) for value in (0.1 + 0.2, 0.3, 0.3 + 1e-8, 0.2)] == [
        False,
        False,
        True,
        False,
    ]


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_percent_stays_a_percentage(part: float, whole: float) -> None:
    assert 0 <= compute_percent(part, whole) <= 100
