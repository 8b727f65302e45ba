"""How an export goes through its rows: which boxes, and which while of them, are looked at next.

Owns how much is looked at once. Through the view that shows a caller's samples nothing comes in the order of
time but by sorting all that was asked for: so only so much is asked for as fits, and where there was more it
is asked for anew, in less. Pure: no database, no clock.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from app.timeseries.exports.box_selection import ExportSpan, RowPosition

MAX_SCANNED_BOXES: Final = 100
"""That are looked at together."""

# From piece to piece: whoever has few rows is looked at together with others, carefully.
_GROWTH: Final = 4
_FILLED: Final = 0.8
_LONG_S: Final = 1.0
_SHORTEST: Final = timedelta(microseconds=1)


class ScanRange(NamedTuple):
    """What is looked at.

    Attributes:
        start: the first row's place; None: the beginning.
        boxes: how many boxes, at most, each to the end of the span.
        end: of a single box instead only what is before this; None: boxes.
    """

    start: RowPosition | None
    boxes: int
    end: datetime | None


class ScanOutcome(NamedTuple):
    """What there was.

    Attributes:
        rows: of those boxes that were taken whole.
        looked: how many boxes there were.
        last: the last of them; None where there was none.
        over: the first box with which there are more rows than fit; None: all fit.
        seconds: that it took.
    """

    rows: int
    scanned: int
    last: str | None
    over: str | None
    seconds: float


class AdaptiveRowScan:
    """A way through all rows, piece by piece.

    Args:
        span: what is exported.
        rows: that fit into a piece.
    """

    def __init__(self, span: ExportSpan, rows: int) -> None:
        self._span = span
        self._rows = rows
        self._start = span.start
        self._boxes = 1
        # Of a box that has more rows than fit: how much of the span is looked at.
        self._width: timedelta | None = None
        self._hint = (span.last - span.first) / _GROWTH
        self._more = True

    def next(self) -> ScanRange | None:
        """What is to be looked at; None at the end."""
        if not self._more:
            return None
        if self._width is None or self._start is None or self._start.time is None:
            return ScanRange(self._start, self._boxes, None)
        # Not past the last year that there is.
        width = min(self._width, self._span.last - self._start.time)
        return ScanRange(self._start, 1, self._start.time + width)

    def advance(self, piece: ScanRange, outcome: ScanOutcome) -> None:
        """Tell what there was in a piece: the next one follows from it."""
        if piece.end is not None:
            self._seen_while(piece, piece.end, outcome)
        elif outcome.over is None:
            self._more = outcome.scanned == piece.boxes
            if outcome.last is not None:
                self._start = RowPosition(outcome.last, None)
            self._boxes = choose_box_count(piece.boxes, outcome.rows, self._rows, outcome.seconds)
        else:
            self._start = self._begin(outcome.over)
            self._boxes = max(1, piece.boxes // _GROWTH)
            if not outcome.rows:
                self._width = self._hint

    def _seen_while(self, piece: ScanRange, end: datetime, outcome: ScanOutcome) -> None:
        width = self._width or _SHORTEST
        if piece.start is None or not outcome.scanned:
            # The box was removed meanwhile.
            self._width = None
            self._start = None if piece.start is None else RowPosition(piece.start.box, None)
        elif outcome.over is not None:
            self._width = self._hint = max(width / _GROWTH, _SHORTEST)
        elif end >= self._span.last:
            self._start, self._width, self._boxes = RowPosition(piece.start.box, None), None, 1
        else:
            fitting = self._rows * _FILLED / outcome.rows if outcome.rows else _GROWTH
            times = 1 / _GROWTH if outcome.seconds >= _LONG_S else min(_GROWTH, fitting)
            longest = self._span.last - self._span.first
            self._width = self._hint = max(min(width * times, longest), _SHORTEST)
            self._start = RowPosition(piece.start.box, end)

    def _begin(self, box: str) -> RowPosition:
        start = self._start
        if start is not None and start.box == box and start.time is not None:
            return start
        return RowPosition(box, self._span.first)


def choose_box_count(boxes: int, found: int, rows: int, seconds: float) -> int:
    """How many boxes are looked at next.

    Each of them is read as far as it fills a piece by itself: too many cost the database time for nothing,
    too few a query each. Where few samples have what is asked for, it is by the time that there are too many.

    Args:
        boxes: that were looked at.
        found: rows that they had.
        rows: that fit.
        seconds: that it took.
    """
    if seconds >= _LONG_S:
        return max(1, boxes // _GROWTH)
    fitting = int(boxes * _FILLED * rows / max(found, 1))
    return max(1, min(MAX_SCANNED_BOXES, boxes * _GROWTH, fitting))
