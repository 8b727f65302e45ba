"""Divides an export into parts of so many rows: each is a file of its own, small enough to begin anew.

Owns where parts begin and end, and how a client names one. Rows are counted box by box, and no further than
to the end of the part that is being counted.
"""

import time
from dataclasses import replace
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import Select, func, select, true

from app.core.fields import check_box_id
from app.core.instants import EARLIEST_US, LATEST_US, from_datetime, to_datetime
from app.core.pagination import decode_cursor, encode_cursor
from app.observations.exports.selection import Position, behind
from app.observations.exports.slices import Export, Reading, next_boxes

ROWS_MOST: Final = 1_000_000
"""Of a part."""

_KIND: Final = "export_part"
# What one call counts. Whoever has more asks again.
_COUNTED_MOST: Final = 10_000_000
_WITHIN_S: Final = 20.0
_NUMBERS_MOST: Final = 1_000_000_000


class Part(NamedTuple):
    """A part.

    Attributes:
        number: from 1 on.
        start: where it begins; None: with the first row of all.
        until: its last row's place.
        rows: how many; there may be more when it is read, where samples came late.
        first_box: the first row's box.
    """

    number: int
    start: Position | None
    until: Position
    rows: int
    first_box: str


class Named(NamedTuple):
    """A part as a client names it.

    Attributes:
        number: from 1 on.
        start: where it begins; None: with the first row of all.
        until: its last row's place; None: to the end.
    """

    number: int
    start: Position | None
    until: Position | None

    def token(self) -> str:
        """What names it."""
        return encode_cursor(_KIND, self.number, *_written(self.start), *_written(self.until))

    @classmethod
    def read(cls, token: str) -> Self:
        """Read a token back (InvalidError `invalid_cursor`)."""
        number, *places = decode_cursor(_KIND, token, _number, _box, _micros, _box, _micros)
        return cls(number, _place(*places[:2]), _place(*places[2:]))


def _written(place: Position | None) -> tuple[str | None, int | None]:
    if place is None:
        return None, None
    return place.box, None if place.time is None else from_datetime(place.time)


def _place(box: str | None, micros: int | None) -> Position | None:
    return None if box is None else Position(box, None if micros is None else to_datetime(micros))


def _number(value: object) -> int:
    if type(value) is int and 0 < value <= _NUMBERS_MOST:
        return value
    raise ValueError(value)


def _box(value: object) -> str | None:
    return None if value is None else check_box_id(str(value))


def _micros(value: object) -> int | None:
    # Where samples may be: what is a microsecond later is a time too.
    if value is None or (type(value) is int and EARLIEST_US <= value <= LATEST_US):
        return value
    raise ValueError(value)


class Parts:
    """The parts of an export, counted one after the other.

    Args:
        export: what is divided; its span begins where the first part does.
        rows: of a part, at most.
        number: of the first part.
    """

    def __init__(self, export: Export, *, rows: int, number: int = 1) -> None:
        self._export = export
        self._rows = rows
        self._number = number
        self._boxes = 1

    async def listed(self, reading: Reading, *, most: int) -> tuple[list[Part], str | None]:
        """So many parts, or as many as can be counted in a while; and what names all that follow, if any."""
        found: list[Part] = []
        start, began = self._export.span.start, time.monotonic()
        while (part := await self._next(reading, start)) is not None:
            found.append(part)
            self._number += 1
            start = behind(part.until)
            counted = sum(each.rows for each in found)
            if len(found) == most or counted >= _COUNTED_MOST or time.monotonic() - began >= _WITHIN_S:
                return found, Named(self._number, start, None).token()
        return found, None

    async def _next(self, reading: Reading, start: Position | None) -> Part | None:
        """The part that begins there; None where nothing does."""
        if not self._export.source.columns:
            return None
        place, counted, first, last = start, 0, "", ""
        while True:
            counts, seconds = await reading.read(self._counts(place, self._boxes, self._rows - counted + 1))
            for box, rows in counts:
                room = self._rows - counted
                if rows and not room:
                    return Part(self._number, start, Position(last, None), counted, first)
                if rows > room:
                    within = place if place is not None and place.box == box else None
                    found = await reading.read(self._time(within or Position(box, None), box, room))
                    ((end,),) = found.rows
                    return Part(self._number, start, Position(box, end), self._rows, first or box)
                if rows:
                    counted, first, last = counted + rows, first or box, box
            if len(counts) < self._boxes:
                break
            place = Position(counts[-1][0], None)
            rows = sum(rows for _, rows in counts)
            self._boxes = next_boxes(self._boxes, rows, self._rows, seconds)
        return Part(self._number, start, Position(last, None), counted, first) if counted else None

    def _counts(self, place: Position | None, boxes: int, most: int) -> Select[*tuple[Any, ...]]:
        """The query of the next boxes and how many rows each has, counted so far as is said."""
        looked = self._export.selection.page(self._export.span, place, boxes).cte("looked")
        source = self._export.source
        mine = source.rows(looked.c.key, looked.c.since, looked.c.before).limit(most).lateral("mine")
        query = select(looked.c.id, func.count(mine.c.time)).join_from(looked, mine, true(), isouter=True)
        return query.group_by(looked.c.id).order_by(looked.c.id)

    def _time(self, place: Position, box: str, number: int) -> Select[*tuple[Any, ...]]:
        """The query of the time of a box's row: the one of this number (from 1 on) from a place on."""
        selection, span = replace(self._export.selection, boxes=(box,)), self._export.span
        begin = None if place.time is None else place
        looked = selection.page(span, begin, 1).cte("looked")
        rows = self._export.source.rows(looked.c.key, looked.c.since, looked.c.before)
        mine = rows.order_by("time").offset(number - 1).limit(1).lateral("mine")
        return select(mine.c.time).join_from(looked, mine, true())
