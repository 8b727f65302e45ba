"""Compares what was sent with what the database holds, value by value.

Owns the arithmetic (pure: `compare_box`) and the SQL that reads the rows. Reads only. Must not use the
application's own queries: it checks them.

A `real` column keeps the nearest of 24 bits: what was sent is rounded the same way, and then has to be equal,
not merely near.
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
    """Figures of one comparison; values are counted one by one, rows by (box, time).

    Attributes:
        expected_rows: Distinct (box, time) that were sent.
        expected_values: Values in them.
        stored_rows: Rows found in the same span of time.
        equal: Values that are exactly what was sent.
        different: Values that are there, but not the same.
        missing: Values that are not there.
        extra: Values that are there, and were not sent.
        missing_rows: Sent (box, time) without a row.
        extra_rows: Rows that were not sent.
        shown: The first ten deviations, for people.
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
        """Everything that was sent is there, unchanged, and nothing else."""
        return not (self.different or self.missing or self.extra or self.missing_rows or self.extra_rows)

    def figures(self) -> dict[str, int]:
        """The counts by name."""
        return {name: count for name, count in asdict(self).items() if isinstance(count, int)}

    def show(self, text: str) -> None:
        """Keep a deviation as text, if there is room."""
        if len(self.shown) < _DIFFERENCES_SHOWN:
            self.shown.append(text)


def round_to_float32(value: float) -> float:
    """Round to what a four-byte float holds."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def compare_box(
    box: str,
    sent: BoxSeries,
    stored: Mapping[int, Mapping[str, float | None]],
    reals: frozenset[str],
    into: StorageComparison,
) -> None:
    """Add one box's comparison to the figures.

    Args:
        box: Its id, for the texts.
        sent: What was sent.
        stored: What the database holds in the same span; None where a column is empty.
        reals: The metrics kept in four bytes.
        into: The figures, added to.
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
    """The first and the last instant of all boxes, in microseconds (0, 0 for nothing)."""
    times = [time_us for series in sent.values() for time_us in series]
    return (min(times), max(times)) if times else (0, 0)


async def wait_until_stored(
    connection: asyncpg.Connection,
    sent: Mapping[str, BoxSeries],
    *,
    patience_s: float,
    progress: Callable[[int, int], None] = lambda _stored, _expected: None,
) -> bool:
    """Wait until as many rows are there as were sent.

    Args:
        connection: To the database.
        sent: Samples by box.
        patience_s: How long the count may stand still before it is given up.
        progress: Called with stored and expected rows.

    Returns:
        Whether they all came.
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
    """Read every row of the boxes in the span of time that was sent, and compare."""
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
