"""Divides an export in buckets into parts: its buckets are read, and counted.

Owns where parts end. There is no quicker way: whether a bucket has a value is known when it is made.
"""

import time
from collections.abc import AsyncIterator
from typing import Final

from app.timeseries.exports.box_selection import RowPosition, advance_position
from app.timeseries.exports.bucket_export import BucketExport
from app.timeseries.exports.export_parts import CountedPart, PartReference
from app.timeseries.exports.row_slices import ExportReader

_WITHIN_S: Final = 20.0


class BucketPartPlanner:
    """The parts of an export in buckets.

    Args:
        export: all of it, from where the first part begins.
        rows: of a part, at most.
        number: of the first part.
    """

    def __init__(self, export: BucketExport, *, rows: int, number: int = 1) -> None:
        self._export = export
        self._rows = rows
        self._number = number

    async def listed(self, reading: ExportReader, *, most: int) -> tuple[list[CountedPart], str | None]:
        """So many parts, or as many as can be counted in a while; and what names all that follow, if any."""
        found: list[CountedPart] = []
        began = time.monotonic()
        async for part in self._all(reading):
            found.append(part)
            if len(found) == most or time.monotonic() - began >= _WITHIN_S:
                return found, PartReference(part.number + 1, advance_position(part.until), None).token()
        return found, None

    async def _all(self, reading: ExportReader) -> AsyncIterator[CountedPart]:
        begun, start, more = self._export.span.start, self._export.span.start, bool(self._export.columns)
        counted, first, last = 0, "", None
        number = self._number
        while more:
            async with reading.turn() as session:
                tables, start, more = await self._export.some(session, start)
            for table in tables:
                for moment in table.times:
                    if last is not None and counted == self._rows:
                        yield CountedPart(number, begun, last, counted, first)
                        begun, number, counted, first = advance_position(last), number + 1, 0, ""
                    first = first or table.box.id
                    last, counted = RowPosition(table.box.id, moment), counted + 1
        if last is not None and counted:
            yield CountedPart(number, begun, last, counted, first)
