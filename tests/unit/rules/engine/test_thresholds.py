"""What raises, what holds, and the band between the two."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.engine.thresholds import (
    UNKNOWN_VERDICT,
    AboveLimit,
    BelowLimit,
    RangeLimit,
    ValueLimit,
    make_limit,
)

NOTHING, HOLDS, RAISES = (False, False), (False, True), (True, True)


@pytest.mark.parametrize(
    ("limit", "verdicts"),
    [
        (make_limit(">", 25, 20), {25.1: RAISES, 25: HOLDS, 20.1: HOLDS, 20: NOTHING, 19: NOTHING}),
        (make_limit(">=", 25, 20), {25: RAISES, 24.9: HOLDS, 20: NOTHING}),
        (make_limit("<", 5, 10), {4.9: RAISES, 5: HOLDS, 9.9: HOLDS, 10: NOTHING, 11: NOTHING}),
        (make_limit("<=", 5, 10), {5: RAISES, 5.1: HOLDS, 10: NOTHING}),
        (make_limit(">", 25, None), {25.1: RAISES, 25: NOTHING}),
        # At the threshold itself it raises, and so it holds.
        (make_limit(">=", 25, None), {25: RAISES, 24.9: NOTHING}),
        (make_limit("<=", 25, None), {25: RAISES, 25.1: NOTHING}),
        # A `clear` beyond the threshold, as attributes may have it: what raises holds.
        (make_limit(">", 25, 30), {26: RAISES, 25: NOTHING}),
        (
            RangeLimit("outside", 10, 20, 2),
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
            RangeLimit("inside", 10, 20, 2),
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
        (RangeLimit("outside", 10, 20), {9.9: RAISES, 10: NOTHING, 20: NOTHING}),
        (RangeLimit("inside", 10, 20), {9.9: NOTHING, 10: RAISES}),
        (RangeLimit("inside", 10, 10), {10: RAISES, 10.1: NOTHING}),
    ],
)
def test_each_side_of_each_bound(limit: ValueLimit, verdicts: dict[float, tuple[bool, bool]]) -> None:
    assert {value: limit.evaluate(value) for value in verdicts} == verdicts


@pytest.mark.parametrize(
    "limit",
    [
        AboveLimit(None, None),
        AboveLimit(25, None),
        BelowLimit(None, 25),
        RangeLimit("inside", None, 3),
        RangeLimit("outside", 3, None),
    ],
)
def test_a_number_that_is_not_known_makes_it_unknown(limit: ValueLimit) -> None:
    assert limit.evaluate(7) == UNKNOWN_VERDICT


@pytest.mark.parametrize(
    ("limit", "gate"),
    [
        (make_limit(">", 25, 20), (-math.inf, 25)),
        (make_limit("<=", 5, None), (5, math.inf)),
        (RangeLimit("outside", 10, 20, 2), (10, 20)),
        (RangeLimit("inside", 10, 20), (math.inf, -math.inf)),
        (make_limit(">", None, None), (-math.inf, math.inf)),
        (make_limit("<", None, None), (-math.inf, math.inf)),
        (RangeLimit("inside", None, None), (-math.inf, math.inf)),
    ],
)
def test_the_gate_of_each(limit: ValueLimit, gate: tuple[float, float]) -> None:
    assert limit.prefilter_range() == gate


def test_an_alert_names_the_bounds() -> None:
    assert (make_limit(">", 25, None).threshold, make_limit(">", 25, None).clear) == (25, 25)
    assert (RangeLimit("outside", 10, 20, 2).threshold, RangeLimit("outside", 10, 20, 2).clear) == (20, None)
    with pytest.raises(KeyError):
        make_limit("==", 1, None)


NUMBERS = st.integers(-5, 5)
LIMITS = st.one_of(
    st.builds(make_limit, st.sampled_from([">", ">=", "<", "<="]), NUMBERS, st.none() | NUMBERS),
    st.builds(RangeLimit, st.sampled_from(["inside", "outside"]), NUMBERS, NUMBERS, st.integers(0, 3)),
)


@given(LIMITS, NUMBERS)
def test_what_raises_holds_and_is_not_within_the_gate(limit: ValueLimit, value: int) -> None:
    raises, holds = limit.evaluate(value)
    low, high = limit.prefilter_range()
    assert not raises or (holds and not low < value < high)
