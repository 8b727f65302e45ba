"""`python -m app.timeseries.exports.parquet_process`: writes one Parquet file for its parent. Pure.

A process of its own, as pyarrow takes more memory than all else that the API process imports, and as what it
works on then takes nothing from other requests. Speaks on its standard input and output alone, in frames of a
length (four bytes, big-endian) and as many bytes: first the columns; then for each slice its boxes and its
columns, as PostgreSQL's binary forms one behind the other; at the end an empty one. Each frame is answered
with one that has what of the file is written since. Knows neither settings nor database.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP: Final = 100_000
"""Of the file's row groups, roughly: they are what a reader reads at once."""

_LENGTH_BYTES: Final = 4
# Of PostgreSQL's instants, which begin with the year 2000 (µs).
_EPOCH_US: Final = 946_684_800_000_000
_DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())
_COMPRESSION: Final = "zstd"
_NICE: Final = 5


class _OutputBuffer:
    """A file of which what was written is given on, and forgotten."""

    def __init__(self) -> None:
        self.closed = False
        self._parts: list[bytes] = []
        self._position = 0

    def write(self, data: memoryview) -> int:
        """Take some bytes."""
        drain = bytes(data)
        self._parts.append(drain)
        self._position += len(drain)
        return len(drain)

    def tell(self) -> int:
        """How many there were."""
        return self._position

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """It may be written to no more."""
        self.closed = True

    def drain(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def build_schema(columns: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The file's schema: units and descriptions are the fields' metadata."""
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


def _repeated(names: Sequence[str], counts: Sequence[int]) -> pa.DictionaryArray:
    codes = np.repeat(np.arange(len(names), dtype=np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string()))


def decode_record_batch(schema: pa.Schema, frame: memoryview) -> pa.RecordBatch:
    """The rows of one slice.

    Args:
        schema: the file's.
        frame: a line of JSON, `[[box's id, site's id, rows], …]`; eight bytes a time; each column's values,
            of four or eight bytes, where NaN stands for none.
    """
    end = bytes(frame).index(b"\n")
    boxes = json.loads(bytes(frame[:end]))
    ids, sites, counts = (list(each) for each in zip(*boxes, strict=True))
    rows = sum(counts)
    rest = frame[end + 1 :]
    times = np.frombuffer(rest[: 8 * rows], ">i8").astype(np.int64) + _EPOCH_US
    arrays = [_repeated(ids, counts), _repeated(sites, counts), pa.array(times, pa.int64())]
    arrays[2] = arrays[2].cast(schema.field("time").type)
    rest = rest[8 * rows :]
    for field in list(schema)[3:]:
        size = field.type.bit_width // 8
        values = np.frombuffer(rest[: size * rows], f">f{size}").astype(f"f{size}")
        arrays.append(pa.array(values, field.type, from_pandas=True))
        rest = rest[size * rows :]
    return pa.record_batch(arrays, schema=schema)


class ParquetFileWriter:
    """One file, written slice by slice.

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
        """Take a slice; a row group is written when there are enough of them."""
        batch = decode_record_batch(self._schema, frame)
        self._pending.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROWS_PER_GROUP:
            self._write()

    def end(self) -> None:
        """Write what is left, and the footer."""
        self._write()
        self._writer.close()

    def drain(self) -> bytes:
        """What of the file was written since the last time."""
        return self._sink.drain()

    def _write(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending, self._schema).unify_dictionaries()
            self._writer.write_table(table, row_group_size=self._rows)
        self._pending.clear()
        self._rows = 0


def _frame(source: BinaryIO) -> bytes | None:
    """The next frame; None where the other side is gone."""
    length = source.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        return None
    size = int.from_bytes(length)
    data = source.read(size)
    return data if len(data) == size else None


def write_parquet_stream(source: BinaryIO, sink: BinaryIO) -> None:
    """Write a file for whoever is at the other end, until that one has ended it, or is gone."""
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
    os.nice(_NICE)
    # One slice after the other: further threads would have memory of their own, and nothing to do.
    pa.set_cpu_count(1)
    write_parquet_stream(sys.stdin.buffer, sys.stdout.buffer)
