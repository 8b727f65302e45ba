"""What raises, what holds, and the band between the two."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.engine.thresholds import UNKNOWN, Above, Band, Below, Limit, compare

NOTHING, HOLDS, RAISES = (False, False), (False, True), (True, True)


@pytest.mark.parametrize(
    ("limit", "verdicts"),
    [
        (compare(">", 25, 20), {25.1: RAISES, 25: HOLDS, 20.1: HOLDS, 20: NOTHING, 19: NOTHING}),
        (compare(">=", 25, 20), {25: RAISES, 24.9: HOLDS, 20: NOTHING}),
        (compare("<", 5, 10), {4.9: RAISES, 5: HOLDS, 9.9: HOLDS, 10: NOTHING, 11: NOTHING}),
        (compare("<=", 5, 10), {5: RAISES, 5.1: HOLDS, 10: NOTHING}),
        (compare(">", 25, None), {25.1: RAISES, 25: NOTHING}),
        # At the threshold itself it raises, and so it holds.
        (compare(">=", 25, None), {25: RAISES, 24.9: NOTHING}),
        (compare("<=", 25, None), {25: RAISES, 25.1: NOTHING}),
        # A `clear` beyond the threshold, as attributes may have it: what raises holds.
        (compare(">", 25, 30), {26: RAISES, 25: NOTHING}),
        (
            Band("outside", 10, 20, 2),
            {
                9.9: RAISES,
                10: HOLDS,
                11.9: HOLDS,
                12: NOTHING,
                18: NOTHING,
                18.1: HOLDS,
                20: HOLDS,
                20.1: RAISES,
            },
        ),
        (
            Band("inside", 10, 20, 2),
            {
                7.9: NOTHING,
                8: HOLDS,
                9.9: HOLDS,
                10: RAISES,
                20: RAISES,
                20.1: HOLDS,
                22: HOLDS,
                22.1: NOTHING,
            },
        ),
        (Band("outside", 10, 20), {9.9: RAISES, 10: NOTHING, 20: NOTHING}),
        (Band("inside", 10, 20), {9.9: NOTHING, 10: RAISES}),
        (Band("inside", 10, 10), {10: RAISES, 10.1: NOTHING}),
    ],
)
def test_each_side_of_each_bound(limit: Limit, verdicts: dict[float, tuple[bool, bool]]) -> None:
    assert {value: limit.judge(value) for value in verdicts} == verdicts


@pytest.mark.parametrize(
    "limit",
    [Above(None, None), Above(25, None), Below(None, 25), Band("inside", None, 3), Band("outside", 3, None)],
)
def test_a_number_that_is_not_known_makes_it_unknown(limit: Limit) -> None:
    assert limit.judge(7) == UNKNOWN


@pytest.mark.parametrize(
    ("limit", "gate"),
    [
        (compare(">", 25, 20), (-math.inf, 25)),
        (compare("<=", 5, None), (5, math.inf)),
        (Band("outside", 10, 20, 2), (10, 20)),
        (Band("inside", 10, 20), (math.inf, -math.inf)),
        (compare(">", None, None), (-math.inf, math.inf)),
        (compare("<", None, None), (-math.inf, math.inf)),
        (Band("inside", None, None), (-math.inf, math.inf)),
    ],
)
def test_the_gate_of_each(limit: Limit, gate: tuple[float, float]) -> None:
    assert limit.gate() == gate


def test_an_alert_names_the_bounds() -> None:
    assert (compare(">", 25, None).threshold, compare(">", 25, None).clear) == (25, 25)
    assert (Band("outside", 10, 20, 2).threshold, Band("outside", 10, 20, 2).clear) == (20, None)
    with pytest.raises(KeyError):
        compare("==", 1, None)


NUMBERS = st.integers(-5, 5)
LIMITS = st.one_of(
    st.builds(compare, st.sampled_from([">", ">=", "<", "<="]), NUMBERS, st.none() | NUMBERS),
    st.builds(Band, st.sampled_from(["inside", "outside"]), NUMBERS, NUMBERS, st.integers(0, 3)),
)


@given(LIMITS, NUMBERS)
def test_what_raises_holds_and_is_not_within_the_gate(limit: Limit, value: int) -> None:
    raises, holds = limit.judge(value)
    low, high = limit.gate()
    assert not raises or (holds and not low < value < high)
