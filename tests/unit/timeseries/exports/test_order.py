"""Places in the order of an export, and what names a part."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalogue.metrics import COLUMNS
from app.platform.http.contract.pagination import encode_cursor
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, to_datetime
from app.timeseries.exports.export_parameters import resolve_start_position
from app.timeseries.exports.export_selection import RowPosition, advance_position
from app.timeseries.exports.row_source import RawSamples
from app.timeseries.exports.sample_part_planner import PartReference
from app.timeseries.exports.text_formats import format_csv_header

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
LATER = NOON + timedelta(microseconds=1)


def test_a_row_s_place_is_read_as_the_file_has_it() -> None:
    assert RowPosition.read("-x,2026-03-28T12:00:00.000001Z") == RowPosition("-x", LATER)
    assert advance_position(RowPosition("a", NOON)) == RowPosition("a", LATER)
    assert advance_position(RowPosition("a", None)) == RowPosition("a", None)
    for text in ("", "a", "a,", ",2026-03-28T12:00:00Z", "a b,2026-03-28T12:00:00Z", "a,1774699200000"):
        with pytest.raises(InvalidError) as refused:
            RowPosition.read(text)
        assert refused.value.code == "invalid_position", text


def test_a_file_goes_on_behind_its_last_row_and_not_before_its_part() -> None:
    start = RowPosition("b", NOON)
    assert resolve_start_position(None, start) == start
    assert resolve_start_position(None, None) is None
    assert resolve_start_position(RowPosition("a", NOON), None) == RowPosition("a", LATER)
    assert resolve_start_position(RowPosition("b", NOON), start) == RowPosition("b", LATER)
    assert resolve_start_position(RowPosition("B", LATER), start) == start
    assert resolve_start_position(RowPosition("b", NOON), RowPosition("b", None)) == RowPosition("b", None)
    assert resolve_start_position(RowPosition("c", NOON), RowPosition("b", None)) == RowPosition("c", LATER)


PLACES = st.none() | st.builds(
    RowPosition,
    st.text("aZ09_-", min_size=1, max_size=64),
    st.none() | st.integers(EARLIEST_US, LATEST_US - 1).map(to_datetime),
)


@settings(max_examples=50)
@given(number=st.integers(1, 10**9), start=PLACES, until=PLACES)
def test_what_names_a_part_is_read_back(
    number: int, start: RowPosition | None, until: RowPosition | None
) -> None:
    named = PartReference(number, start, until)
    assert PartReference.read(named.token()) == named


@pytest.mark.parametrize(
    "key",
    [
        (),
        (1, None, None, None),
        (0, None, None, None, None),
        (1.5, None, None, None, None),
        (1, "a b", None, None, None),
        (1, "a", 1.5, None, None),
        (1, "a", 10**18, None, None),
        (1, "a", -1, None, None),
        (10**10, None, None, None, None),
    ],
)
def test_nothing_else_names_one(key: tuple[str | float | None, ...]) -> None:
    for kind in ("export_part", "readings"):
        with pytest.raises(InvalidError) as refused:
            PartReference.read(encode_cursor(kind, *key))
        assert refused.value.code == "invalid_cursor"


def test_names_need_no_escape_and_none_is_taken() -> None:
    raw = RawSamples.of(reversed(COLUMNS), NOON, LATER)
    assert [column.name for column in raw.columns] == list(COLUMNS)
    assert format_csv_header(raw.columns) == f"box,site,time,{','.join(COLUMNS)}\r\n"
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in COLUMNS)
    assert not {"box", "site", "time", "id", "site_id", "longitude", "latitude"} & set(COLUMNS)
