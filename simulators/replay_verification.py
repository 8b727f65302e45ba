"""Compares sent samples with the stored ones, value by value.

It only reads, with SQL of its own, since it checks the application's. A `real` column stores a float of 32
bits: a sent value is rounded the same way, and must then be equal.
"""

import asyncio
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import asyncpg

from app.platform.kernel.instants import to_datetime

MetricValues = Mapping[str, float]
BoxSeries = Mapping[int, MetricValues]
"""A box's samples: microseconds since 1970 to values by metric."""

_DIFFERENCES_SHOWN = 10
_POLL_S = 0.5


@dataclass(slots=True)
class StorageComparison:
    """Counts of one comparison; rows are counted by (box, time).

    Attributes:
        expected_rows: Distinct (box, time) that were sent.
        expected_values: Values in them.
        stored_rows: Rows found in the same time range.
        equal: Stored values that equal the sent ones.
        different: Stored values that differ from the sent ones.
        missing: Sent values that are not stored.
        extra: Stored values that were not sent.
        missing_rows: Sent (box, time) without a row.
        extra_rows: Rows that were not sent.
        shown: Texts of the first ten differences.
    """

    boxes: int = 0
    expected_rows: int = 0
    expected_values: int = 0
    stored_rows: int = 0
    equal: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    missing_rows: int = 0
    extra_rows: int = 0
    shown: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether exactly the sent values are stored."""
        return not (self.different or self.missing or self.extra or self.missing_rows or self.extra_rows)

    def figures(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: count for name, count in asdict(self).items() if isinstance(count, int)}

    def show(self, text: str) -> None:
        """Add a difference as text, up to ten."""
        if len(self.shown) < _DIFFERENCES_SHOWN:
            self.shown.append(text)


def round_to_float32(value: float) -> float:
    """Round to the nearest float of 32 bits."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def compare_box(
    box: str,
    sent: BoxSeries,
    stored: Mapping[int, Mapping[str, float | None]],
    reals: frozenset[str],
    into: StorageComparison,
) -> None:
    """Compare one box's samples, and add to the counts.

    Args:
        box: Its id, for the texts.
        sent: The sent samples.
        stored: The stored samples of the same time range; None for an empty column.
        reals: The metrics stored as 32-bit floats.
        into: The counts.
    """
    into.boxes += 1
    into.expected_rows += len(sent)
    into.expected_values += sum(len(values) for values in sent.values())
    into.stored_rows += len(stored)
    for time_us, values in sent.items():
        row = stored.get(time_us)
        if row is None:
            into.missing_rows += 1
            into.missing += len(values)
            into.show(f"{box} {time_us}: no row for {dict(values)}")
            continue
        for metric, value in values.items():
            wanted = round_to_float32(value) if metric in reals else value
            held = row.get(metric)
            if held is None:
                into.missing += 1
                into.show(f"{box} {time_us} {metric}: nothing, not {value}")
            elif held == wanted:
                into.equal += 1
            else:
                into.different += 1
                into.show(f"{box} {time_us} {metric}: {held}, not {wanted}")
    _extras(box, sent, stored, into)


def _extras(
    box: str, sent: BoxSeries, stored: Mapping[int, Mapping[str, float | None]], into: StorageComparison
) -> None:
    for time_us, row in stored.items():
        known = sent.get(time_us)
        held = {metric for metric, value in row.items() if value is not None}
        more = held.difference(known or ())
        into.extra += len(more)
        into.extra_rows += known is None
        if more:
            into.show(f"{box} {time_us}: not sent: {sorted(more)}")


_COLUMNS = """
SELECT column_name, data_type = 'real' AS is_real FROM information_schema.columns
WHERE table_name = 'samples' AND column_name NOT IN ('time', 'seq', 'box_key', 'late')
ORDER BY ordinal_position
"""
_COUNT = """
SELECT count(*) FROM samples s JOIN boxes b ON b.key = s.box_key
WHERE b.id = ANY($1) AND b.deleted_at IS NULL
  AND s.time BETWEEN $2 AND $3
"""
_ROWS = """
SELECT (extract(epoch FROM s.time) * 1000000)::bigint AS time_us, s.*
FROM samples s JOIN boxes b ON b.key = s.box_key
WHERE b.id = $1 AND b.deleted_at IS NULL
  AND s.time BETWEEN $2 AND $3
"""


def find_time_range(sent: Mapping[str, BoxSeries]) -> tuple[int, int]:
    """Find the first and the last time of all boxes, in microseconds; (0, 0) without samples."""
    times = [time_us for series in sent.values() for time_us in series]
    return (min(times), max(times)) if times else (0, 0)


async def wait_until_stored(
    connection: asyncpg.Connection,
    sent: Mapping[str, BoxSeries],
    *,
    patience_s: float,
    progress: Callable[[int, int], None] = lambda _stored, _expected: None,
) -> bool:
    """Wait until as many rows are stored as were sent.

    Args:
        connection: A connection to the database.
        sent: Samples by box.
        patience_s: Time without a new row after which the wait ends (seconds).
        progress: Called with the numbers of stored and expected rows.

    Returns:
        Whether all rows are stored.
    """
    first, last = map(to_datetime, find_time_range(sent))
    expected = sum(len(series) for series in sent.values())
    loop = asyncio.get_running_loop()
    highest, since = -1, loop.time()
    while True:
        count = int(await connection.fetchval(_COUNT, list(sent), first, last))
        progress(count, expected)
        if count >= expected:
            return True
        if count > highest:
            highest, since = count, loop.time()
        if loop.time() - since > patience_s:
            return False
        await asyncio.sleep(_POLL_S)


async def compare_with_database(
    connection: asyncpg.Connection, sent: Mapping[str, BoxSeries]
) -> StorageComparison:
    """Read all rows of the boxes in the time range of the sent samples, and compare them."""
    columns: Sequence[asyncpg.Record] = await connection.fetch(_COLUMNS)
    metrics: list[str] = [column["column_name"] for column in columns]
    reals = frozenset(column["column_name"] for column in columns if column["is_real"])
    first, last = map(to_datetime, find_time_range(sent))
    result = StorageComparison()
    for box, series in sent.items():
        rows: Iterable[asyncpg.Record] = await connection.fetch(_ROWS, box, first, last)
        stored = {row["time_us"]: {metric: row[metric] for metric in metrics} for row in rows}
        compare_box(box, series, stored, reals, result)
    return result
