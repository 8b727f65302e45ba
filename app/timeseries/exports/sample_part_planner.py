"""Divides an export into parts, each a file that can be downloaded and retried separately.

Rows are counted range by range. If a part ends within a range, the time of its last row is queried.
"""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import CTE, ScalarSelect, Select, Text, cast, func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.platform.http.contract.fields import check_box_id
from app.platform.http.contract.pagination import decode_cursor, encode_cursor
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, from_datetime, to_datetime
from app.timeseries.exports.export_selection import RowPosition, advance_position
from app.timeseries.exports.row_slice_reader import ExportReader, SampleExport
from app.timeseries.exports.scan_ranges import AdaptiveRowScan, ScanOutcome, ScanRange

ROWS_MOST: Final = 1_000_000
"""The most rows of a part."""

_KIND: Final = "export_part"
# The number of rows counted by one statement.
_ROWS_PER_COUNT: Final = 100_000
_MICROSECOND: Final = timedelta(microseconds=1)
# The most rows that one call counts. The client requests the next page for more.
_COUNTED_MOST: Final = 10_000_000
_WITHIN_S: Final = 20.0
_NUMBERS_MOST: Final = 1_000_000_000


class CountedPart(NamedTuple):
    """A part of an export.

    Attributes:
        number: from 1 on.
        start: position of the first row; None: the first row of all.
        until: position of the last row.
        rows: number of rows. Late samples may add more until it is read.
        first_box: box of the first row.
    """

    number: int
    start: RowPosition | None
    until: RowPosition
    rows: int
    first_box: str


class PartReference(NamedTuple):
    """A part as a client refers to it.

    Attributes:
        number: from 1 on.
        start: position of the first row; None: the first row of all.
        until: position of the last row; None: to the end.
    """

    number: int
    start: RowPosition | None
    until: RowPosition | None

    def token(self) -> str:
        """Encode it as a token."""
        return encode_cursor(_KIND, self.number, *_written(self.start), *_written(self.until))

    @classmethod
    def read(cls, token: str) -> Self:
        """Decode a token (InvalidError `invalid_cursor`)."""
        number, *places = decode_cursor(_KIND, token, _number, _box, _micros, _box, _micros)
        return cls(number, _place(*places[:2]), _place(*places[2:]))


def _written(place: RowPosition | None) -> tuple[str | None, int | None]:
    if place is None:
        return None, None
    return place.box, None if place.time is None else from_datetime(place.time)


def _place(box: str | None, micros: int | None) -> RowPosition | None:
    return None if box is None else RowPosition(box, None if micros is None else to_datetime(micros))


def _number(value: object) -> int:
    if type(value) is int and 0 < value <= _NUMBERS_MOST:
        return value
    raise ValueError(value)


def _box(value: object) -> str | None:
    return None if value is None else check_box_id(str(value))


def _micros(value: object) -> int | None:
    # The range of sample times, plus the microsecond after the last one.
    if value is None or (type(value) is int and EARLIEST_US <= value <= LATEST_US):
        return value
    raise ValueError(value)


class SamplePartPlanner:
    """Divides an export of samples into parts, counted one after the other.

    Args:
        export: its span begins where the first part does.
        rows: the most rows of a part.
        number: of the first part.
    """

    def __init__(self, export: SampleExport, *, rows: int, number: int = 1) -> None:
        self._export = export
        self._rows = rows
        self._number = number
        # The current part: its start, first box, last row and number of rows.
        self._start = export.span.start
        self._first = self._last = ""
        self._last_time: datetime | None = None
        self._counted = 0

    async def list_parts(self, reader: ExportReader, *, most: int) -> tuple[list[CountedPart], str | None]:
        """List the next parts, and a token for the rest if there are more.

        A page ends early if counting takes long.
        """
        found: list[CountedPart] = []
        began = time.monotonic()
        async for part in self._all(reader):
            found.append(part)
            counted = sum(each.rows for each in found)
            if len(found) == most or counted >= _COUNTED_MOST or time.monotonic() - began >= _WITHIN_S:
                return found, PartReference(self._number, advance_position(part.until), None).token()
        return found, None

    async def _all(self, reader: ExportReader) -> AsyncIterator[CountedPart]:
        scan = AdaptiveRowScan(self._export.span, _ROWS_PER_COUNT)
        while self._export.columns and (scan_range := scan.next()) is not None:
            result = await reader.read(self._counts(scan_range))
            ((scanned, last, over, counts),) = result.rows
            whole = [(box, rows) for box, rows in json.loads(counts or "[]") if over is None or box < over]
            outcome = ScanOutcome(sum(rows for _, rows in whole), scanned, last, over, result.seconds)
            scan.advance(scan_range, outcome)
            for box, rows in whole:
                async for part in self._take(reader, scan_range, box, rows):
                    yield part
        if self._counted:
            yield self._close_part(RowPosition(self._last, None))

    async def _take(
        self, reader: ExportReader, scan_range: ScanRange, box: str, rows: int
    ) -> AsyncIterator[CountedPart]:
        """Add the rows of a box in a range; yields the parts that they complete."""
        done = 0
        while rows:
            if self._counted == self._rows:
                # The part ended exactly with the previous range or box.
                yield self._close_part(RowPosition(self._last, self._last_time))
            taken = min(rows, self._rows - self._counted)
            self._first = self._first or box
            self._counted, done, rows = self._counted + taken, done + taken, rows - taken
            self._last, self._last_time = box, scan_range.end and scan_range.end - _MICROSECOND
            if rows:
                result = await reader.read(self._time(scan_range, box, done))
                ((end,),) = result.rows
                yield self._close_part(RowPosition(box, end))

    def _close_part(self, until: RowPosition) -> CountedPart:
        part = CountedPart(self._number, self._start, until, self._counted, self._first)
        self._number += 1
        self._start = advance_position(until)
        self._first, self._counted = "", 0
        return part

    def _counts(self, scan_range: ScanRange) -> Select[*tuple[Any, ...]]:
        """Build the query of a range's outcome, and its rows per box: `[[id, rows], …]`."""
        scanned, found, over = _build_ctes(self._export, scan_range)
        counts = select(found.c.id, func.count().label("rows")).group_by(found.c.id).subquery("mine")
        pair = func.json_build_array(counts.c.id, counts.c.rows)
        list_parts = select(
            cast(func.json_agg(aggregate_order_by(pair, counts.c.id)), Text)
        ).scalar_subquery()
        return select(
            select(func.count()).select_from(scanned).scalar_subquery(),
            select(func.max(scanned.c.id)).scalar_subquery(),
            over,
            list_parts,
        )

    def _time(self, scan_range: ScanRange, box: str, number: int) -> Select[*tuple[Any, ...]]:
        """Build the query of the time of a box's row in a range, by its number from 1 on."""
        only = replace(self._export, selection=replace(self._export.selection, boxes=(box,)))
        _, found, _ = _build_ctes(only, scan_range)
        return select(found.c.time).order_by(found.c.time).offset(number - 1).limit(1)


def _build_ctes(export: SampleExport, scan_range: ScanRange) -> tuple[CTE, CTE, ScalarSelect[Any]]:
    """Build the parts of a query on a range.

    Returns:
        The boxes; up to `_ROWS_PER_COUNT` + 1 rows of each, in no order; and the first box with which there
            are more rows than that, counted from the first box on.
    """
    scanned = export.selection.page(export.span, *scan_range).cte("looked")
    rows = export.source.rows(scanned.c.key, scanned.c.since, scanned.c.before)
    box_rows = rows.limit(_ROWS_PER_COUNT + 1).lateral("mine")
    found = select(scanned.c.id, box_rows.c.time).join_from(scanned, box_rows, true()).cte("found")
    counts = select(found.c.id, func.count().label("rows")).group_by(found.c.id).subquery("counts")
    totals = select(counts.c.id, func.sum(counts.c.rows).over(order_by=counts.c.id).label("total"))
    totals_by_box = totals.subquery("totals")
    over = select(func.min(totals_by_box.c.id)).where(totals_by_box.c.total > _ROWS_PER_COUNT)
    return scanned, found, over.scalar_subquery()
