"""The arithmetic of the comparison."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from simulators.replay_verification import StorageComparison, compare_box, find_time_range, round_to_float32

REALS = frozenset({"pm10", "pm2_5"})


def test_equal_values_are_counted_and_clean() -> None:
    result = StorageComparison()
    stored = {1: {"pm10": round_to_float32(4.67), "pressure": 1002.3732, "no2": None}}
    compare_box("a", {1: {"pm10": 4.67, "pressure": 1002.3732}}, stored, REALS, result)
    assert (result.equal, result.expected_values, result.stored_rows, result.clean) == (2, 2, 1, True)


def test_a_real_column_is_compared_after_rounding_and_no_further() -> None:
    neighbour = struct.unpack("<f", struct.pack("<I", struct.unpack("<I", struct.pack("<f", 4.67))[0] + 1))[0]
    result = StorageComparison()
    compare_box("a", {1: {"pm10": 4.67}}, {1: {"pm10": neighbour}}, REALS, result)
    assert (result.equal, result.different, result.clean) == (0, 1, False)


def test_a_double_column_has_to_be_exact() -> None:
    result = StorageComparison()
    compare_box(
        "a", {1: {"pressure": 1002.3732}}, {1: {"pressure": round_to_float32(1002.3732)}}, REALS, result
    )
    assert result.different == 1


def test_missing_and_extra_rows_and_values() -> None:
    result = StorageComparison()
    sent = {1: {"pm10": 1.0, "pm2_5": 2.0}, 2: {"pm10": 3.0}}
    stored: dict[int, dict[str, float | None]] = {
        1: {"pm10": 1.0, "pm2_5": None, "no2": 9.0},
        3: {"pm10": 5.0},
    }
    compare_box("a", sent, stored, REALS, result)
    assert (result.equal, result.missing, result.missing_rows) == (1, 2, 1)
    assert (result.extra, result.extra_rows) == (2, 1)
    assert not result.clean
    assert result.figures()["missing_rows"] == 1
    assert len(result.shown) == 4


def test_only_the_first_ten_deviations_are_kept_as_text() -> None:
    result = StorageComparison()
    compare_box("a", {n: {"pm10": 1.0} for n in range(50)}, {}, REALS, result)
    assert (result.missing_rows, len(result.shown)) == (50, 10)


def test_the_span_of_all_boxes() -> None:
    assert find_time_range({"a": {5: {}, 9: {}}, "b": {2: {}}}) == (2, 9)
    assert find_time_range({}) == (0, 0)


@given(st.decimals(min_value=0, max_value=2000, places=2))
def test_two_decimals_of_a_sensor_come_back_from_four_bytes(value: object) -> None:
    number = float(str(value))
    assert float(f"{round_to_float32(number):.6g}") == float(f"{number:.6g}")
