"""What the last values of a metric come to, by example and against plain formulas."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rules.engine.value_windows import (
    WINDOW_FUNCTIONS,
    BoxEvent,
    BoxHistory,
    RuleLookback,
    ValueWindow,
    WindowSpec,
)

MINUTE = 60_000_000
HOUR = 60 * MINUTE


def window_of(values: Sequence[float], length: int = HOUR, apart: int = MINUTE) -> ValueWindow:
    window = ValueWindow(length)
    for place, value in enumerate(values, 1):
        window.add(place * apart, value)
        window.move(place * apart)
    return window


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        ("mean", [1, 2, 6], 3),
        ("mean", [0.1] * 10, 0.1),
        ("sum", [0.1] * 10, 1.0),
        ("min", [3, -1, 2], -1),
        ("max", [3, -1, 2], 3),
        ("spread", [3, -1, 2], 4),
        ("spread", [24.3] * 5, 0),
        ("count", [5, 5, 5], 3),
        ("count", [], 0),
        # Two more in a minute are 120 more in an hour.
        ("rate", [5, 9, 7, 11], 120),
        ("rate", [11, 5], -360),
        ("rate", [5], None),
        ("energy_mean", [60, 60, 60], 60),
        ("energy_mean", [60, 70], 67.403627),
        ("mean", [], None),
        ("spread", [], None),
        ("energy_mean", [], None),
        ("percentile", [], None),
    ],
)
def test_what_values_come_to(function: str, values: list[float], expected: float | None) -> None:
    assert window_of(values).aggregate(function) == expected


@pytest.mark.parametrize(
    ("percentile", "count", "rank"),
    [
        (50, 1, 1),
        (50, 4, 2),
        (50, 5, 3),
        (90, 10, 9),
        (95, 10, 10),
        (1, 10, 1),
        (7, 100, 7),
        (99.9, 1000, 999),
    ],
)
def test_a_percentile_is_the_value_of_the_nearest_rank(percentile: float, count: int, rank: int) -> None:
    values = [float(value) for value in range(count, 0, -1)]
    assert window_of(values, 2 * count * MINUTE).aggregate("percentile", percentile) == rank


def test_a_value_leaves_when_it_is_as_old_as_the_window() -> None:
    window = ValueWindow(10 * MINUTE)
    window.add(0, 5)
    window.move(10 * MINUTE - 1)
    assert len(window) == 1
    window.move(10 * MINUTE)
    assert (len(window), window.aggregate("max"), window.aggregate("count")) == (0, None, 0)


def test_one_that_asks_for_an_earlier_time_after_a_later_one_is_answered() -> None:
    """Rules share a window, and the clock of one may be ahead."""
    window = window_of([9, 1, 5, 2, 7], 3 * MINUTE)
    before = {name: window.aggregate(name) for name in WINDOW_FUNCTIONS}
    window.move(7 * MINUTE)
    assert (window.aggregate("count"), window.aggregate("max"), window.aggregate("mean")) == (1, 7, 7)
    window.move(9 * MINUTE)
    assert window.aggregate("max") is None
    window.move(5 * MINUTE)
    assert {name: window.aggregate(name) for name in WINDOW_FUNCTIONS} == before
    assert before["max"] == 7


@pytest.mark.parametrize(
    ("times", "speaks"),
    [
        # Four quarters and their distance: 30 and 10 of 40 minutes.
        ([10, 20, 30, 40], True),
        ([10, 20], False),
        ([20, 30], False),
        ([10, 25], True),
        ([10, 38], True),
        # Nineteen and one are less than three quarters, twenty-nine and one are those.
        ([*range(21, 41)], False),
        ([*range(11, 41)], True),
        ([*range(12, 41)], False),
        ([40], False),
        ([], False),
    ],
)
def test_it_speaks_once_its_values_span_three_quarters(times: list[int], speaks: bool) -> None:  # noqa: FBT001 (expected)
    window = ValueWindow(40 * MINUTE)
    for minute in times:
        window.add(minute * MINUTE, 1)
        window.move(minute * MINUTE)
    assert window.spans() is speaks


def test_coverage_is_of_what_the_interval_promises() -> None:
    window = window_of([1] * 15, 20 * MINUTE)
    assert window.covers(75, MINUTE)
    assert not window.covers(76, MINUTE)
    assert window.covers(100, 2 * MINUTE)


# Decimals as boxes send them: of few digits, and of more than sums keep.
VALUES = st.one_of(st.integers(-300, 1200).map(lambda tenths: tenths / 10), st.floats(-30, 120, width=32))
STEPS = st.lists(st.tuples(st.integers(1, 5 * MINUTE), VALUES, st.integers(0, 8 * MINUTE)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20 * MINUTE), STEPS, st.data())
def test_a_window_that_grew_live_is_one_that_was_filled_again_to_the_bit(
    length: int, steps: list[tuple[int, float, int]], data: st.DataObject
) -> None:
    live = ValueWindow(length)
    taken: list[tuple[int, float]] = []
    time = 0
    for apart, value, ahead in steps:
        time += apart
        live.add(time, value)
        live.move(time)
        taken.append((time, value))
        # Functions that are asked for only now and then keep what they need from there on.
        for function in data.draw(st.lists(st.sampled_from(WINDOW_FUNCTIONS), max_size=2)):
            live.aggregate(function, 90)
        live.move(time + ahead)
        anew = ValueWindow(length)
        for one, other in taken:
            if one > time - length:
                anew.add(one, other)
        anew.move(time + ahead)
        for function in WINDOW_FUNCTIONS:
            assert live.aggregate(function, 90) == anew.aggregate(function, 90)
        assert (live.spans(), len(live)) == (anew.spans(), len(anew))
        _check_formulas(live, [other for one, other in taken if time + ahead - length < one])


def _check_formulas(window: ValueWindow, values: list[float]) -> None:
    assert window.aggregate("count") == len(values)
    if not values:
        assert window.aggregate("mean") is None
        return
    assert window.aggregate("mean") == pytest.approx(math.fsum(values) / len(values), abs=1e-6)
    assert window.aggregate("sum") == pytest.approx(math.fsum(values), abs=1e-4)
    assert window.aggregate("min") == min(values)
    assert window.aggregate("max") == max(values)
    assert window.aggregate("spread") == max(values) - min(values)
    energies = math.fsum(10 ** (value / 10) for value in values)
    assert window.aggregate("energy_mean") == pytest.approx(10 * math.log10(energies / len(values)), abs=1e-5)
    ordered = sorted(values)
    assert window.aggregate("percentile", 90) == ordered[math.ceil(9 * len(values) / 10) - 1]


def test_values_that_are_too_old_for_every_question_are_forgotten() -> None:
    window = window_of([1.0] * 5000, 10 * MINUTE)
    assert len(window) == 10
    assert len(window._times) < 200


def test_a_history_keeps_each_span_and_each_type() -> None:
    short, long = WindowSpec(1, 2 * MINUTE), WindowSpec(1, 5 * MINUTE)
    history = BoxHistory(RuleLookback(frozenset({short, long}), {"gunshot": 3 * MINUTE}))
    assert history.columns == {1}
    for minute in range(1, 9):
        history.add(1, minute * MINUTE, minute)
        history.add(2, minute * MINUTE, minute)
        history.add_event("gunshot", BoxEvent(minute * MINUTE, []), 3 * MINUTE)
    assert len(history.windows[short]) == 2
    assert len(history.windows[long]) == 5
    assert [event.time_us // MINUTE for event in history.events["gunshot"]] == [6, 7, 8]
    assert len(history) == 10
    assert bool(RuleLookback()) is False
    assert bool(RuleLookback(events={"gunshot": 1})) is True
