"""The arithmetic of corrections, against the same in plain Python."""

import math
from fractions import Fraction
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.timeseries.quality.correction_arithmetic import (
    CorrectionDefinition,
    apply_corrections,
    compute_growth_factor,
    find_nearest_values,
)

DRY = np.full(3, np.nan)
TIMES = np.array([100, 200, 300], np.int64)
ONE = UUID(int=1)
FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def linear(gain: float, offset: float, first: int = 0, last: int | None = None) -> CorrectionDefinition:
    return CorrectionDefinition(ONE, "linear", first, last, gain=gain, offset=offset)


def humid(kappa: float, first: int = 0, last: int | None = None) -> CorrectionDefinition:
    return CorrectionDefinition(uuid4(), "humidity", first, last, kappa=kappa)


@settings(max_examples=50)
@given(st.lists(FINITE, min_size=3, max_size=3), st.floats(0.001, 1000), FINITE)
def test_a_linear_correction_is_exact(values: list[float], gain: float, offset: float) -> None:
    found = apply_corrections(TIMES, np.array(values), DRY, [linear(gain, offset)])
    assert found.tolist() == [gain * value + offset for value in values]
    for value, each in zip(values, found.tolist(), strict=True):
        exact = Fraction(gain) * Fraction(value) + Fraction(offset)
        # Two roundings, each of half a unit in the last place.
        room = math.ulp(gain * value) + math.ulp(each)
        assert abs(Fraction(each) - exact) <= Fraction(room)


def test_a_correction_holds_from_its_beginning_until_before_its_end() -> None:
    values = np.array([1.0, 2.0, 3.0])
    assert apply_corrections(TIMES, values, DRY, [linear(10, 0, 200, 300)]).tolist() == [1, 20, 3]
    assert apply_corrections(TIMES, values, DRY, [linear(10, 0, 201)]).tolist() == [1, 2, 30]
    assert apply_corrections(TIMES, values, DRY, [linear(10, 0, 100, 200), linear(100, 0, 200)]).tolist() == [
        10,
        200,
        300,
    ]
    assert apply_corrections(TIMES, values, DRY, []).tolist() == values.tolist()
    assert values.tolist() == [1, 2, 3]


# By hand: aw/(1-aw) is 1 at 50 %, 9 at 90 %, 19 at 95 %.
@pytest.mark.parametrize(
    ("humidity", "kappa", "factor"),
    [
        (0.0, 0.4, 1.0),
        (50.0, 0.33, 1.2),
        (90.0, 0.33, 2.8),
        (95.0, 0.33, 4.8),
        (99.0, 0.33, 4.8),
        (100.0, 0.33, 4.8),
        (50.0, 1.65, 2.0),
    ],
)
def test_growth_by_hand(humidity: float, kappa: float, factor: float) -> None:
    assert compute_growth_factor(np.array([humidity]), kappa).tolist() == pytest.approx([factor])


@settings(max_examples=50)
@given(st.floats(0.1, 95), st.floats(0.01, 2), st.floats(0, 1000))
def test_dry_mass_is_as_in_the_paper(humidity: float, kappa: float, value: float) -> None:
    water = humidity / 100
    expected = value / (1 + (kappa / 1.65) / (-1 + 1 / water))
    found = apply_corrections(TIMES[:1], np.array([value]), np.array([humidity]), [humid(kappa)])
    assert found.tolist() == pytest.approx([expected], rel=1e-9)


def test_humidity_comes_before_the_linear_one_in_whatever_order_they_are_given() -> None:
    values, humidity = np.array([28.0, 28.0, 28.0]), np.array([90.0, np.nan, 50.0])
    for given_ in ([linear(2, 1), humid(0.33)], [humid(0.33), linear(2, 1)]):
        found = apply_corrections(TIMES, values, humidity, given_).tolist()
        assert found[0] == pytest.approx(2 * 28 / 2.8 + 1)
        # Without its humidity nothing can be said.
        assert math.isnan(found[1])
        assert found[2] == pytest.approx(2 * 28 / 1.2 + 1)
    # Where the one for humidity does not hold, none is needed.
    found = apply_corrections(TIMES, values, humidity, [humid(0.33, last=200), linear(2, 1)]).tolist()
    assert found == [pytest.approx(21.0), 57.0, 57.0]


def test_of_two_as_near_the_earlier_one_counts() -> None:
    known, values = np.array([5, 15, 40], np.int64), np.array([1.0, 2.0, 3.0])
    times = np.array([0, 10, 11, 15, 27, 28], np.int64)
    assert find_nearest_values(times, known, values, 12).tolist() == [1, 1, 2, 2, 2, 3]
    assert find_nearest_values(np.array([28], np.int64), known, values, 11).tolist() == pytest.approx(
        [math.nan], nan_ok=True
    )


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=8),
    st.lists(st.integers(0, 60), max_size=8, unique=True),
    st.integers(0, 12),
)
def test_the_nearest_is_the_nearest(times: list[int], known: list[int], within: int) -> None:
    times, known = sorted(times), sorted(known)
    found = find_nearest_values(
        np.array(times, np.int64), np.array(known, np.int64), np.array(known, np.float64) + 0.5, within
    )
    for time, value in zip(times, found.tolist(), strict=True):
        near = [each for each in known if abs(each - time) <= within]
        if near:
            assert value == min(near, key=lambda each: (abs(each - time), each)) + 0.5
        else:
            assert math.isnan(value)
