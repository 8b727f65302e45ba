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
_AFTER_ALL_IDS: Final = "~"
# It is PostgreSQL that works: the process itself has time for others all along.
_IDLE_RATIO: Final = 1.0


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
    limits: ExportLimits
    caller: Callable[[], Awaitable[ScopedCaller]]
    tree: UUID

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        """A turn and a transaction, for the length of a block."""
        caller = await self.caller()
        async with self.limits.piece(self.tree, rest=_IDLE_RATIO):
            with run_as_caller(caller):
                async with self.database.read() as session:
                    yield session

    async def read(self, statement: Select[*tuple[Any, ...]]) -> TimedResult:
        """Ask the database, in a turn and a transaction of its own."""
        async with self.open_session() as session:
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

    def slices(self, reader: ExportReader, packer: RowPacker) -> AsyncIterator[PackedSlice]:
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

    def build_ctes(self, piece: ScanRange, rows: int) -> tuple[CTE, CTE, ScalarSelect[Any]]:
        """The parts of a query on a piece.

        Args:
            piece: what is looked at.
            rows: that fit.

        Returns:
            The boxes; the rows of each, in no order, as many as fit and one more; and the first box with
            which there are more than fit, counted from the first on.
        """
        scanned = self.selection.page(self.span, piece.start, piece.boxes, piece.end).cte("looked")
        box_rows = (
            self.source.rows(scanned.c.key, scanned.c.since, scanned.c.before).limit(rows + 1).lateral("mine")
        )
        where = (scanned.c.id, scanned.c.site_id, scanned.c.longitude, scanned.c.latitude)
        values = [box_rows.c[column.name] for column in self.columns]
        build_ctes = (
            select(*where, box_rows.c.time, *values).join_from(scanned, box_rows, true()).cte("found")
        )
        counts = (
            select(build_ctes.c.id, func.count().label("rows")).group_by(build_ctes.c.id).subquery("counts")
        )
        totals = select(
            counts.c.id, func.sum(counts.c.rows).over(order_by=counts.c.id).label("total")
        ).subquery("totals")
        over = select(func.min(totals.c.id)).where(totals.c.total > rows).scalar_subquery()
        return scanned, build_ctes, over

    def statement(self, piece: ScanRange, packer: RowPacker, *, rows: int) -> Select[*tuple[Any, ...]]:
        """The query of a slice: what is seen of a piece (but for the time it takes), and its rows packed.

        Args:
            piece: what is looked at.
            packing: what is asked for of the rows.
            rows: that fit.
        """
        scanned, build_ctes, over = self.build_ctes(piece, rows)
        page = select(build_ctes).where(build_ctes.c.id < func.coalesce(over, _AFTER_ALL_IDS)).cte("page")
        return select(
            func.count(),
            select(func.count()).select_from(scanned).scalar_subquery(),
            select(func.max(scanned.c.id)).scalar_subquery(),
            over,
            *packer.pack(page, self.columns),
        ).select_from(page)

    async def slices(self, reader: ExportReader, packer: RowPacker) -> AsyncIterator[PackedSlice]:
        """All rows in order. Between two slices nothing is held."""
        scan, rows = AdaptiveRowScan(self.span, ROWS), ROWS
        # Boxes that never sent anything have no columns either.
        while self.columns and (piece := scan.next()) is not None:
            result = await reader.read(self.statement(piece, packer, rows=rows))
            ((build_ctes, scanned, last, over, *packed),) = result.rows
            scan.advance(piece, ScanOutcome(build_ctes, scanned, last, over, result.seconds))
            if build_ctes:
                yield PackedSlice(build_ctes, tuple(packed))
