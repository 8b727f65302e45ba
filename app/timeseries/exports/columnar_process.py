"""Encodes one Parquet file or Arrow stream in a child process, from standard input to standard output. Pure.

The parent runs `python -m app.timeseries.exports.columnar_process`.

It is a separate process because pyarrow takes more memory than all other imports of the API process, and
because encoding would delay other requests. It has neither settings nor a database.

The protocol uses frames on standard input and output: a length (four bytes, big-endian) and as many bytes.
The parent sends the format and the columns, then for each slice its boxes and its rows (see `binary_rows`),
and an empty frame at the end. Each frame is answered with the bytes of the file written since.
"""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.timeseries.exports.binary_rows import EPOCH_US, decode_rows

ROWS_PER_GROUP: Final = 100_000
"""The approximate number of rows in a row group of Parquet, the unit in which readers load a file."""

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


class ColumnarWriter(ABC):
    """Writes one file slice by slice.

    Args:
        columns: of values, each with `name`, `unit`, `description` and `double`.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]]) -> None:
        self._schema = build_schema(columns)
        self._sink = _OutputBuffer()
        self._file = pa.PythonFile(self._sink, "w")

    def add(self, frame: memoryview) -> None:
        """Add a slice."""
        self._add(decode_record_batch(self._schema, frame))

    @abstractmethod
    def _add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a slice."""

    @abstractmethod
    def end(self) -> None:
        """Write what remains of the file."""

    def drain(self) -> bytes:
        """Return the bytes of the file written since the last call."""
        return self._sink.drain()


class ParquetFileWriter(ColumnarWriter):
    """Writes a Parquet file; a row group when there are enough rows."""

    def __init__(self, columns: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(columns)
        self._writer = pq.ParquetWriter(self._file, self._schema, compression=_COMPRESSION)
        self._pending: list[pa.RecordBatch] = []
        self._rows = 0

    def _add(self, batch: pa.RecordBatch) -> None:
        self._pending.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROWS_PER_GROUP:
            self._write()

    def end(self) -> None:
        """Write the remaining rows and the footer."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending, self._schema).unify_dictionaries()
            self._writer.write_table(table, row_group_size=self._rows)
        self._pending.clear()
        self._rows = 0


class ArrowStreamWriter(ColumnarWriter):
    """Writes the streaming format of Arrow IPC: a record batch for each slice, not compressed.

    Each batch has its own dictionaries of boxes and sites, which replace those before.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(columns)
        self._writer = pa.ipc.new_stream(self._file, self._schema)

    def _add(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def end(self) -> None:
        """Write the mark of the end."""
        self._writer.close()


WRITERS: Final[Mapping[str, type[ColumnarWriter]]] = {
    "parquet": ParquetFileWriter,
    "arrow": ArrowStreamWriter,
}
"""The writers by format."""


def _frame(source: BinaryIO) -> bytes | None:
    """Read the next frame; None if the parent is gone."""
    length = source.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        return None
    size = int.from_bytes(length)
    data = source.read(size)
    return data if len(data) == size else None


def write_columnar_stream(source: BinaryIO, sink: BinaryIO) -> None:
    """Write a file for the parent until it ends the file or closes the pipe."""
    head = _frame(source)
    if head is None:
        return
    task = json.loads(head)
    writer = WRITERS[task["format"]](task["columns"])
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
    write_columnar_stream(sys.stdin.buffer, sys.stdout.buffer)
