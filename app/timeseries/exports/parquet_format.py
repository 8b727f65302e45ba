"""The format that is Parquet: rows leave PostgreSQL as columns of bytes, and a child process makes the file.

Owns the child's life and the frames that it is sent (`parquet_child` says what is in them). Must not import
pyarrow: it would be in the API process's memory for good.
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
from app.timeseries.exports.row_slices import PackedSlice
from app.timeseries.exports.row_source import ExportColumn

MEDIA_TYPE: Final = "application/vnd.apache.parquet"

_CHILD: Final = "app.timeseries.exports.parquet_process"
_LENGTH_BYTES: Final = 4
# It imports pyarrow first; after that a frame takes some ten milliseconds, a row group a few tenths.
_WITHIN_S: Final = 30.0
# Each has 80 MB or so while it works.
_PROCESSES_MOST: Final = 4
_RETRY_AFTER_S: Final = 10
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
# NaN, as PostgreSQL sends it: no sample has it, so it stands for none.
_NONE: Final = {False: b"\x7f\xc0\x00\x00", True: b"\x7f\xf8\x00\x00\x00\x00\x00\x00"}


def _bytes(page: CTE, value: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.string_agg(value, aggregate_order_by(literal(b"", BYTEA), page.c.id, page.c.time))


class ParquetFormat:
    """Parquet, compressed with zstd."""

    media_type = MEDIA_TYPE

    def pack(self, page: CTE, columns: Sequence[ExportColumn]) -> Sequence[ColumnElement[Any]]:
        """The boxes as JSON, then the bytes of the times and of each column."""
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
        """Say of which columns the file is; gives its first bytes."""
        return await self._exchange(json.dumps([each._asdict() for each in columns]).encode())

    async def add(self, found: PackedSlice) -> bytes:
        """Send a slice; gives what of the file was written since, often nothing."""
        boxes, *columns = found.packed
        # PostgreSQL writes a line for each element.
        line = boxes.replace("\n", "").encode() + b"\n"
        return await self._exchange(line, *columns)

    async def end(self) -> bytes:
        """Say that there are no more; gives the rest of the file."""
        return await self._exchange()

    async def _exchange(self, *parts: bytes) -> bytes:
        """Send a frame, and wait for its answer.

        Raises:
            TimeoutError: it did not come in time.
            OSError, asyncio.IncompleteReadError: the child is gone.
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
    """The child processes of one process; so many at once."""

    def __init__(self) -> None:
        self._running = 0

    def check(self) -> None:
        """See that there is room for another one (TooManyRequestsError `too_many_exports`)."""
        if self._running >= _PROCESSES_MOST:
            raise TooManyRequestsError(
                f"{_PROCESSES_MOST} Parquet files are being written: wait for one, or ask for another format.",
                code="too_many_exports",
                retry_after_s=_RETRY_AFTER_S,
            )

    @asynccontextmanager
    async def start_encoder(self) -> AsyncIterator[ParquetEncoder]:
        """A child for the length of a block; what it did not end then is ended.

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
                # It needs none of the settings, and no secrets.
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
    """The file, as it is written; the first slice is read before its first byte."""
    begun = False
    async for each in slices:
        header = b"" if begun else await encoder.begin(columns)
        written = header + await encoder.add(each)
        begun = True
        if written:
            yield written
    header = b"" if begun else await encoder.begin(columns)
    yield header + await encoder.end()
