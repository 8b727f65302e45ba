"""Divides an export in buckets into parts: its buckets are read, and counted.

Owns where parts end. There is no quicker way: whether a bucket has a value is known when it is made.
"""

import time
from collections.abc import AsyncIterator
from typing import Final

from app.timeseries.exports.box_selection import Position, behind
from app.timeseries.exports.bucket_export import BucketExport
from app.timeseries.exports.export_parts import Named, Part
from app.timeseries.exports.row_slices import Reading

_WITHIN_S: Final = 20.0


class BucketParts:
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

    async def listed(self, reading: Reading, *, most: int) -> tuple[list[Part], str | None]:
        """So many parts, or as many as can be counted in a while; and what names all that follow, if any."""
        found: list[Part] = []
        began = time.monotonic()
        async for part in self._all(reading):
            found.append(part)
            if len(found) == most or time.monotonic() - began >= _WITHIN_S:
                return found, Named(part.number + 1, behind(part.until), None).token()
        return found, None

    async def _all(self, reading: Reading) -> AsyncIterator[Part]:
        begun, start, more = self._export.span.start, self._export.span.start, bool(self._export.columns)
        counted, first, last = 0, "", None
        number = self._number
        while more:
            async with reading.turn() as session:
                tables, start, more = await self._export.some(session, start)
            for table in tables:
                for moment in table.times:
                    if last is not None and counted == self._rows:
                        yield Part(number, begun, last, counted, first)
                        begun, number, counted, first = behind(last), number + 1, 0, ""
                    first = first or table.box.id
                    last, counted = Position(table.box.id, moment), counted + 1
        if last is not None and counted:
            yield Part(number, begun, last, counted, first)
