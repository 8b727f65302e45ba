"""Reads an export's rows in order, a slice at a time: PostgreSQL packs them, and no row is seen here.

Owns the query of a slice, and how many boxes one looks at. Each slice is a transaction of its own, so that a
client that reads slowly holds no connection; no slice is larger for the export's being long.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Row, Select, func, select, true

from app.core.database import Database
from app.core.export_turns import ExportTurns
from app.core.reach import Caller, working_for
from app.observations.exports.selection import Position, Selection, Span, behind
from app.observations.exports.source import Column, Source

ROWS: Final = 5_000
"""Of a slice, at most."""

_BOXES_MOST: Final = 500
# From slice to slice: whoever has few rows is looked at together with others, carefully.
_GROWTH: Final = 4
_FILLED: Final = 0.8
_LONG_S: Final = 1.0
# It is PostgreSQL that works: the process itself has time for others all along.
_REST: Final = 1.0


class Packing(Protocol):
    """How rows become bytes: in the query."""

    def pack(self, page: CTE, columns: Sequence[Column]) -> Sequence[ColumnElement[Any]]:
        """What of a slice's rows is asked for: aggregates over `page`, in the order of (id, time).

        `page` has `id`, `site_id`, `longitude` and `latitude` of the box, `time`, and each column.
        """
        ...


class Slice(NamedTuple):
    """Some rows.

    Attributes:
        rows: how many; never 0.
        packed: what the packing asked for.
    """

    rows: int
    packed: tuple[Any, ...]


class Answer(NamedTuple):
    """What the database says, and how long that took it (seconds)."""

    rows: Sequence[Row[*tuple[Any, ...]]]
    seconds: float


@dataclass(frozen=True, slots=True)
class Reading:
    """By what a process reads an export.

    Attributes:
        database: the process's.
        turns: in which slices are read.
        caller: tells whom a transaction is for; raises where that one may not read any more.
        tree: with whom the caller takes turns.
    """

    database: Database
    turns: ExportTurns
    caller: Callable[[], Awaitable[Caller]]
    tree: UUID

    async def read(self, statement: Select[*tuple[Any, ...]]) -> Answer:
        """Ask the database, in a turn and a transaction of its own."""
        caller = await self.caller()
        async with self.turns.piece(self.tree, rest=_REST):
            with working_for(caller):
                async with self.database.read() as session:
                    began = time.monotonic()
                    rows = (await session.execute(statement)).all()
                    return Answer(rows, time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported, and of what.

    Attributes:
        selection: the boxes.
        span: of time, and of the order.
        source: the rows.
    """

    selection: Selection
    span: Span
    source: Source

    def statement(
        self, start: Position | None, packing: Packing, *, boxes: int, rows: int
    ) -> Select[*tuple[Any, ...]]:
        """The query of a slice: how many rows and the last one's place, how many boxes and the last, packed.

        Args:
            start: the first row's place.
            packing: what is asked for of the rows.
            boxes: that are looked at, at most.
            rows: that are read, at most.
        """
        looked = self.selection.page(self.span, start, boxes).cte("looked")
        mine = (
            self.source.rows(looked.c.key, looked.c.since, looked.c.before)
            .order_by("time")
            .limit(rows)
            .lateral("mine")
        )
        where = (looked.c.id, looked.c.site_id, looked.c.longitude, looked.c.latitude)
        values = [mine.c[column.name] for column in self.source.columns]
        page = (
            select(*where, mine.c.time, *values)
            .join_from(looked, mine, true())
            .order_by(looked.c.id, mine.c.time)
            .limit(rows)
            .cte("page")
        )
        last = select(func.max(page.c.id)).scalar_subquery()
        return select(
            func.count(),
            last,
            select(func.max(page.c.time)).where(page.c.id == last).scalar_subquery(),
            select(func.count()).select_from(looked).scalar_subquery(),
            select(func.max(looked.c.id)).scalar_subquery(),
            *packing.pack(page, self.source.columns),
        ).select_from(page)

    async def slices(self, reading: Reading, packing: Packing) -> AsyncIterator[Slice]:
        """All rows in order. Between two slices nothing is held."""
        start, boxes, rows = self.span.start, 1, ROWS
        # Boxes that never sent anything have no columns either.
        more = bool(self.source.columns)
        while more:
            statement = self.statement(start, packing, boxes=boxes, rows=rows)
            answer = await reading.read(statement)
            ((found, box, last_time, looked, last_box, *packed),) = answer.rows
            full = found == rows
            more = full or looked == boxes
            if found:
                yield Slice(found, tuple(packed))
            if more:
                start = behind(Position(box, last_time)) if full else Position(last_box, None)
            boxes = next_boxes(boxes, found, rows, answer.seconds)


def next_boxes(boxes: int, found: int, rows: int, seconds: float) -> int:
    """How many boxes the next slice looks at.

    Each of them is read as far as it fills a slice by itself: too many cost the database time for nothing,
    too few a query each. Where few samples have what is asked for, it is by the time that there are too many.

    Args:
        boxes: that this slice looked at.
        found: rows that they had.
        rows: of a full slice.
        seconds: that it took.
    """
    if found >= rows or seconds >= _LONG_S:
        return max(1, boxes // _GROWTH)
    fitting = int(boxes * _FILLED * rows / max(found, 1))
    return max(1, min(_BOXES_MOST, boxes * _GROWTH, fitting))
