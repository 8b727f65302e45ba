"""Energy means and Lden: on a street's real levels, over changes of the clock, however they are divided."""

import csv
import lzma
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.environmental_indices.index_results import IndexResult
from app.environmental_indices.input_types import SoundLevels
from app.environmental_indices.noise_levels import (
    DAY_PARTS,
    combine_day_parts,
    compute_lden_day,
    compute_lden_year,
    compute_leq,
    energy_mean,
    noise_day,
)
from app.environmental_indices.period_selection import TimePeriod, local_day, local_year
from app.platform.kernel.array_types import FloatArray
from app.platform.kernel.instants import HOUR_US
from tests.unit.environmental_indices.build import energy, us

STREET = Path(__file__).parents[2] / "data" / "noise" / "laeq_1min.csv.xz"
PARIS = ZoneInfo("Europe/Paris")
MINUTE_US = 60_000_000
DIRECTIVE = "Directive 2002/49/EC, Annex I"
# Day, evening, night begin at these local hours.
WINDOWS = {"FR": (6, 18, 22), "EU": (7, 19, 23)}


def street() -> list[tuple[datetime, float]]:
    """Local times at which the minutes begin, and their levels."""
    with lzma.open(STREET, "rt") as file:
        rows = list(csv.reader(file))[1:]
    return [(datetime.fromisoformat(time) - timedelta(seconds=30), float(level)) for time, level in rows]


STREET_ROWS = street()


def shifted(days: int) -> tuple[list[int], list[float]]:
    """The street's minutes so many days later; local minutes that did not exist were not measured."""
    times, values = [], []
    for wall, level in STREET_ROWS:
        local = (wall + timedelta(days=days)).replace(tzinfo=PARIS)
        back = local.astimezone(UTC).astimezone(PARIS)
        if back.replace(tzinfo=None) == local.replace(tzinfo=None):
            times.append(int(local.timestamp()) * 1_000_000)
            values.append(level)
    return times, values


def continuous(first: date) -> tuple[list[int], list[float]]:
    """The street's minutes one after another from a local midnight on, whatever the clocks did."""
    start = local_day(first, PARIS).start_us
    return [start + MINUTE_US * number for number in range(len(STREET_ROWS))], [row[1] for row in STREET_ROWS]


def by_hand(times: list[int], values: list[float], day: date, country: str) -> dict[str, float]:
    """Lday, Levening, Lnight and Lden as the directive writes them, by the clock of every minute."""
    begin, evening, night = WINDOWS[country]
    first = datetime(day.year, day.month, day.day, begin, tzinfo=PARIS)
    found: dict[str, list[float]] = {"lday": [], "levening": [], "lnight": []}
    for time, value in zip(times, values, strict=True):
        local = datetime.fromtimestamp(time / 1e6, PARIS)
        if not first.timestamp() <= time / 1e6 < (first + timedelta(days=1)).timestamp():
            continue
        part = (
            "lday"
            if begin <= local.hour < evening
            else "levening"
            if evening <= local.hour < night
            else "lnight"
        )
        found[part].append(value)
    levels = {part: energy(np.array(listed)) for part, listed in found.items()}
    ld, le, ln = (10 ** (levels[part] / 10) for part in ("lday", "levening", "lnight"))
    penalised = 12 * ld + 4 * le * 10**0.5 + 8 * ln * 10
    return {**levels, "lden": float(10 * np.log10(penalised / 24))}


def figures(result: IndexResult) -> dict[str, float | None]:
    parts = {part.key: part.value for part in result.components if part.key != "leq"}
    return {**parts, "lden": result.value}


@pytest.mark.parametrize("country", ["FR", "EU"])
@pytest.mark.parametrize("day", [21, 22, 23, 24])
def test_a_street_as_computed_by_hand(country: str, day: int) -> None:
    times, values = shifted(0)
    result = compute_lden_day(SoundLevels.of_samples(times, values, 60), date(2025, 3, day), PARIS, country)
    assert figures(result) == pytest.approx(by_hand(times, values, date(2025, 3, day), country), abs=1e-9), (
        DIRECTIVE
    )
    assert (result.coverage, result.method) == (100.0, "lden-day")
    assert result.end_us - result.start_us == 24 * HOUR_US


@pytest.mark.parametrize("country", ["FR", "EU"])
def test_the_night_in_which_summer_time_begins_has_seven_hours(country: str) -> None:
    times, values = shifted(7)
    assert len(times) == 7_200 - 60
    day = date(2025, 3, 29)
    result = compute_lden_day(SoundLevels.of_samples(times, values, 60), day, PARIS, country)
    assert result.end_us - result.start_us == 23 * HOUR_US
    assert figures(result) == pytest.approx(by_hand(times, values, day, country), abs=1e-9)
    assert [part.coverage for part in result.components] == [100.0] * 4
    # The hour that the clock left out is no gap: seven hours are all of this night.
    shorter = [(time, value) for time, value in zip(times, values, strict=True) if not _in_night(time, 2, 3)]
    left = SoundLevels.of_samples([time for time, _ in shorter], [value for _, value in shorter], 60)
    found = compute_lden_day(left, day, PARIS, country)
    assert next(part.coverage for part in found.components if part.key == "lnight") == pytest.approx(
        100 * 5 / 7, abs=0.01
    )
    assert (found.value, found.reason) == (None, "coverage_too_low")


def _in_night(time: int, *hours: int) -> bool:
    """Two hours of UTC in that night: 4 and 5 h of summer time."""
    return date(2025, 3, 30) == datetime.fromtimestamp(time / 1e6, UTC).date() and (
        datetime.fromtimestamp(time / 1e6, UTC).hour in hours
    )


@pytest.mark.parametrize("country", ["FR", "EU"])
def test_the_night_in_which_summer_time_ends_has_nine_hours(country: str) -> None:
    times, values = continuous(date(2025, 10, 24))
    day = date(2025, 10, 25)
    result = compute_lden_day(SoundLevels.of_samples(times, values, 60), day, PARIS, country)
    assert result.end_us - result.start_us == 25 * HOUR_US
    assert figures(result) == pytest.approx(by_hand(times, values, day, country), abs=1e-9)
    assert [part.coverage for part in result.components] == [100.0] * 4


def test_the_weights_are_the_directives_whatever_the_night_lasted() -> None:
    day = date(2025, 3, 29)
    period = noise_day(day, PARIS, "FR")
    quiet = np.arange(period.start_us, period.end_us, HOUR_US)
    nights = quiet >= us("2025-03-29T21:00")
    levels = SoundLevels.of_samples(quiet, np.where(nights, 60.0, 50.0), 3600)
    result = compute_lden_day(levels, day, PARIS, "FR")
    expected = 10 * np.log10((12 * 10**5 + 4 * 10**5.5 + 8 * 10**7) / 24)
    assert int(nights.sum()) == 7
    assert result.value == pytest.approx(float(expected))


def test_a_steady_level_and_its_penalties() -> None:
    """Lden of a level that never changes lies 6.4 dB above it."""
    parts = DAY_PARTS["EU"]
    assert combine_day_parts({"lday": 50, "levening": 50, "lnight": 50}, parts) == pytest.approx(
        56.395, abs=0.001
    )
    assert combine_day_parts({"lday": 50, "levening": 45, "lnight": 40}, parts) == pytest.approx(50.0)
    assert [(part.key, part.weight, part.penalty) for part in DAY_PARTS["FR"]] == [
        ("lday", 12, 0),
        ("levening", 4, 5),
        ("lnight", 8, 10),
    ]


@pytest.mark.parametrize(
    ("source", "country", "hour", "part"),
    [
        (DIRECTIVE, "EU", 6, "lnight"),
        (DIRECTIVE, "EU", 7, "lday"),
        (DIRECTIVE, "EU", 18, "lday"),
        (DIRECTIVE, "EU", 19, "levening"),
        (DIRECTIVE, "EU", 22, "levening"),
        (DIRECTIVE, "EU", 23, "lnight"),
        ("France: 6-18-22-6 h", "FR", 5, "lnight"),
        ("France: 6-18-22-6 h", "FR", 6, "lday"),
        ("France: 6-18-22-6 h", "FR", 17, "lday"),
        ("France: 6-18-22-6 h", "FR", 18, "levening"),
        ("France: 6-18-22-6 h", "FR", 21, "levening"),
        ("France: 6-18-22-6 h", "FR", 22, "lnight"),
        ("34. BImSchV, § 2", "DE", 5, "lnight"),
        ("34. BImSchV, § 2", "DE", 6, "lday"),
        ("34. BImSchV, § 2", "DE", 18, "levening"),
        ("34. BImSchV, § 2", "DE", 22, "lnight"),
        ("unknown: as the EU", "XX", 6, "lnight"),
        ("unknown: as the EU", "XX", 7, "lday"),
    ],
)
def test_the_hour_that_is_loud(source: str, country: str, hour: int, part: str) -> None:
    day = date(2025, 6, 2)
    period = noise_day(day, PARIS, country)
    times = np.arange(period.start_us, period.end_us, HOUR_US)
    loud = [datetime.fromtimestamp(time / 1e6, PARIS).hour == hour for time in times.tolist()]
    result = compute_lden_day(
        SoundLevels.of_samples(times, np.where(loud, 90.0, 30.0), 3600), day, PARIS, country
    )
    assert [found.key for found in result.components[:3] if (found.value or 0) > 70] == [part], source


def test_an_interval_counts_where_it_lies() -> None:
    """One of 90 minutes over 18 h gives an hour to the day and half an hour to the evening."""
    start = us("2025-06-02T15:00")
    levels = SoundLevels(
        np.array([start]), np.array([start + 90 * MINUTE_US]), np.array([60.0]), np.array([2_700.0])
    )
    parts = compute_lden_day(levels, date(2025, 6, 2), PARIS, "FR").components
    # Half of the interval was measured.
    assert [part.coverage for part in parts[:3]] == [
        round(100 * 1800 / 43_200, 2),
        round(100 * 900 / 14_400, 2),
        0.0,
    ]


def test_hours_with_their_counts_are_as_good_as_their_minutes() -> None:
    times, values = shifted(0)
    kept = [(time, value) for time, value in zip(times, values, strict=True) if not _left_out(time)]
    minutes = SoundLevels.of_samples([time for time, _ in kept], [value for _, value in kept], 60)
    table: dict[int, list[float]] = {}
    for time, value in kept:
        table.setdefault(time // HOUR_US * HOUR_US, []).append(value)
    hours = SoundLevels.of_hours(
        list(table),
        [energy(np.array(listed)) for listed in table.values()],
        [len(listed) for listed in table.values()],
        60,
    )
    for country in ("FR", "EU"):
        fine, coarse = (
            compute_lden_day(levels, date(2025, 3, 22), PARIS, country) for levels in (minutes, hours)
        )
        assert figures(coarse) == pytest.approx(figures(fine), abs=1e-9)
        assert [part.coverage for part in coarse.components] == [part.coverage for part in fine.components]
        assert coarse.coverage < 100


def _left_out(time: int) -> bool:
    """Every third minute of the evenings."""
    return datetime.fromtimestamp(time / 1e6, PARIS).hour in (19, 20) and (time // MINUTE_US) % 3 == 0


def test_a_day_says_that_it_is_no_year() -> None:
    times, values = shifted(0)
    levels = SoundLevels.of_samples(times, values, 60)
    day, year = (
        compute_lden_day(levels, date(2025, 3, 22), PARIS, "FR"),
        compute_lden_year(levels, 2025, PARIS, "FR"),
    )
    assert any("24 hours" in note.en for note in day.notes)
    assert not any("24 hours" in note.en for note in year.notes)
    assert (year.method, year.value, year.reason) == ("lden-year", None, "coverage_too_low")


def test_a_year_is_the_energy_mean_of_all_its_parts() -> None:
    period = local_year(2025, PARIS)
    start = noise_day(date(2025, 1, 1), PARIS, "FR").start_us
    times = np.arange(start, period.end_us + 6 * HOUR_US, HOUR_US)
    clock = np.array([datetime.fromtimestamp(time / 1e6, PARIS).hour for time in times.tolist()])
    values = 50.0 + 15 * np.sin(np.arange(len(times)) / 7.0)
    result = compute_lden_year(SoundLevels.of_samples(times, values, 3600), 2025, PARIS, "FR")
    day, evening = (clock >= 6) & (clock < 18), (clock >= 18) & (clock < 22)
    ld, le, ln = energy(values[day]), energy(values[evening]), energy(values[~(day | evening)])
    assert figures(result)["lday"] == pytest.approx(ld)
    assert figures(result)["lnight"] == pytest.approx(ln)
    expected = 10 * np.log10(
        (12 * 10 ** (ld / 10) + 4 * 10 ** ((le + 5) / 10) + 8 * 10 ** ((ln + 10) / 10)) / 24
    )
    assert result.value == pytest.approx(float(expected))
    assert (result.coverage, len(times)) == (100.0, 8_760)


def test_a_part_that_is_not_covered_leaves_no_level() -> None:
    times, values = shifted(0)
    nights = [
        index for index, time in enumerate(times) if datetime.fromtimestamp(time / 1e6, PARIS).hour < 22
    ]
    levels = SoundLevels.of_samples([times[i] for i in nights], [values[i] for i in nights], 60)
    result = compute_lden_day(levels, date(2025, 3, 22), PARIS, "EU")
    assert {part.key: part.reason for part in result.components} == {
        "lday": None,
        "levening": None,
        "lnight": None,
        "leq": None,
    }
    # Without 22 to 24 h the evening has three of four hours, and the night seven of eight.
    assert [part.coverage for part in result.components[:3]] == [100.0, 75.0, 87.5]
    empty = SoundLevels.of_samples([], [], 60)
    assert compute_lden_day(empty, date(2025, 3, 22), PARIS).reason == "no_data"
    assert compute_leq(empty, TimePeriod(0, HOUR_US)).reason == "no_data"


LEVELS = st.lists(st.floats(-30, 200), min_size=1, max_size=30).map(np.array)


@settings(max_examples=50, deadline=None)
@given(LEVELS)
def test_the_energy_mean_lies_between_the_arithmetic_mean_and_the_highest(values: FloatArray) -> None:
    found = energy_mean(values)
    assert values.mean() - 1e-9 <= found <= values.max() + 1e-9
    assert found == pytest.approx(energy(values), abs=1e-9)
    assert energy_mean(values + 10) == pytest.approx(found + 10, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12 * 60), st.floats(20, 110)), min_size=4, max_size=40),
    st.integers(2, 5),
)
def test_dividing_intervals_changes_nothing(rows: list[tuple[int, float]], pieces: int) -> None:
    day = date(2025, 3, 29)
    start = noise_day(day, PARIS, "FR").start_us
    ends = start + MINUTE_US * np.cumsum([minutes for minutes, _ in rows])
    starts = np.concatenate([[start], ends[:-1]])
    values = np.array([level for _, level in rows])
    whole = SoundLevels(starts, ends, values, (ends - starts) / 1e6)
    cuts = np.linspace(starts, ends, pieces + 1).astype(np.int64)
    finer_starts, finer_ends = cuts[:-1].T.ravel(), cuts[1:].T.ravel()
    finer = SoundLevels(
        finer_starts, finer_ends, np.repeat(values, pieces), (finer_ends - finer_starts) / 1e6
    )
    one, many = (compute_lden_day(levels, day, PARIS, "FR") for levels in (whole, finer))
    assert one.reason == many.reason
    for first, second in zip(one.components, many.components, strict=True):
        assert first.coverage == pytest.approx(second.coverage, abs=0.011)
        if first.value is not None and second.value is not None:
            assert first.value == pytest.approx(second.value, abs=1e-4)
    assert 0 <= one.coverage <= 100


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 23), st.floats(0, 30))
def test_a_louder_hour_is_never_quieter(hour: int, more: float) -> None:
    day = date(2025, 10, 25)
    period = noise_day(day, PARIS)
    times = np.arange(period.start_us, period.end_us, HOUR_US)
    values = np.full(len(times), 50.0)
    louder = values.copy()
    louder[hour] += more
    low, high = (
        compute_lden_day(SoundLevels.of_samples(times, found, 3600), day, PARIS).value
        for found in (values, louder)
    )
    assert low is not None
    assert high is not None
    assert low <= high + 1e-9
