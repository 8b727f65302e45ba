"""Reads the rows of an export in order, in slices that PostgreSQL returns already encoded as bytes.

Each slice is a separate transaction, so that a slow client holds no connection. `row_scan` chooses the range
of a slice, whose size does not depend on the length of the export.
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
from app.timeseries.exports.export_selection import ExportSelection, ExportSpan
from app.timeseries.exports.row_source import ExportColumn, RowSource
from app.timeseries.exports.scan_ranges import AdaptiveRowScan, ScanOutcome, ScanRange

ROWS: Final = 5_000
"""The most rows of a slice."""

# Sorts after all characters of a box id.
_AFTER_ALL_IDS: Final = "~"
# The pause after a slice, relative to its duration. Short, because PostgreSQL does the work, not this
# process.
_IDLE_RATIO: Final = 1.0


class RowPacker(Protocol):
    """Turns rows into bytes within the query."""

    def pack(self, page: CTE, columns: Sequence[ExportColumn]) -> Sequence[ColumnElement[Any]]:
        """Return aggregates over `page`, ordered by (id, time).

        `page` has `id`, `site_id`, `longitude` and `latitude` of the box, `time`, and each column.
        """
        ...


class PackedSlice(NamedTuple):
    """Some packed rows.

    Attributes:
        rows: number of rows; never 0.
        packed: the aggregates of the packer.
    """

    rows: int
    packed: tuple[Any, ...]


class TimedResult(NamedTuple):
    """The rows of a query, and its duration (s)."""

    rows: Sequence[Row[*tuple[Any, ...]]]
    seconds: float


@dataclass(frozen=True, slots=True)
class ExportReader:
    """The access of an export to the database.

    Attributes:
        database: of the process.
        limits: concurrency limits of exports.
        caller: returns the caller of the next transaction; raises if access was revoked.
        tree: the integrator; its exports are read in rotation.
    """

    database: Database
    limits: ExportLimits
    caller: Callable[[], Awaitable[ScopedCaller]]
    tree: UUID

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        """Wait for a slot, then open a transaction for the duration of the block."""
        caller = await self.caller()
        async with self.limits.read_slice(self.tree, rest=_IDLE_RATIO):
            with run_as_caller(caller):
                async with self.database.read() as session:
                    yield session

    async def read(self, statement: Select[*tuple[Any, ...]]) -> TimedResult:
        """Execute a query in its own slot and transaction."""
        async with self.open_session() as session:
            began = time.monotonic()
            rows = (await session.execute(statement)).all()
            return TimedResult(rows, time.monotonic() - began)


class RowExport(Protocol):
    """An export of any kind of rows: samples or buckets."""

    @property
    def selection(self) -> ExportSelection:
        """The boxes."""
        ...

    @property
    def span(self) -> ExportSpan:
        """The range of times and positions."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics."""
        ...

    @property
    def columns(self) -> tuple[ExportColumn, ...]:
        """The value columns, in the file's order."""
        ...

    def slices(self, reader: ExportReader, packer: RowPacker) -> AsyncIterator[PackedSlice]:
        """Yield all rows in order."""
        ...


@dataclass(frozen=True, slots=True)
class SampleExport:
    """An export of samples.

    Attributes:
        selection: the boxes.
        span: range of times and positions.
        source: the rows.
    """

    selection: ExportSelection
    span: ExportSpan
    source: RowSource

    @property
    def columns(self) -> tuple[ExportColumn, ...]:
        """The value columns, in the file's order."""
        return self.source.columns

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics."""
        return tuple(column.name for column in self.source.columns)

    def build_ctes(self, scan_range: ScanRange, rows: int) -> tuple[CTE, CTE, ScalarSelect[Any]]:
        """Build the parts of a query on a range.

        Args:
            scan_range: the boxes and times to read.
            rows: the most rows of the range.

        Returns:
            The boxes; up to `rows` + 1 rows of each, in no order; and the first box with which there are more
                rows than fit, counted from the first box on.
        """
        scanned = self.selection.page(self.span, scan_range.start, scan_range.boxes, scan_range.end).cte(
            "looked"
        )
        box_rows = (
            self.source.rows(scanned.c.key, scanned.c.since, scanned.c.before).limit(rows + 1).lateral("mine")
        )
        where = (scanned.c.id, scanned.c.site_id, scanned.c.longitude, scanned.c.latitude)
        values = [box_rows.c[column.name] for column in self.columns]
        found = select(*where, box_rows.c.time, *values).join_from(scanned, box_rows, true()).cte("found")
        counts = select(found.c.id, func.count().label("rows")).group_by(found.c.id).subquery("counts")
        totals = select(
            counts.c.id, func.sum(counts.c.rows).over(order_by=counts.c.id).label("total")
        ).subquery("totals")
        over = select(func.min(totals.c.id)).where(totals.c.total > rows).scalar_subquery()
        return scanned, found, over

    def statement(self, scan_range: ScanRange, packer: RowPacker, *, rows: int) -> Select[*tuple[Any, ...]]:
        """Build the query of a slice: the outcome of the range (without the duration), and its packed rows.

        Args:
            scan_range: the boxes and times to read.
            packer: packs the rows.
            rows: the most rows of the range.
        """
        scanned, found, over = self.build_ctes(scan_range, rows)
        page = select(found).where(found.c.id < func.coalesce(over, _AFTER_ALL_IDS)).cte("page")
        return select(
            func.count(),
            select(func.count()).select_from(scanned).scalar_subquery(),
            select(func.max(scanned.c.id)).scalar_subquery(),
            over,
            *packer.pack(page, self.columns),
        ).select_from(page)

    async def slices(self, reader: ExportReader, packer: RowPacker) -> AsyncIterator[PackedSlice]:
        """Yield all rows in order. No database session is open between two slices."""
        scan, rows = AdaptiveRowScan(self.span, ROWS), ROWS
        # Without columns, no box has ever sent a sample.
        while self.columns and (scan_range := scan.next()) is not None:
            result = await reader.read(self.statement(scan_range, packer, rows=rows))
            ((found, scanned, last, over, *packed),) = result.rows
            scan.advance(scan_range, ScanOutcome(found, scanned, last, over, result.seconds))
            if found:
                yield PackedSlice(found, tuple(packed))
