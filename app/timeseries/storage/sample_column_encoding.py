"""Arranges a batch of samples in columns, and encodes them for PostgreSQL's binary COPY. Pure.

A Python call per sample would cost more than all other work on it; numpy handles a whole batch in a tenth of
the time.

The format is PostgreSQL's (documentation of COPY, "Binary Format"): a header of 19 bytes, then for each row
the number of its fields (int16) and for each field its length (int32, -1 for NULL) and its bytes, all
big-endian; -1 (int16) ends it. A timestamp is microseconds since 2000-01-01 (int64).

`round_to_float32` gives the value that a `real` column returns. Rules must evaluate that one, so that a
back-test on stored samples has the same outcome.

The "kind" of a sample is a bitmask of its metrics, in the order of COLUMNS. An integer needs no table of the
sets seen so far, which boxes could make arbitrarily many.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.metrics import CATALOGUE, COLUMNS, Metric
from app.platform.kernel.instants import POSTGRES_EPOCH_US

type ColumnValues = tuple[float | None, ...]
"""A value or None for each of COLUMNS."""

MICROS_SQL: Final = "(extract(epoch FROM {}) * 1000000)::bigint"
"""SQL: an instant in µs since the epoch."""

_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_STORED_AS: Final = tuple(">f4" if metric.storage == "real" else ">f8" for metric in CATALOGUE)
# Samples with the same fields are encoded together. With more kinds than this, that is no faster.
_KINDS_LIMIT: Final = 512
_NO_SEQ: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class SampleBlock:
    """Samples in their order of arrival; all columns have one entry per sample.

    Attributes:
        keys: the boxes' keys (int32).
        times: µs since the epoch (int64).
        seqs: `seq`, or -1 if there is none (int64).
        values: as decoded.
        used: indexes into COLUMNS of the metrics that at least one sample has, ascending.
        matrix: their values, one row per sample, NaN if there is none (float64).
    """

    keys: NDArray[np.int32]
    times: NDArray[np.int64]
    seqs: NDArray[np.int64]
    values: Sequence[ColumnValues]
    used: tuple[int, ...]
    matrix: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.values)

    @property
    def fields(self) -> list[str]:
        """The columns of `samples` in the output of `encode_copy`, in its order."""
        return ["box_key", "time", "seq", *(COLUMNS[index] for index in self.used)]


def make_block(
    keys: Sequence[int], rows: Sequence[tuple[int, int | None, ColumnValues]], guess: tuple[int, ...] = ()
) -> SampleBlock:
    """Arrange decoded samples in columns.

    Args:
        keys: the box of each sample.
        rows: (µs since the epoch, `seq`, values) of each; at least one.
        guess: `used` of the batch before. Fleets keep sending the same metrics: if the guess is right, the
            other columns are not examined.
    """
    times, seqs, values = zip(*rows, strict=True)
    used, matrix = _matrix(values, guess)
    return SampleBlock(
        np.array(keys, np.int32),
        np.array(times, np.int64),
        np.array([_NO_SEQ if seq is None else seq for seq in seqs], np.int64),
        values,
        used,
        matrix,
    )


def _matrix(
    values: Sequence[ColumnValues], guess: tuple[int, ...]
) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    if len(guess) > 1:
        flat = np.fromiter(
            chain.from_iterable(map(itemgetter(*guess), values)), np.float64, len(values) * len(guess)
        )
        absent = len(COLUMNS) - len(guess)
        # numpy converts None to NaN. The count checks that no sample has another metric.
        if not np.isnan(flat).any() and all(row.count(None) == absent for row in values):
            return guess, flat.reshape(len(values), len(guess))
    columns = list(zip(*values, strict=True))
    total = len(values)
    used = tuple(index for index, column in enumerate(columns) if column.count(None) != total)
    matrix = np.empty((total, len(used)), np.float64)
    for position, index in enumerate(used):
        matrix[:, position] = columns[index]  # numpy converts None to NaN
    return used, matrix


def encode_copy(block: SampleBlock, picked: NDArray[np.intp]) -> bytes | None:
    """Encode the picked samples for a binary COPY into the columns `block.fields`.

    Samples with the same fields come together, otherwise in the order of `picked`. Returns None if there are
    too many different sets of fields.
    """
    keys, times, seqs, matrix = (
        block.keys[picked],
        block.times[picked] - POSTGRES_EPOCH_US,
        block.seqs[picked],
        block.matrix[picked],
    )
    absent = np.column_stack([seqs == _NO_SEQ, np.isnan(matrix)])
    parts = [_HEADER]
    if not (absent != absent[0]).any():
        parts.append(_records(block.used, absent[0], keys, times, seqs, matrix))
    else:
        kinds, inverse = np.unique(absent, axis=0, return_inverse=True)
        if len(kinds) > _KINDS_LIMIT:
            return None
        for number, kind in enumerate(kinds):
            rows = np.flatnonzero(inverse == number)
            parts.append(_records(block.used, kind, keys[rows], times[rows], seqs[rows], matrix[rows]))
    parts.append(_TRAILER)
    return b"".join(parts)


def _records(  # noqa: PLR0917 (the columns of one table, in their order)
    used: tuple[int, ...],
    absent: NDArray[np.bool_],
    keys: NDArray[np.int32],
    times: NDArray[np.int64],
    seqs: NDArray[np.int64],
    matrix: NDArray[np.float64],
) -> bytes:
    """Encode rows that have the same fields as a table with fixed offsets."""
    columns: list[tuple[str | None, NDArray[Any]]] = [
        (">i4", keys),
        (">i8", times),
        (None if absent[0] else ">i8", seqs),
    ]
    for position, index in enumerate(used):
        columns.append((None if absent[position + 1] else _STORED_AS[index], matrix[:, position]))
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for position, (stored_as, _) in enumerate(columns):
        layout.append((f"length{position}", ">i4"))
        if stored_as is not None:
            layout.append((f"value{position}", stored_as))
    table = np.empty(len(keys), np.dtype(layout))
    table["fields"] = len(columns)
    for position, (stored_as, column) in enumerate(columns):
        table[f"length{position}"] = -1 if stored_as is None else np.dtype(stored_as).itemsize
        if stored_as is not None:
            table[f"value{position}"] = column
    return table.tobytes()


def iterate_copy_records(block: SampleBlock, picked: NDArray[np.intp]) -> Iterator[tuple[Any, ...]]:
    """Yield the picked samples: (key, µs since the epoch, `seq` or None, the used values or None)."""
    for index in picked.tolist():
        seq = int(block.seqs[index])
        values = block.values[index]
        yield (
            int(block.keys[index]),
            int(block.times[index]),
            None if seq == _NO_SEQ else seq,
            *(values[column] for column in block.used),
        )


_REAL: Final = tuple(metric.storage == "real" for metric in CATALOGUE)
_EXACT_BELOW: Final = 1000.0


def round_to_float32(column: int, value: float) -> float:
    """Return the value that comes back when this one is stored: the shortest decimal of the nearest `real`.

    Args:
        column: the metric's index in COLUMNS.
        value: as decoded, or as read.
    """
    # A `real` stores three digits before the point and three after it exactly, which covers most values.
    if not _REAL[column] or (-_EXACT_BELOW < value < _EXACT_BELOW and round(value, 3) == value):
        return value
    return float(str(np.float32(value)))


def shortest_decimal_sql(metric: Metric) -> str:
    """SQL: a metric of samples `s` as its shortest decimal.

    The cast to text gives 12.4, not the longer decimal of the nearest `real`.
    """
    column = f's."{metric.name}"'
    return f"{column}::text::float8" if metric.storage == "real" else column


def compute_metric_bitmasks(block: SampleBlock) -> NDArray[np.int64]:
    """Return the kind of each sample of a block; never negative."""
    bits = np.left_shift(np.int64(1), np.array(block.used, np.int64))
    absent = np.isnan(block.matrix)
    if not absent.any():
        return np.full(len(block), bits.sum(), np.int64)
    kinds: NDArray[np.int64] = ~absent @ bits
    return kinds


def has_all_metrics(later: int, earlier: int) -> bool:
    """Return whether a sample of the later kind has every metric of the earlier kind."""
    return not earlier & ~later
