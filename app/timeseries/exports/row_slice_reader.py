"""Reads the rows of an export in order, in slices that PostgreSQL formats and sends by COPY.

Each slice is a separate transaction, so that a slow client holds no connection. `scan_ranges` chooses the
range of a slice, whose size does not depend on the length of the export.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.database import ReadSession, get_driver_connection, parse_row_count
from app.platform.db.standby_reads import SessionReads
from app.platform.http.fairness.fair_semaphore import ExportLimits
from app.platform.identity.grant_access import record_granted_part
from app.platform.kernel.tenant_scope import ScopedCaller, run_as_caller
from app.timeseries.exports.copy_query import CopyQuery, ExportedBox, RowFormat
from app.timeseries.exports.export_selection import ExportSelection, ExportSpan
from app.timeseries.exports.row_source import ExportColumn, RowSource
from app.timeseries.exports.scan_ranges import AdaptiveRowScan, ScanOutcome

ROWS: Final = 10_000
"""The most rows of a slice; fewer if a row has many columns."""

_VALUES: Final = 100_000
# The pause after a slice, relative to its duration. There is none, as PostgreSQL does the work, not this
# process: a pause made the export slower, and others no faster.
_IDLE_RATIO: Final = 0.0


class TimedResult(NamedTuple):
    """The rows of a query, and its duration (s)."""

    rows: Sequence[Row[*tuple[Any, ...]]]
    seconds: float


class _Slice(NamedTuple):
    """The boxes of a slice, the number of its rows, the rows encoded, and how long reading took (s)."""

    boxes: Sequence[ExportedBox]
    found: int
    encoded: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class ExportReader:
    """The access of an export to the database.

    Attributes:
        reads: runs reads on a standby, or on the primary.
        limits: concurrency limits of exports.
        caller: returns the caller of the next transaction; raises if access was revoked.
        tree: the integrator; its exports are read in rotation.
    """

    reads: SessionReads
    limits: ExportLimits
    caller: Callable[[], Awaitable[ScopedCaller]]
    tree: UUID

    async def run[T](self, work: Callable[[ReadSession], Awaitable[T]]) -> T:
        """Wait for a slot, then run a read in its own transaction, as `SessionReads.run` does."""
        caller = await self.caller()
        async with self.limits.read_slice(self.tree, rest=_IDLE_RATIO):
            with run_as_caller(caller):
                return await self.reads.run(work)

    async def read(self, statement: Select[*tuple[Any, ...]]) -> TimedResult:
        """Execute a query in its own slot and transaction."""

        async def execute(session: ReadSession) -> TimedResult:
            began = time.monotonic()
            rows = (await session.execute(statement)).all()
            return TimedResult(rows, time.monotonic() - began)

        return await self.run(execute)


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

    def slices(self, reader: ExportReader, row_format: RowFormat) -> AsyncIterator[bytes]:
        """Yield all rows in order, encoded; none of the slices is empty."""
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

    async def slices(self, reader: ExportReader, row_format: RowFormat) -> AsyncIterator[bytes]:
        """Yield all rows in order. No database session is open between two slices."""
        if not self.columns:
            # No box has ever sent a sample.
            return
        rows = max(1, min(ROWS, _VALUES // len(self.columns)))
        scan = AdaptiveRowScan(self.span, rows)
        # One row more shows that there are more rows than fit.
        query = CopyQuery(self.source, row_format, rows + 1)
        while (scan_range := scan.next()) is not None:
            page = self.selection.page(self.span, *scan_range)
            read = partial(
                _read_slice, selection=self.selection, page=page, query=query, row_format=row_format
            )
            boxes, found, encoded, seconds = await reader.run(read)
            over = None
            if found > rows:
                number, end, found = row_format.find_last_box(encoded, boxes, self.columns)
                over, encoded = boxes[number].id, encoded[:end]
            last = boxes[-1].id if boxes else None
            scan.advance(scan_range, ScanOutcome(found, len(boxes), last, over, seconds))
            if found:
                sites = [box.site_id for box in boxes]
                await record_granted_part(
                    "export", found * len(self.columns), sites=sites, metrics=self.metrics
                )
                yield row_format.complete(encoded, boxes)


async def _read_slice(
    session: ReadSession,
    *,
    selection: ExportSelection,
    page: Select[*tuple[Any, ...]],
    query: CopyQuery,
    row_format: RowFormat,
) -> _Slice:
    began = time.monotonic()
    boxes = [selection.place(ExportedBox(*row)) for row in await session.execute(page)]
    found, encoded = 0, b""
    if boxes:
        found, encoded = await _copy(session, query.render(boxes), row_format)
    return _Slice(boxes, found, encoded, time.monotonic() - began)


async def _copy(session: AsyncSession, query: str, row_format: RowFormat) -> tuple[int, bytes]:
    """Copy the rows of a query. Return their number, and the encoded rows.

    The session must have executed a statement: its transaction begins with the first one, as the caller's.
    """
    encoded: list[bytes] = []

    async def encode(copied: bytes) -> None:
        # A few kilobytes at a time: other requests do not wait.
        encoded.append(row_format.encode_copied(copied))

    connection = await get_driver_connection(session)
    status = await connection.copy_from_query(query, output=encode, **row_format.copy_options)
    return parse_row_count(status), b"".join(encoded)


@asynccontextmanager
async def read_ahead(slices: AsyncIterator[bytes], depth: int) -> AsyncIterator[AsyncIterator[bytes]]:
    """Read slices ahead of their consumer, in a task that ends with the block.

    Args:
        slices: read one after the other.
        depth: the number of slices in memory that wait for the consumer.
    """
    queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(depth)

    async def fill() -> None:
        end = None
        try:
            async for each in slices:
                await queue.put(each)
        except Exception as error:  # noqa: BLE001 (the consumer raises it)
            end = error
        await queue.put(end)

    async def drain() -> AsyncIterator[bytes]:
        while (found := await queue.get()) is not None:
            if isinstance(found, Exception):
                raise found
            yield found

    task = asyncio.create_task(fill())
    try:
        yield drain()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
