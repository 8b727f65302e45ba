"""Reads an export's rows in order, a slice at a time: PostgreSQL packs them, and no row is seen here.

Owns the query of a slice; how much one looks at is the walk's. Each slice is a transaction of its own, so
that a client that reads slowly holds no connection; no slice is larger for the export's being long.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Row, ScalarSelect, Select, func, select, true

from app.platform.db.database import Database, ReadSession
from app.platform.http.fairness.fair_semaphore import ExportLimits
from app.platform.kernel.tenant_scope import ScopedCaller, run_as_caller
from app.timeseries.exports.box_selection import ExportSelection, ExportSpan
from app.timeseries.exports.row_scan import AdaptiveRowScan, ScanOutcome, ScanRange
from app.timeseries.exports.row_source import ExportColumn, RowSource

ROWS: Final = 5_000
"""Of a slice, at most."""

# No id has this character; it comes after all that they have.
_BEHIND_ALL: Final = "~"
# It is PostgreSQL that works: the process itself has time for others all along.
_REST: Final = 1.0


class RowPacker(Protocol):
    """How rows become bytes: in the query."""

    def pack(self, page: CTE, columns: Sequence[ExportColumn]) -> Sequence[ColumnElement[Any]]:
        """What of a slice's rows is asked for: aggregates over `page`, in the order of (id, time).

        `page` has `id`, `site_id`, `longitude` and `latitude` of the box, `time`, and each column.
        """
        ...


class PackedSlice(NamedTuple):
    """Some rows.

    Attributes:
        rows: how many; never 0.
        packed: what the packing asked for.
    """

    rows: int
    packed: tuple[Any, ...]


class TimedResult(NamedTuple):
    """What the database says, and how long that took it (seconds)."""

    rows: Sequence[Row[*tuple[Any, ...]]]
    seconds: float


@dataclass(frozen=True, slots=True)
class ExportReader:
    """By what a process reads an export.

    Attributes:
        database: the process's.
        turns: in which slices are read.
        caller: tells whom a transaction is for; raises where that one may not read any more.
        tree: with whom the caller takes turns.
    """

    database: Database
    turns: ExportLimits
    caller: Callable[[], Awaitable[ScopedCaller]]
    tree: UUID

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[ReadSession]:
        """A turn and a transaction, for the length of a block."""
        caller = await self.caller()
        async with self.turns.read_slice(self.tree, rest=_REST):
            with run_as_caller(caller):
                async with self.database.read() as session:
                    yield session

    async def read(self, statement: Select[*tuple[Any, ...]]) -> TimedResult:
        """Ask the database, in a turn and a transaction of its own."""
        async with self.turn() as session:
            began = time.monotonic()
            rows = (await session.execute(statement)).all()
            return TimedResult(rows, time.monotonic() - began)


class RowExport(Protocol):
    """What is exported, whatever the rows are: samples, or buckets."""

    @property
    def selection(self) -> ExportSelection:
        """The boxes."""
        ...

    @property
    def span(self) -> ExportSpan:
        """Of time, and of the order."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of which there are values."""
        ...

    @property
    def columns(self) -> tuple[ExportColumn, ...]:
        """Of values, in the file's order."""
        ...

    def slices(self, reading: ExportReader, packing: RowPacker) -> AsyncIterator[PackedSlice]:
        """All rows in order."""
        ...


@dataclass(frozen=True, slots=True)
class SampleExport:
    """Samples that are exported, and of what.

    Attributes:
        selection: the boxes.
        span: of time, and of the order.
        source: the rows.
    """

    selection: ExportSelection
    span: ExportSpan
    source: RowSource

    @property
    def columns(self) -> tuple[ExportColumn, ...]:
        """Of values, in the file's order."""
        return self.source.columns

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of which there are values."""
        return tuple(column.name for column in self.source.columns)

    def found(self, piece: ScanRange, rows: int) -> tuple[CTE, CTE, ScalarSelect[Any]]:
        """The parts of a query on a piece.

        Args:
            piece: what is looked at.
            rows: that fit.

        Returns:
            The boxes; the rows of each, in no order, as many as fit and one more; and the first box with
            which there are more than fit, counted from the first on.
        """
        looked = self.selection.page(self.span, piece.start, piece.boxes, piece.end).cte("looked")
        mine = self.source.rows(looked.c.key, looked.c.since, looked.c.before).limit(rows + 1).lateral("mine")
        where = (looked.c.id, looked.c.site_id, looked.c.longitude, looked.c.latitude)
        values = [mine.c[column.name] for column in self.columns]
        found = select(*where, mine.c.time, *values).join_from(looked, mine, true()).cte("found")
        counts = select(found.c.id, func.count().label("rows")).group_by(found.c.id).subquery("counts")
        totals = select(
            counts.c.id, func.sum(counts.c.rows).over(order_by=counts.c.id).label("total")
        ).subquery("totals")
        over = select(func.min(totals.c.id)).where(totals.c.total > rows).scalar_subquery()
        return looked, found, over

    def statement(self, piece: ScanRange, packing: RowPacker, *, rows: int) -> Select[*tuple[Any, ...]]:
        """The query of a slice: what is seen of a piece (but for the time it takes), and its rows packed.

        Args:
            piece: what is looked at.
            packing: what is asked for of the rows.
            rows: that fit.
        """
        looked, found, over = self.found(piece, rows)
        page = select(found).where(found.c.id < func.coalesce(over, _BEHIND_ALL)).cte("page")
        return select(
            func.count(),
            select(func.count()).select_from(looked).scalar_subquery(),
            select(func.max(looked.c.id)).scalar_subquery(),
            over,
            *packing.pack(page, self.columns),
        ).select_from(page)

    async def slices(self, reading: ExportReader, packing: RowPacker) -> AsyncIterator[PackedSlice]:
        """All rows in order. Between two slices nothing is held."""
        walk, rows = AdaptiveRowScan(self.span, ROWS), ROWS
        # Boxes that never sent anything have no columns either.
        while self.columns and (piece := walk.next()) is not None:
            answer = await reading.read(self.statement(piece, packing, rows=rows))
            ((found, looked, last, over, *packed),) = answer.rows
            walk.seen(piece, ScanOutcome(found, looked, last, over, answer.seconds))
            if found:
                yield PackedSlice(found, tuple(packed))
