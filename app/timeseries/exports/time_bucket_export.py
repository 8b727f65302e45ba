"""Reads and counts the rows of an export in time buckets, box by box and window by window.

A bucket has the same values as in the series of its box and metric. They are computed in this process, which
encodes them too, a few at a time.

To divide such an export into parts, its buckets are computed and counted: only then is it known whether a
bucket has a value.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.identity.grant_access import record_granted_part
from app.platform.kernel.instants import to_datetime
from app.registry.models import Box, Site
from app.timeseries.exports.copy_query import BoxRows, ExportedBox, RowFormat
from app.timeseries.exports.export_selection import (
    ExportSelection,
    ExportSpan,
    RowPosition,
    advance_position,
)
from app.timeseries.exports.row_slice_reader import ExportReader
from app.timeseries.exports.row_source import ExportColumn
from app.timeseries.exports.sample_part_planner import CountedPart, PartReference
from app.timeseries.exports.time_bucket_layout import BucketLayout
from app.timeseries.rollups.rollup_merging import make_empty_columns
from app.timeseries.rollups.rollup_queries import read_bucket_summaries
from app.timeseries.series.bucket_page_formatting import compute_aggregates
from app.timeseries.series.series_parameters import clamp_span

ROWS: Final = 5_000
"""The most rows of a slice; fewer if a row has many columns."""

_VALUES: Final = 50_000
# A slice continues with the next window or box until it has taken this long.
_LONG_S: Final = 0.5
_BOXES: Final = 100
# The values that are encoded without a pause: about two milliseconds.
_VALUES_ENCODED: Final = 5_000


class _BucketedBox(NamedTuple):
    """A box, with the attributes that its buckets need."""

    exported: ExportedBox
    interval_s: int
    timezone: str


@dataclass(frozen=True, slots=True)
class BucketExport:
    """An export in buckets.

    Attributes:
        selection: the boxes.
        span: range of times and positions.
        metrics: the metrics.
        bucketing: bucket width and aggregates.
        columns: value columns, in the file's order.
    """

    selection: ExportSelection
    span: ExportSpan
    metrics: tuple[str, ...]
    bucketing: BucketLayout
    columns: tuple[ExportColumn, ...]

    async def slices(self, reader: ExportReader, row_format: RowFormat) -> AsyncIterator[bytes]:
        """Yield all rows in order. No database session is open between two slices."""
        start = self.span.start
        more = bool(self.columns)
        while more:
            tables, start, more = await reader.run(partial(self.read_rows, start=start))
            values = len(self.columns) * sum(len(table.times) for table in tables)
            sites = [table.box.site_id for table in tables]
            await record_granted_part("export", values, sites=sites, metrics=self.metrics)
            for table in tables:
                for some in _divide(table, _VALUES_ENCODED // len(self.columns) + 1):
                    yield row_format.encode_rows(some, self.columns)
                    # Other requests go first: encoding takes time of this process.
                    await asyncio.sleep(0)

    async def read_rows(
        self, session: AsyncSession, start: RowPosition | None
    ) -> tuple[list[BoxRows], RowPosition | None, bool]:
        """Read the next rows from a position on.

        Returns:
            The rows, the position after them, and whether there may be more.
        """
        began = time.monotonic()
        most = max(1, min(ROWS, _VALUES // len(self.columns)))
        found: list[BoxRows] = []
        rows = 0
        boxes = await self._boxes(session, start)
        for box in boxes:
            for window in self._windows(box, start, most):
                table = await self._table(session, box, window)
                rows += len(table.times)
                found.append(table)
                if rows >= most or time.monotonic() - began >= _LONG_S:
                    return found, RowPosition(box.exported.id, window[1]), True
            start = RowPosition(box.exported.id, None)
        return found, start, len(boxes) == _BOXES

    async def _boxes(self, session: AsyncSession, start: RowPosition | None) -> list[_BucketedBox]:
        page = self.selection.page(self.span, start, _BOXES).add_columns(Box.interval_s, Site.timezone)
        rows = (await session.execute(page)).all()
        return [
            _BucketedBox(self.selection.place(ExportedBox(*row[:-2])), row.interval_s, row.timezone)
            for row in rows
        ]

    def _windows(
        self, box: _BucketedBox, start: RowPosition | None, rows: int
    ) -> Iterator[tuple[datetime, datetime]]:
        """Yield the remaining windows of a box: whole buckets, unless the span cuts one."""
        zone = ZoneInfo(box.timezone)
        first, last = clamp_span(max(self.span.first, box.exported.since), self.span.last)
        if start is not None and start.box == box.exported.id and start.time is not None:
            first = max(first, self.bucketing.from_row(start.time, zone))
        until = self.span.until
        if until is not None and until.box == box.exported.id and until.time is not None:
            last = min(last, self.bucketing.after_row(until.time, zone))
        return self.bucketing.windows(first, last, zone, box.interval_s, rows)

    async def _table(
        self, session: AsyncSession, box: _BucketedBox, window: tuple[datetime, datetime]
    ) -> BoxRows:
        """Read the rows of a window: the buckets in which any metric has a value."""
        of = []
        for name in self.metrics:
            series = self.bucketing.series(box.exported.key, METRICS_BY_NAME[name], box.timezone, window)
            if self.selection.visible.may_read(box.exported.site_id, name):
                found = await read_bucket_summaries(session, series)
            else:
                found = make_empty_columns(series.quantiles)
            of.append((METRICS_BY_NAME[name], found))
        times = np.unique(np.concatenate([found.times for _, found in of]))
        values: list[list[float | None]] = []
        for metric, found in of:
            places = np.searchsorted(times, found.times).tolist()
            shown = compute_aggregates(
                found, metric, self.bucketing.bucket, ZoneInfo(box.timezone), box.interval_s
            )
            for name in self.bucketing.fitting(metric):
                column: list[float | None] = [None] * len(times)
                for place, value in zip(places, shown[name], strict=True):
                    column[place] = value
                values.append(column)
        return BoxRows(box.exported, [to_datetime(moment) for moment in times.tolist()], values)


def _divide(rows: BoxRows, most: int) -> Iterator[BoxRows]:
    """Divide rows into smaller groups."""
    for first in range(0, len(rows.times), most):
        part = slice(first, first + most)
        yield BoxRows(rows.box, rows.times[part], [values[part] for values in rows.values])


_WITHIN_S: Final = 20.0


class BucketPartPlanner:
    """Divides an export in buckets into parts.

    Args:
        export: from the start of the first part on.
        rows: the most rows of a part.
        number: of the first part.
    """

    def __init__(self, export: BucketExport, *, rows: int, number: int = 1) -> None:
        self._export = export
        self._rows = rows
        self._number = number

    async def list_parts(self, reader: ExportReader, *, most: int) -> tuple[list[CountedPart], str | None]:
        """List the next parts, and a token for the rest if there are more.

        A page ends early if counting takes long.
        """
        found: list[CountedPart] = []
        began = time.monotonic()
        async for part in self._all(reader):
            found.append(part)
            if len(found) == most or time.monotonic() - began >= _WITHIN_S:
                return found, PartReference(part.number + 1, advance_position(part.until), None).token()
        return found, None

    async def _all(self, reader: ExportReader) -> AsyncIterator[CountedPart]:
        begun, start, more = self._export.span.start, self._export.span.start, bool(self._export.columns)
        counted, first, last = 0, "", None
        number = self._number
        while more:
            tables, start, more = await reader.run(partial(self._export.read_rows, start=start))
            for table in tables:
                for moment in table.times:
                    if last is not None and counted == self._rows:
                        yield CountedPart(number, begun, last, counted, first)
                        begun, number, counted, first = advance_position(last), number + 1, 0, ""
                    first = first or table.box.id
                    last, counted = RowPosition(table.box.id, moment), counted + 1
        if last is not None and counted:
            yield CountedPart(number, begun, last, counted, first)
