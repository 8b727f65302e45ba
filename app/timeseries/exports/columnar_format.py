"""Exports Parquet and Arrow: PostgreSQL sends rows in its binary format, and a child process encodes them.

Owns the child process and its protocol (see `columnar_process`). Must not import pyarrow, which would stay in
the memory of the API process.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import numpy as np
from sqlalchemy import ColumnElement, TableClause, func, literal_column

from app.platform.kernel.errors import TooManyRequestsError
from app.platform.kernel.instants import from_datetime
from app.platform.runtime.piped_child import PipedChild, run_piped_child
from app.timeseries.exports.binary_rows import EPOCH_US, build_row_type, decode_rows
from app.timeseries.exports.copy_query import BoxRows, CopyOptions, ExportedBox, LastBox
from app.timeseries.exports.row_source import ExportColumn

COLUMNAR_MEDIA_TYPES: Final = {
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
"""The media types by format."""

_CHILD: Final = "app.timeseries.exports.columnar_process"
_LENGTH_BYTES: Final = 4
# Timeout (s) of one frame. The first one waits for the import of pyarrow; later ones take some 10 ms, and a
# row group a few tenths of a second.
_WITHIN_S: Final = 30.0
# The most child processes at a time, each of about 80 MB.
_PROCESSES_MOST: Final = 4
_RETRY_AFTER_S: Final = 10
_NICE: Final = 10
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
# What ends the part of an Arrow stream that breaks off: the length of a message that does not follow. Without
# it the stream could end between two messages, as a whole one may.
_BROKEN_OFF: Final = {"arrow": b"\xff\xff\xff\xff\xff\xff\xff\x7f"}
# The header of COPY's binary format: signature, flags, length of the extension.
_HEADER_BYTES: Final = 19
_OPTIONS: Final[CopyOptions] = {"format": "binary"}


class ColumnarFormat:
    """Rows in PostgreSQL's binary format, which the child process puts into columns."""

    @property
    def copy_options(self) -> CopyOptions:
        """The options of COPY."""
        return _OPTIONS

    def label(self, _: ExportedBox) -> str:
        """Return nothing: rows have the number of their box."""
        return ""

    def cells(
        self, boxes: TableClause, values: Sequence[tuple[ExportColumn, ColumnElement[Any]]]
    ) -> tuple[ColumnElement[Any], Sequence[ColumnElement[Any]]]:
        """Select the box's number and all values, NaN if missing: so all rows have the same length."""
        return boxes.c.number, [func.coalesce(value, literal_column("'NaN'")) for _, value in values]

    def encode_copied(self, copied: bytes) -> bytes:
        """Return the rows, which the child process decodes."""
        return copied

    def find_last_box(
        self, encoded: bytes, _: Sequence[ExportedBox], columns: Sequence[ExportColumn]
    ) -> LastBox:
        """Find the box of the last row."""
        rows = decode_rows(memoryview(encoded)[_HEADER_BYTES:], [column.double for column in columns])
        number = int(rows["box"][-1])
        rows_before = int(np.searchsorted(rows["box"], number))
        return LastBox(number, _HEADER_BYTES + rows_before * rows.itemsize, rows_before)

    def complete(self, encoded: bytes, boxes: Sequence[ExportedBox]) -> bytes:
        """Put the boxes, as a line of JSON, before the rows."""
        return _frame(boxes, memoryview(encoded)[_HEADER_BYTES:])

    def encode_rows(self, rows: BoxRows, columns: Sequence[ExportColumn]) -> bytes:
        """Write rows in memory as PostgreSQL does."""
        found = np.zeros(len(rows.times), build_row_type([column.double for column in columns]))
        found["time"] = [from_datetime(time) - EPOCH_US for time in rows.times]
        for number, values in enumerate(rows.values):
            # None becomes NaN.
            found[str(number)] = np.array(values, np.float64)
        return _frame([rows.box], memoryview(found.tobytes()))


def _frame(boxes: Sequence[ExportedBox], rows: memoryview) -> bytes:
    listed = json.dumps([[box.id, str(box.site_id)] for box in boxes])
    return b"".join([listed.encode(), b"\n", rows])


class ColumnarEncoder:
    """A child process that writes one file.

    Args:
        child: the child process.
        format_: one of `COLUMNAR_MEDIA_TYPES`.
    """

    def __init__(self, child: PipedChild, format_: str) -> None:
        self._child = child
        self._format = format_

    async def begin(self, columns: Sequence[ExportColumn]) -> bytes:
        """Send the format and the columns; returns the first bytes of the file."""
        task = {"format": self._format, "columns": [each._asdict() for each in columns]}
        return await self._exchange(json.dumps(task).encode())

    @property
    def broken_end(self) -> bytes:
        """What makes readers refuse a file that breaks off; empty where its missing end does."""
        return _BROKEN_OFF.get(self._format, b"")

    async def add(self, rows: bytes) -> bytes:
        """Send a slice; returns the bytes written since, often none."""
        return await self._exchange(rows)

    async def end(self) -> bytes:
        """End the file; returns its remaining bytes."""
        return await self._exchange()

    async def _exchange(self, frame: bytes = b"") -> bytes:
        """Send a frame and wait for its response.

        Raises:
            TimeoutError: There was no response in time.
            OSError, asyncio.IncompleteReadError: The child has died.
        """
        async with asyncio.timeout(_WITHIN_S):
            self._child.stdin.write(len(frame).to_bytes(_LENGTH_BYTES))
            self._child.stdin.write(frame)
            await self._child.stdin.drain()
            length = int.from_bytes(await self._child.stdout.readexactly(_LENGTH_BYTES))
            return await self._child.stdout.readexactly(length)


class ColumnarEncoderPool:
    """Limits the child processes of the API process."""

    def __init__(self) -> None:
        self._running = 0

    def check(self) -> None:
        """Check that another child may start (TooManyRequestsError `too_many_exports`)."""
        if self._running >= _PROCESSES_MOST:
            raise TooManyRequestsError(
                f"{_PROCESSES_MOST} exports of Parquet or Arrow are running. Retry later, or request another "
                "format.",
                code="too_many_exports",
                retry_after_s=_RETRY_AFTER_S,
            )

    @asynccontextmanager
    async def start_encoder(self, format_: str) -> AsyncIterator[ColumnarEncoder]:
        """Start a child for the duration of the block; kills it at the end if it still runs.

        Args:
            format_: one of `COLUMNAR_MEDIA_TYPES`.

        Raises:
            TooManyRequestsError: `too_many_exports`.
        """
        self.check()
        self._running += 1
        try:
            # The child gets no settings and no secrets.
            environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            async with run_piped_child([sys.executable, "-m", _CHILD], environment) as child:
                # From its start on: the imports take most of its time. An API whose own priority is lower
                # already may not do so.
                with suppress(ProcessLookupError, PermissionError):
                    os.setpriority(os.PRIO_PROCESS, child.pid, _NICE)
                yield ColumnarEncoder(child, format_)
        finally:
            self._running -= 1


async def stream_columnar_file(
    slices: AsyncIterator[bytes], columns: Sequence[ExportColumn], encoder: ColumnarEncoder
) -> AsyncIterator[bytes]:
    """Yield the file as it is written. Reads the first slice before the first byte."""
    begun = False
    try:
        async for each in slices:
            header = b"" if begun else await encoder.begin(columns)
            written = header + await encoder.add(each)
            begun = True
            if written:
                yield written
    except Exception:
        if begun and encoder.broken_end:
            yield encoder.broken_end
        raise
    header = b"" if begun else await encoder.begin(columns)
    yield header + await encoder.end()
