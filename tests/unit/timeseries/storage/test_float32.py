"""A rule sees of a value what is left of it once it is stored."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import CATALOGUE, INDEX
from app.timeseries.storage.sample_column_encoding import round_to_float32

REAL = INDEX["temperature"]
DOUBLE = next(place for place, metric in enumerate(CATALOGUE) if metric.storage == "double precision")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (12.4, 12.4),
        (-999.999, -999.999),
        (25, 25.0),
        (24.99999999, 25.0),
        (1013.25, 1013.25),
        (0.1 + 0.2, 0.3),
        (16777217.0, 16777216.0),
        (1e-46, 0.0),
    ],
)
def test_a_real_keeps_seven_digits_or_so(sent: float, stored: float) -> None:
    assert round_to_float32(REAL, sent) == stored


def test_a_double_keeps_all() -> None:
    assert round_to_float32(DOUBLE, 24.99999999) == 24.99999999


@given(st.floats(-1e7, 1e7))
def test_what_was_stored_once_stays_as_it_is(value: float) -> None:
    once = round_to_float32(REAL, value)
    assert round_to_float32(REAL, once) == once
    # As it comes back from the database in binary: the nearest `real`, as a longer decimal.
    (back,) = struct.unpack("f", struct.pack("f", value))
    assert round_to_float32(REAL, back) == once


@given(st.integers(-999_999, 999_999))
def test_six_digits_come_back_as_they_were_sent(thousandths: int) -> None:
    value = thousandths / 1000
    (back,) = struct.unpack("f", struct.pack("f", value))
    assert round_to_float32(REAL, value) == value == round_to_float32(REAL, back)
