"""The way through an export's rows: all of them once and in order, whatever there is, in pieces that fit."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.timeseries.exports.export_selection import ExportSpan, RowPosition
from app.timeseries.exports.scan_ranges import (
    MAX_SCANNED_BOXES,
    AdaptiveRowScan,
    ScanOutcome,
    ScanRange,
    choose_box_count,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = ExportSpan(START, START + timedelta(days=365))
type Boxes = dict[str, list[datetime]]
type Row = tuple[str, datetime]


def look(boxes: Boxes, span: ExportSpan, piece: ScanRange, fit: int) -> tuple[list[Row], ScanOutcome]:
    """What the database says of a piece, by the words of `ScanRange` and `ScanOutcome`."""
    start = piece.start
    names = sorted(boxes)
    if start is not None:
        names = [name for name in names if name > start.box or (name == start.box and start.time is not None)]
    if piece.end is not None and start is not None and start.time is not None:
        names = [name for name in names if name == start.box]
    assert piece.end is None or piece.boxes == 1
    looked = names[: piece.boxes]
    taken: list[Row] = []
    over = None
    for name in looked:
        since = start.time if start is not None and start.box == name and start.time else span.first
        rows = [(name, time) for time in boxes[name] if since <= time < (piece.end or span.last)]
        if len(taken) + len(rows) > fit:
            over = name
            break
        taken += rows
    return taken, ScanOutcome(len(taken), len(looked), looked[-1] if looked else None, over, 0.01)


def walked(boxes: Boxes, span: ExportSpan, fit: int) -> tuple[list[Row], list[ScanRange]]:
    walk, rows, pieces = AdaptiveRowScan(span, fit), [], []
    while (piece := walk.next()) is not None:
        found, seen = look(boxes, span, piece, fit)
        walk.advance(piece, seen)
        rows += found
        pieces.append(piece)
        assert len(pieces) < 5_000
    return rows, pieces


TIMES = st.lists(st.integers(0, 365 * 86_400 - 1), unique=True, max_size=60).map(
    lambda seconds: [START + timedelta(seconds=each) for each in sorted(seconds)]
)


@settings(max_examples=60)
@given(
    boxes=st.dictionaries(st.text("aB-_9", min_size=1, max_size=3), TIMES, max_size=12),
    fit=st.integers(1, 40),
    start=st.none() | st.builds(RowPosition, st.just("a"), st.none() | st.just(START + timedelta(days=90))),
)
def test_all_rows_come_once_and_in_order(boxes: Boxes, fit: int, start: RowPosition | None) -> None:
    span = ExportSpan(SPAN.first, SPAN.last, start)
    wanted = [
        (box, time)
        for box in sorted(boxes)
        for time in boxes[box]
        if start is None
        or box > start.box
        or (box == start.box and start.time is not None and time >= start.time)
    ]
    assert walked(boxes, span, fit)[0] == wanted


def test_a_long_series_comes_in_pieces_that_are_nearly_full() -> None:
    minutes = [START + timedelta(minutes=number) for number in range(100_000)]
    rows, pieces = walked({"a": minutes, "b": minutes[:10]}, SPAN, 5_000)
    assert len(rows) == 100_010
    # Those that are of no use cost as much as one that fits, and there are few of them.
    assert len(pieces) < 45


def test_a_box_after_a_long_one_is_read_in_ranges_of_the_same_width() -> None:
    minutes = [START + timedelta(minutes=number) for number in range(100_000)]
    boxes = {f"b-{number}": minutes for number in range(9)} | {"b-5": [], "b-6": minutes[:3]}
    rows, pieces = walked(boxes, SPAN, 5_000)
    assert len(rows) == 700_003
    # Only for the first one is the width found by ranges that do not fit.
    useless = [piece for piece in pieces if look(boxes, SPAN, piece, 5_000)[1].over is not None]
    assert len(useless) < 12
    assert len(pieces) < 7 * 30 + 2 * 10


def test_many_boxes_with_few_rows_are_looked_at_together() -> None:
    boxes = {f"b-{number:04}": [START] for number in range(2_000)}
    rows, pieces = walked(boxes, SPAN, 5_000)
    assert len(rows) == 2_000
    assert len(pieces) < 2_000 / MAX_SCANNED_BOXES + 6


def test_a_box_that_was_removed_meanwhile_ends_nothing() -> None:
    minutes = [START + timedelta(minutes=number) for number in range(1_000)]
    boxes = {"a": minutes, "b": minutes}
    walk, rows = AdaptiveRowScan(SPAN, 100), []
    while (piece := walk.next()) is not None:
        found, seen = look(boxes, SPAN, piece, 100)
        walk.advance(piece, seen)
        rows += found
        if found:
            boxes.pop("a", None)
    assert [row for row in rows if row[0] == "b"] == [("b", time) for time in minutes]


@pytest.mark.parametrize(
    ("boxes", "found", "seconds", "following"),
    [(1, 0, 0.1, 4), (64, 0, 0.1, 100), (4, 4_000, 0.1, 4), (8, 5_000, 0.1, 6), (8, 0, 1.0, 2), (1, 0, 9, 1)],
)
def test_how_many_boxes_are_next(boxes: int, found: int, seconds: float, following: int) -> None:
    assert choose_box_count(boxes, found, 5_000, seconds) == following
