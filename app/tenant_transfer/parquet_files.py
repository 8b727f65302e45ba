"""Writes and reads tables as Parquet, in parts of a bounded size."""

from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from app.catalogue.metrics import CATALOGUE
from app.tenant_transfer.archive_files import FileSink
from app.tenant_transfer.column_dictionary import TableColumn, describe_column

PART_ROWS: Final = 1_000_000
"""The most rows of one file."""

_GROUP_ROWS: Final = 100_000
_READ_ROWS: Final = 10_000
_TYPES: Final = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "text": pa.string(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}


def _arrow_type(type_: str) -> pa.DataType:
    if type_.endswith("[]"):
        return pa.list_(_TYPES[type_.removesuffix("[]")])
    return _TYPES[type_]


def build_arrow_schema(table: str, columns: Sequence[TableColumn]) -> pa.Schema:
    """Build the schema of a file; each field has its description, and metrics their unit, as metadata."""
    units = {metric.name: metric.unit for metric in CATALOGUE} if table == "samples" else {}
    fields = []
    for column in columns:
        metadata = {"description": describe_column(table, column.name)}
        if column.name in units:
            metadata["unit"] = units[column.name]
        fields.append(pa.field(column.name, _arrow_type(column.type), column.nullable, metadata))
    return pa.schema(fields)


class ParquetPart:
    """Writes one Parquet file of a table.

    Attributes:
        rows: the number of rows that were added.

    Args:
        sink: receives the file.
        schema: its columns.
    """

    def __init__(self, sink: FileSink, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd")
        self._batches: list[pa.RecordBatch] = []
        self._waiting = 0
        self.rows = 0

    def add(self, rows: Sequence[Iterable[Any]]) -> None:
        """Add some rows, at least one, whose values are in the order of the schema."""
        # Convert at once: Python objects would take ten times the memory.
        arrays = [
            pa.array(values, field.type)
            for values, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._waiting += len(rows)
        self.rows += len(rows)
        if self._waiting >= _GROUP_ROWS:
            self._write()

    def end(self) -> None:
        """Write the rest and the end of the file."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches, self._schema))
        self._batches, self._waiting = [], 0


def read_parquet(file: IO[bytes], columns: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
    """Read columns of a file in batches of 10,000 rows."""
    for batch in pq.ParquetFile(file).iter_batches(_READ_ROWS, columns=list(columns)):
        values = [batch.column(name).to_pylist() for name in columns]
        yield list(zip(*values, strict=True))


def count_parquet_rows(file: IO[bytes]) -> int:
    """Return the number of rows of a file."""
    return int(pq.ParquetFile(file).metadata.num_rows)
