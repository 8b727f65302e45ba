"""The arithmetic of the comparison."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from simulators.verify import SeriesComparison, as_real, compare, span

REALS = frozenset({"pm10", "pm2_5"})


def test_equal_values_are_counted_and_clean() -> None:
    result = SeriesComparison()
    stored = {1: {"pm10": as_real(4.67), "pressure": 1002.3732, "no2": None}}
    compare("a", {1: {"pm10": 4.67, "pressure": 1002.3732}}, stored, REALS, result)
    assert (result.equal, result.expected_values, result.stored_rows, result.clean) == (2, 2, 1, True)


def test_a_real_column_is_compared_after_rounding_and_no_further() -> None:
    neighbour = struct.unpack("<f", struct.pack("<I", struct.unpack("<I", struct.pack("<f", 4.67))[0] + 1))[0]
    result = SeriesComparison()
    compare("a", {1: {"pm10": 4.67}}, {1: {"pm10": neighbour}}, REALS, result)
    assert (result.equal, result.different, result.clean) == (0, 1, False)


def test_a_double_column_has_to_be_exact() -> None:
    result = SeriesComparison()
    compare("a", {1: {"pressure": 1002.3732}}, {1: {"pressure": as_real(1002.3732)}}, REALS, result)
    assert result.different == 1


def test_missing_and_extra_rows_and_values() -> None:
    result = SeriesComparison()
    sent = {1: {"pm10": 1.0, "pm2_5": 2.0}, 2: {"pm10": 3.0}}
    stored: dict[int, dict[str, float | None]] = {
        1: {"pm10": 1.0, "pm2_5": None, "no2": 9.0},
        3: {"pm10": 5.0},
    }
    compare("a", sent, stored, REALS, result)
    assert (result.equal, result.missing, result.missing_rows) == (1, 2, 1)
    assert (result.extra, result.extra_rows) == (2, 1)
    assert not result.clean
    assert result.figures()["missing_rows"] == 1
    assert len(result.shown) == 4


def test_only_the_first_ten_deviations_are_kept_as_text() -> None:
    result = SeriesComparison()
    compare("a", {n: {"pm10": 1.0} for n in range(50)}, {}, REALS, result)
    assert (result.missing_rows, len(result.shown)) == (50, 10)


def test_the_span_of_all_boxes() -> None:
    assert span({"a": {5: {}, 9: {}}, "b": {2: {}}}) == (2, 9)
    assert span({}) == (0, 0)


@given(st.decimals(min_value=0, max_value=2000, places=2))
def test_two_decimals_of_a_sensor_come_back_from_four_bytes(value: object) -> None:
    number = float(str(value))
    assert float(f"{as_real(number):.6g}") == float(f"{number:.6g}")
