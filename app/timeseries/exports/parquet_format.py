"""Exports Parquet: PostgreSQL returns each column as one byte string, and a child process encodes them.

Owns the child process and its protocol (see `parquet_process`). Must not import pyarrow, which would stay in
the memory of the API process.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, Text, cast, func, literal, select
from sqlalchemy.dialects.postgresql import BYTEA, aggregate_order_by

from app.platform.kernel.errors import TooManyRequestsError
from app.timeseries.exports.row_slice_reader import PackedSlice
from app.timeseries.exports.row_source import ExportColumn

MEDIA_TYPE: Final = "application/vnd.apache.parquet"

_CHILD: Final = "app.timeseries.exports.parquet_process"
_LENGTH_BYTES: Final = 4
# Timeout (s) of one frame. The first one waits for the import of pyarrow; later ones take some 10 ms, and a
# row group a few tenths of a second.
_WITHIN_S: Final = 30.0
# The most child processes at a time, each of about 80 MB.
_PROCESSES_MOST: Final = 4
_RETRY_AFTER_S: Final = 10
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
# NaN in PostgreSQL's binary format. No sample has it, so it encodes a missing value.
_NONE: Final = {False: b"\x7f\xc0\x00\x00", True: b"\x7f\xf8\x00\x00\x00\x00\x00\x00"}


def _bytes(page: CTE, value: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.string_agg(value, aggregate_order_by(literal(b"", BYTEA), page.c.id, page.c.time))


class ParquetFormat:
    """Parquet, compressed with zstd."""

    media_type = MEDIA_TYPE

    def pack(self, page: CTE, columns: Sequence[ExportColumn]) -> Sequence[ColumnElement[Any]]:
        """Select the boxes as JSON, then the bytes of the times and of each column."""
        runs = (
            select(page.c.id, cast(page.c.site_id, Text).label("site"), func.count().label("rows"))
            .group_by(page.c.id, page.c.site_id)
            .subquery("runs")
        )
        each = func.json_build_array(runs.c.id, runs.c.site, runs.c.rows)
        boxes = select(cast(func.json_agg(aggregate_order_by(each, runs.c.id)), Text)).scalar_subquery()
        values = []
        for column in columns:
            send = func.float8send if column.double else func.float4send
            value = func.coalesce(send(page.c[column.name]), literal(_NONE[column.double], BYTEA))
            values.append(_bytes(page, value))
        return [boxes, _bytes(page, func.timestamptz_send(page.c.time)), *values]


class ParquetEncoder:
    """A child process that writes one file."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begin(self, columns: Sequence[ExportColumn]) -> bytes:
        """Send the columns; returns the first bytes of the file."""
        return await self._exchange(json.dumps([each._asdict() for each in columns]).encode())

    async def add(self, found: PackedSlice) -> bytes:
        """Send a slice; returns the bytes written since, often none."""
        boxes, *columns = found.packed
        # PostgreSQL separates the elements of json_agg by line breaks.
        line = boxes.replace("\n", "").encode() + b"\n"
        return await self._exchange(line, *columns)

    async def end(self) -> bytes:
        """End the file; returns its remaining bytes."""
        return await self._exchange()

    async def _exchange(self, *parts: bytes) -> bytes:
        """Send a frame and wait for its response.

        Raises:
            TimeoutError: There was no response in time.
            OSError, asyncio.IncompleteReadError: The child has died.
        """
        source, sink = self._process.stdout, self._process.stdin
        if source is None or sink is None:
            raise BrokenPipeError
        async with asyncio.timeout(_WITHIN_S):
            sink.write(sum(map(len, parts)).to_bytes(_LENGTH_BYTES))
            sink.writelines(parts)
            await sink.drain()
            return await source.readexactly(int.from_bytes(await source.readexactly(_LENGTH_BYTES)))


class ParquetEncoderPool:
    """Limits the child processes of the API process."""

    def __init__(self) -> None:
        self._running = 0

    def check(self) -> None:
        """Check that another child may start (TooManyRequestsError `too_many_exports`)."""
        if self._running >= _PROCESSES_MOST:
            raise TooManyRequestsError(
                f"{_PROCESSES_MOST} Parquet exports are running. Retry later, or request another format.",
                code="too_many_exports",
                retry_after_s=_RETRY_AFTER_S,
            )

    @asynccontextmanager
    async def start_encoder(self) -> AsyncIterator[ParquetEncoder]:
        """Start a child for the duration of the block; kills it at the end if it still runs.

        Raises:
            TooManyRequestsError: `too_many_exports`.
        """
        self.check()
        self._running += 1
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _CHILD),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # The child gets no settings and no secrets.
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            )
            try:
                yield ParquetEncoder(process)
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        finally:
            self._running -= 1


async def stream_parquet(
    slices: AsyncIterator[PackedSlice], columns: Sequence[ExportColumn], encoder: ParquetEncoder
) -> AsyncIterator[bytes]:
    """Yield the file as it is written. Reads the first slice before the first byte."""
    begun = False
    async for each in slices:
        header = b"" if begun else await encoder.begin(columns)
        written = header + await encoder.add(each)
        begun = True
        if written:
            yield written
    header = b"" if begun else await encoder.begin(columns)
    yield header + await encoder.end()
