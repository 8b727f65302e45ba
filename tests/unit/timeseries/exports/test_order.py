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
from app.timeseries.exports.box_selection import Position, behind
from app.timeseries.exports.export_parts import Named
from app.timeseries.exports.export_query import beginning
from app.timeseries.exports.row_source import RawSamples
from app.timeseries.exports.text_formats import csv_head

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
LATER = NOON + timedelta(microseconds=1)


def test_a_row_s_place_is_read_as_the_file_has_it() -> None:
    assert Position.read("-x,2026-03-28T12:00:00.000001Z") == Position("-x", LATER)
    assert behind(Position("a", NOON)) == Position("a", LATER)
    assert behind(Position("a", None)) == Position("a", None)
    for text in ("", "a", "a,", ",2026-03-28T12:00:00Z", "a b,2026-03-28T12:00:00Z", "a,1774699200000"):
        with pytest.raises(InvalidError) as refused:
            Position.read(text)
        assert refused.value.code == "invalid_position", text


def test_a_file_goes_on_behind_its_last_row_and_not_before_its_part() -> None:
    start = Position("b", NOON)
    assert beginning(None, start) == start
    assert beginning(None, None) is None
    assert beginning(Position("a", NOON), None) == Position("a", LATER)
    assert beginning(Position("b", NOON), start) == Position("b", LATER)
    assert beginning(Position("B", LATER), start) == start
    assert beginning(Position("b", NOON), Position("b", None)) == Position("b", None)
    assert beginning(Position("c", NOON), Position("b", None)) == Position("c", LATER)


PLACES = st.none() | st.builds(
    Position,
    st.text("aZ09_-", min_size=1, max_size=64),
    st.none() | st.integers(EARLIEST_US, LATEST_US - 1).map(to_datetime),
)


@settings(max_examples=50)
@given(number=st.integers(1, 10**9), start=PLACES, until=PLACES)
def test_what_names_a_part_is_read_back(number: int, start: Position | None, until: Position | None) -> None:
    named = Named(number, start, until)
    assert Named.read(named.token()) == named


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
            Named.read(encode_cursor(kind, *key))
        assert refused.value.code == "invalid_cursor"


def test_names_need_no_escape_and_none_is_taken() -> None:
    raw = RawSamples.of(reversed(COLUMNS), NOON, LATER)
    assert [column.name for column in raw.columns] == list(COLUMNS)
    assert csv_head(raw.columns) == f"box,site,time,{','.join(COLUMNS)}\r\n"
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in COLUMNS)
    assert not {"box", "site", "time", "id", "site_id", "longitude", "latitude"} & set(COLUMNS)
