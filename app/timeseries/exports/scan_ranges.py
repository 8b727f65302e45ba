"""Chooses which boxes and times an export reads next, from the row count and duration of its last read.

Through the tenant view rows come in order of time only if PostgreSQL sorts all rows of the range. So a range
has about as many rows as fit into a slice, and is retried smaller if it had more. Pure: no database, no
clock.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from app.timeseries.exports.export_selection import ExportSpan, RowPosition

MAX_SCANNED_BOXES: Final = 100
"""The most boxes in one range."""

# The growth from range to range, so that boxes with few rows are read together.
_GROWTH: Final = 4
_FILLED: Final = 0.8
_LONG_S: Final = 1.0
_SHORTEST: Final = timedelta(microseconds=1)


class ScanRange(NamedTuple):
    """A range to read.

    Attributes:
        start: position of the first row; None: the beginning.
        boxes: the most boxes, each to the end of the span.
        end: only the first box, and only rows before this; None: several boxes.
    """

    start: RowPosition | None
    boxes: int
    end: datetime | None


class ScanOutcome(NamedTuple):
    """The outcome of a range.

    Attributes:
        rows: number of rows of complete boxes.
        scanned: number of boxes.
        last: the last box; None if there was none.
        over: the first box with which there are more rows than fit; None: all fit.
        seconds: duration of the query.
    """

    rows: int
    scanned: int
    last: str | None
    over: str | None
    seconds: float


class AdaptiveRowScan:
    """Iterates over all rows, range by range.

    Args:
        span: range of the export.
        rows: the most rows of a range.
    """

    def __init__(self, span: ExportSpan, rows: int) -> None:
        self._span = span
        self._rows = rows
        self._start = span.start
        self._boxes = 1
        # The width of the time range, while single boxes have more rows than fit.
        self._width: timedelta | None = None
        self._hint = (span.last - span.first) / _GROWTH
        # Whether the current box took more than one range.
        self._is_long = False
        self._more = True

    def next(self) -> ScanRange | None:
        """Return the next range; None at the end."""
        if not self._more:
            return None
        if self._width is None:
            return ScanRange(self._start, self._boxes, None)
        begin = self._span.first
        if self._start is not None and self._start.time is not None:
            begin = self._start.time
        # Clipped to the span, because a time after the year 9999 would overflow.
        return ScanRange(self._start, 1, begin + min(self._width, self._span.last - begin))

    def advance(self, scan_range: ScanRange, outcome: ScanOutcome) -> None:
        """Choose the next range from the outcome of this one."""
        if scan_range.end is not None:
            self._advance_in_box(scan_range, scan_range.end, outcome)
        elif outcome.over is None:
            self._more = outcome.scanned == scan_range.boxes
            if outcome.last is not None:
                self._start = RowPosition(outcome.last, None)
            self._boxes = choose_box_count(scan_range.boxes, outcome.rows, self._rows, outcome.seconds)
        else:
            self._start = self._begin(outcome.over)
            self._boxes = max(1, scan_range.boxes // _GROWTH)
            if not outcome.rows:
                self._width = self._hint

    def _advance_in_box(self, scan_range: ScanRange, end: datetime, outcome: ScanOutcome) -> None:
        start, width = scan_range.start, self._width or _SHORTEST
        if outcome.last is None:
            # There are no more boxes, or the box was deleted concurrently.
            self._more = start is not None and start.time is not None
            self._start = None if start is None else RowPosition(start.box, None)
            self._width = None
        elif outcome.over is not None:
            self._is_long = True
            self._width = self._hint = max(width / _GROWTH, _SHORTEST)
        elif end >= self._span.last:
            # The next box probably has as many rows, and reading too many of them would be in vain.
            self._start, self._boxes = RowPosition(outcome.last, None), 1
            self._width = self._hint if self._is_long else None
            self._is_long = False
        else:
            self._is_long = True
            fitting = self._rows * _FILLED / outcome.rows if outcome.rows else _GROWTH
            times = 1 / _GROWTH if outcome.seconds >= _LONG_S else min(_GROWTH, fitting)
            longest = self._span.last - self._span.first
            self._width = max(min(width * times, longest), _SHORTEST)
            if outcome.rows * _GROWTH >= self._rows:
                # Wider ranges in a gap tell nothing about the next box.
                self._hint = self._width
            self._start = RowPosition(outcome.last, end)

    def _begin(self, box: str) -> RowPosition:
        start = self._start
        if start is not None and start.box == box and start.time is not None:
            return start
        return RowPosition(box, self._span.first)


def choose_box_count(boxes: int, found: int, rows: int, seconds: float) -> int:
    """Choose the number of boxes in the next range.

    PostgreSQL reads each box up to the row limit: too many boxes waste database time, too few waste queries.
    If few samples have the metrics, the duration limits the number.

    Args:
        boxes: number of boxes in the last range.
        found: number of their rows.
        rows: the most rows of a range.
        seconds: duration of the query.
    """
    if seconds >= _LONG_S:
        return max(1, boxes // _GROWTH)
    fitting = int(boxes * _FILLED * rows / max(found, 1))
    return max(1, min(MAX_SCANNED_BOXES, boxes * _GROWTH, fitting))
