"""Encodes one Parquet file in a child process, from standard input to standard output. Pure.

The parent runs `python -m app.timeseries.exports.parquet_process`.

It is a separate process because pyarrow takes more memory than all other imports of the API process, and
because encoding would delay other requests. It has neither settings nor a database.

The protocol uses frames on standard input and output: a length (four bytes, big-endian) and as many bytes.
The parent sends the columns, then for each slice its boxes and its rows (see `parquet_rows`), and an empty
frame at the end. Each frame is answered with the bytes of the file written since.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.timeseries.exports.parquet_rows import EPOCH_US, decode_rows

ROWS_PER_GROUP: Final = 100_000
"""The approximate number of rows in a row group, the unit in which readers load a file."""

_LENGTH_BYTES: Final = 4
# The columns before the values: box, site, time.
_FIXED: Final = 3
_DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())
_COMPRESSION: Final = "zstd"


class _OutputBuffer:
    """A write-only file that hands over and forgets the written bytes."""

    def __init__(self) -> None:
        self.closed = False
        self._parts: list[bytes] = []
        self._position = 0

    def write(self, data: memoryview) -> int:
        """Append bytes."""
        drain = bytes(data)
        self._parts.append(drain)
        self._position += len(drain)
        return len(drain)

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def flush(self) -> None:
        """Do nothing: nothing is buffered elsewhere."""

    def close(self) -> None:
        """Mark the file as closed."""
        self.closed = True

    def drain(self) -> bytes:
        """Return and clear the bytes written since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def build_schema(columns: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """Build the file's schema, with units and descriptions as field metadata."""
    values = [
        pa.field(
            each["name"],
            pa.float64() if each["double"] else pa.float32(),
            metadata={"unit": each["unit"], "description": each["description"]},
        )
        for each in columns
    ]
    fixed = [
        pa.field("box", _DICTIONARY, nullable=False),
        pa.field("site", _DICTIONARY, nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
    return pa.schema([*fixed, *values])


def decode_record_batch(schema: pa.Schema, frame: memoryview) -> pa.RecordBatch:
    """Decode the rows of one slice.

    Args:
        schema: the file's.
        frame: a line of JSON, `[[box's id, site's id], …]`, and the rows; NaN is a missing value.
    """
    end = bytes(frame).index(b"\n")
    ids, sites = zip(*json.loads(bytes(frame[:end])), strict=True)
    fields = list(schema)[_FIXED:]
    rows = decode_rows(frame[end + 1 :], [field.type == pa.float64() for field in fields])
    numbers = pa.array(rows["box"].astype(np.int32))
    times = pa.array(rows["time"].astype(np.int64) + EPOCH_US).cast(schema.field("time").type)
    arrays = [pa.DictionaryArray.from_arrays(numbers, pa.array(names, pa.string())) for names in (ids, sites)]
    arrays.append(times)
    for number, field in enumerate(fields):
        values = rows[str(number)]
        arrays.append(pa.array(values.astype(values.dtype.newbyteorder("=")), field.type, from_pandas=True))
    return pa.record_batch(arrays, schema=schema)


class ParquetFileWriter:
    """Writes one file slice by slice.

    Args:
        columns: of values, each with `name`, `unit`, `description` and `double`.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]]) -> None:
        self._schema = build_schema(columns)
        self._sink = _OutputBuffer()
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, "w"), self._schema, compression=_COMPRESSION
        )
        self._pending: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, frame: memoryview) -> None:
        """Add a slice; writes a row group when there are enough rows."""
        batch = decode_record_batch(self._schema, frame)
        self._pending.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROWS_PER_GROUP:
            self._write()

    def end(self) -> None:
        """Write the remaining rows and the footer."""
        self._write()
        self._writer.close()

    def drain(self) -> bytes:
        """Return the bytes of the file written since the last call."""
        return self._sink.drain()

    def _write(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending, self._schema).unify_dictionaries()
            self._writer.write_table(table, row_group_size=self._rows)
        self._pending.clear()
        self._rows = 0


def _frame(source: BinaryIO) -> bytes | None:
    """Read the next frame; None if the parent is gone."""
    length = source.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        return None
    size = int.from_bytes(length)
    data = source.read(size)
    return data if len(data) == size else None


def write_parquet_stream(source: BinaryIO, sink: BinaryIO) -> None:
    """Write a file for the parent until it ends the file or closes the pipe."""
    head = _frame(source)
    if head is None:
        return
    writer = ParquetFileWriter(json.loads(head))
    is_open = True
    while is_open:
        written = writer.drain()
        sink.write(len(written).to_bytes(_LENGTH_BYTES) + written)
        sink.flush()
        frame = _frame(source)
        if frame is None:
            return
        is_open = bool(frame)
        if is_open:
            writer.add(memoryview(frame))
    writer.end()
    written = writer.drain()
    sink.write(len(written).to_bytes(_LENGTH_BYTES) + written)
    sink.flush()


if __name__ == "__main__":
    # Slices are encoded one by one, so that further threads would only take memory.
    pa.set_cpu_count(1)
    write_parquet_stream(sys.stdin.buffer, sys.stdout.buffer)
