"""Emergence: the limits of the law, and what stands out of real intervals."""

from zoneinfo import ZoneInfo

import numpy as np
import pytest

from app.environmental_indices.input_types import SoundLevels
from app.environmental_indices.noise_emergence import (
    compute_noise_emergence,
    duration_correction_db,
    emergence_limit_db,
    is_night,
)
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.instants import HOUR_US
from tests.unit.environmental_indices.build import energy, us

PARIS = ZoneInfo("Europe/Paris")
MINUTE_US = 60_000_000
LAW = "Code de la santé publique, article R1336-7"


@pytest.mark.parametrize(
    ("citation", "minutes", "added", "beyond"),
    [
        (LAW, 1, 6, 5),
        (LAW, 5, 5, 4),
        (LAW, 20, 4, 3),
        (LAW, 2 * 60, 3, 2),
        (LAW, 4 * 60, 2, 1),
        (LAW, 8 * 60, 1, 0),
    ],
)
def test_how_long_it_lasts(citation: str, minutes: float, added: float, beyond: float) -> None:
    seconds = minutes * 60
    found = [duration_correction_db(duration) for duration in (seconds - 1e-6, seconds, seconds + 1e-6)]
    assert found == [added, added, beyond], citation
    assert [emergence_limit_db(seconds, night=night) for night in (False, True)] == [5 + added, 3 + added]


@pytest.mark.parametrize(
    ("at", "night"),
    [
        # 7 and 22 h of summer time, of winter time, and of the day on which summer time begins.
        ("2025-06-02T04:59:59", True),
        ("2025-06-02T05:00:00", False),
        ("2025-06-02T19:59:59", False),
        ("2025-06-02T20:00:00", True),
        ("2025-01-02T05:59:59", True),
        ("2025-01-02T06:00:00", False),
        ("2025-01-02T21:00:00", True),
        ("2025-03-30T04:59:59", True),
        ("2025-03-30T05:00:00", False),
    ],
)
def test_day_and_night_are_by_the_clock(at: str, night: bool) -> None:  # noqa: FBT001 (a column of the table)
    assert is_night(us(at), PARIS) is night, LAW


START = us("2025-06-02T10:00")
HOUR = TimePeriod(START, START + HOUR_US)
NOISY = TimePeriod(START + 10 * MINUTE_US, START + 30 * MINUTE_US)


def minutes_with(noise: float, residual: float = 50.0) -> SoundLevels:
    times = START + MINUTE_US * np.arange(60)
    loud = (times >= NOISY.start_us) & (times < NOISY.end_us)
    return SoundLevels.of_samples(times, np.where(loud, noise, residual), 60)


@pytest.mark.parametrize(("ambient", "exceeded"), [(58.9, False), (59.0, False), (59.001, True)])
def test_twenty_minutes_by_day_may_stand_out_by_nine(ambient: float, exceeded: bool) -> None:  # noqa: FBT001
    result = compute_noise_emergence(minutes_with(ambient), [NOISY], HOUR, PARIS)
    assert result.value == pytest.approx(ambient - 50.0)
    assert (result.limit, result.exceeded, result.ratio) == (9.0, exceeded, None), LAW
    parts = {part.key: part.value for part in result.components}
    assert parts == {"ambient": pytest.approx(ambient), "residual": 50.0, "duration": 1_200, "correction": 4}


def test_both_levels_are_energy_means() -> None:
    times = START + MINUTE_US * np.arange(60)
    values = 45.0 + 10 * np.sin(np.arange(60.0))
    result = compute_noise_emergence(SoundLevels.of_samples(times, values, 60), [NOISY], HOUR, PARIS)
    loud = (times >= NOISY.start_us) & (times < NOISY.end_us)
    assert result.value == pytest.approx(energy(values[loud]) - energy(values[~loud]))


def test_several_times_add_up_and_what_lies_outside_does_not_count() -> None:
    more = [
        TimePeriod(START - 5 * MINUTE_US, START + 2 * MINUTE_US),
        TimePeriod(START + 40 * MINUTE_US, START + 43 * MINUTE_US),
    ]
    result = compute_noise_emergence(minutes_with(50.0), more, HOUR, PARIS)
    parts = {part.key: part.value for part in result.components}
    assert (parts["duration"], parts["correction"]) == (300, 5)
    assert result.value == pytest.approx(0.0)


def test_an_interval_that_is_partly_noisy_counts_on_both_sides() -> None:
    levels = SoundLevels.of_samples([START, START + HOUR_US // 2], [60.0, 50.0], 1_800)
    half = TimePeriod(START, START + HOUR_US // 4)
    result = compute_noise_emergence(levels, [half], HOUR, PARIS)
    expected = 60 - energy(np.array([60.0, 50.0, 50.0]))
    assert result.value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("begin", "end", "night", "reason"),
    [
        ("2025-06-02T19:00", "2025-06-02T20:00", False, None),
        ("2025-06-02T19:00", "2025-06-02T20:01", False, "period_mixed"),
        ("2025-06-02T20:00", "2025-06-03T05:00", True, None),
        ("2025-06-02T20:00", "2025-06-03T05:01", True, "period_mixed"),
        ("2025-06-02T04:00", "2025-06-02T05:00", True, None),
        ("2025-06-02T04:00", "2025-06-02T05:01", True, "period_mixed"),
    ],
)
def test_a_period_lies_in_one_day_or_one_night(
    begin: str,
    end: str,
    night: bool,  # noqa: FBT001 (a column of the table)
    reason: str | None,
) -> None:
    period = TimePeriod(us(begin), us(end))
    times = np.arange(period.start_us, period.end_us, MINUTE_US)
    noisy = TimePeriod(period.start_us, period.start_us + 10 * MINUTE_US)
    result = compute_noise_emergence(
        SoundLevels.of_samples(times, np.full(len(times), 40.0), 60), [noisy], period, PARIS
    )
    assert result.reason == reason
    assert (result.value is None) is (reason is not None)
    assert result.limit == (3 if night else 5) + 4


def test_without_a_residual_level_there_is_none() -> None:
    levels = minutes_with(60.0)
    assert compute_noise_emergence(levels, [HOUR], HOUR, PARIS).reason == "no_data"
    assert compute_noise_emergence(levels, [], HOUR, PARIS).reason == "no_data"
    # 30 of the other 40 minutes are 75 %, 29 are 72.5 %.
    for kept, reason in ((50, None), (49, "coverage_too_low")):
        part = SoundLevels(
            levels.starts[:kept], levels.ends[:kept], levels.values[:kept], levels.seconds[:kept]
        )
        assert compute_noise_emergence(part, [NOISY], HOUR, PARIS).reason == reason
