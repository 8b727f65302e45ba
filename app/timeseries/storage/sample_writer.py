"""Writes samples: those known to be new by COPY into the hypertable, the others through a temporary table.

No other module writes `samples`. It runs in the caller's transaction, does not commit, and counts new,
duplicate and conflicting samples exactly. Callers ensure that no two processes write samples of the same box
concurrently.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.catalogue.metrics import CATALOGUE, COLUMNS
from app.platform.db.database import RawConnection, parse_row_count
from app.platform.kernel.instants import US_PER_S, to_datetime
from app.timeseries.storage.sample_column_encoding import SampleBlock, encode_copy, iterate_copy_records

# Times are copied as bigint, because creating a datetime costs as much as parsing the whole sample.
_INSTANT = "'epoch'::timestamptz + i.time_us * interval '1 microsecond'"
_WEEK_US = 7 * 86_400 * US_PER_S
# Weeks that are no farther apart share a range.
_MERGED_WEEKS = 4
_RANGES_MOST = 8
_CREATE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS incoming "
    "(ord integer NOT NULL, box_key integer NOT NULL, time_us bigint NOT NULL, seq bigint, "
    + ", ".join(f'"{metric.name}" {metric.storage}' for metric in CATALOGUE)
    + ") ON COMMIT DELETE ROWS"
)


class SampleRow(NamedTuple):
    """A sample: the box's key, µs since the epoch, `seq`, and a value or None for each of COLUMNS."""

    box_key: int
    time_us: int
    seq: int | None
    values: tuple[float | None, ...]


@dataclass(slots=True)
class WriteOutcome:
    """The outcome of a batch.

    Attributes:
        stored: number of new rows.
        duplicates: indexes of samples that are stored already, with the same values.
        conflicts: indexes of samples whose identity is stored with other values; the first one stays.
    """

    stored: int = 0
    duplicates: list[int] = field(default_factory=list)
    conflicts: list[int] = field(default_factory=list)


async def append_samples(connection: RawConnection, block: SampleBlock, picked: NDArray[np.intp]) -> None:
    """Store the picked samples of a block, which must be new, in the caller's transaction.

    Raises:
        asyncpg.UniqueViolationError: One of them was not new.
    """
    if not len(picked):
        return
    data = encode_copy(block, picked)
    if data is None:
        await connection.copy_records_to_table(
            "samples",
            records=(
                (key, to_datetime(time_us), *rest)
                for key, time_us, *rest in iterate_copy_records(block, picked)
            ),
            columns=block.fields,
        )
    else:
        await connection.copy_to_table(
            "samples", source=_single_chunk(data), columns=block.fields, format="binary"
        )


async def _single_chunk(data: bytes) -> AsyncIterator[bytes]:
    """Yield the data once: asyncpg would read a file object in a thread."""
    yield data


type LateOf = Callable[[Collection[int]], Mapping[int, int]]
"""Given the indexes of samples that are not new: index → bitmask of its late metrics, for the others."""


async def write_samples(
    connection: RawConnection, rows: Sequence[SampleRow], late_of: LateOf | None = None
) -> WriteOutcome:
    """Store a batch in the caller's transaction; the first sample of an identity wins.

    Args:
        connection: in a transaction.
        rows: in their order of arrival.
        late_of: finds the late values, once duplicates of stored samples are known.
    """
    if not rows:
        return WriteOutcome()
    await connection.execute(_CREATE)
    total = len(rows)
    keys, times, seqs, values = zip(*rows, strict=True)
    columns = list(zip(*values, strict=True))
    # A fleet sends a few metrics: columns without a value in the batch are left out.
    used = [index for index, column in enumerate(columns) if column.count(None) != total]
    names = [COLUMNS[index] for index in used]
    await connection.copy_records_to_table(
        "incoming",
        records=zip(range(total), keys, times, seqs, *(columns[index] for index in used), strict=True),
        columns=["ord", "box_key", "time_us", "seq", *names],
    )
    before = await _stored_before(connection, times)
    late = {} if late_of is None else late_of(frozenset(before))
    listed = "".join(f', "{name}"' for name in names)
    picked = "".join(f', i."{name}"' for name in names)
    # ORDER BY, because the first of an identity wins, and after a rollback the temporary table no longer
    # returns rows in order of arrival.
    tag = await connection.execute(
        f"INSERT INTO samples (box_key, time, seq, late{listed}) "  # noqa: S608 (catalogue names)
        f"SELECT i.box_key, {_INSTANT}, i.seq, l.late{picked} FROM incoming i "
        "LEFT JOIN unnest($1::int[], $2::bigint[]) AS l (ord, late) ON l.ord = i.ord "
        "ORDER BY i.ord ON CONFLICT DO NOTHING",
        list(late),
        list(late.values()),
    )
    outcome = WriteOutcome(stored=parse_row_count(tag))
    if outcome.stored != total:
        await _classify_unstored(connection, before, times, outcome)
    return outcome


async def find_stored_identities(
    connection: RawConnection, identities: Sequence[tuple[int, int]]
) -> frozenset[int]:
    """Return the indexes of the identities (box key, µs since the epoch) that are stored."""
    keys, times = zip(*identities, strict=True)
    given = "unnest($1::int[], $2::bigint[]) WITH ORDINALITY AS i (box_key, time_us, ord)"
    found = await _fetch_by_identity(connection, times, f"SELECT i.ord FROM {given}, {{}}", keys, times)  # noqa: S608 (constants)
    return frozenset(ordinal - 1 for (ordinal,) in found)


async def _fetch_by_identity(
    connection: RawConnection, times: Iterable[int], query: str, *arguments: object
) -> list[asyncpg.Record]:
    """Run a query on rows `i` of these times for each range of weeks.

    `{}` in the query stands for the stored row of the same identity.
    """
    found: list[asyncpg.Record] = []
    for week_range in find_week_ranges(times):
        found += await connection.fetch(query.format(_same_identity(*week_range)), *arguments)
    return found


def find_week_ranges(times: Iterable[int]) -> list[tuple[int, int]]:
    """Return ranges of whole weeks that contain all times (µs, end exclusive), the newest first.

    There are a few at most. With these bounds the planner reads only their chunks. Otherwise one old sample
    would make it search every week of history for all others.
    """
    weeks = sorted({time_us // _WEEK_US for time_us in times}, reverse=True)
    found: list[tuple[int, int]] = []
    for week in weeks:
        if found and (found[-1][0] - week <= _MERGED_WEEKS or len(found) == _RANGES_MOST):
            found[-1] = (week, found[-1][1])
        else:
            found.append((week, week))
    return [(first * _WEEK_US, (last + 1) * _WEEK_US) for first, last in found]


def _same_identity(first_us: int, end_us: int) -> str:
    """SQL: the stored row with the identity of a row `i` whose time lies in a range."""
    first, end = (to_datetime(edge).isoformat() for edge in (first_us, end_us))
    # LIMIT forces an index scan per row, though the temporary table has no statistics.
    return (
        f"LATERAL (SELECT * FROM samples s WHERE s.box_key = i.box_key AND s.time = {_INSTANT} "  # noqa: S608 (constants)
        f"AND s.time >= '{first}' AND s.time < '{end}' AND i.time_us >= {first_us} AND i.time_us < {end_us} "
        "LIMIT 1) s"
    )


async def _stored_before(connection: RawConnection, times: Iterable[int]) -> list[int]:
    """Return the indexes of incoming samples whose identity is stored."""
    found = await _fetch_by_identity(connection, times, "SELECT i.ord FROM incoming i, {}")
    return [ordinal for (ordinal,) in found]


async def _classify_unstored(
    connection: RawConnection, before: list[int], times: Iterable[int], outcome: WriteOutcome
) -> None:
    """Classify the samples that were not stored as duplicates or conflicts.

    These are the samples whose identity was stored before, and all but the first (by `ord`) of an identity in
    the batch.
    """
    every = ", ".join(f'"{name}"' for name in COLUMNS)
    ours = ", ".join(f'i."{name}"' for name in COLUMNS)
    theirs = ", ".join(f's."{name}"' for name in COLUMNS)
    query = f"""
        WITH i AS (
            SELECT ord, box_key, time_us, {every},
                   row_number() OVER (PARTITION BY box_key, time_us ORDER BY ord) AS nth
            FROM incoming
        )
        SELECT i.ord, ({ours}) IS NOT DISTINCT FROM ({theirs}) AS same
        FROM i, {{}}
        WHERE i.nth > 1 OR i.ord = ANY ($1::int[])
    """  # noqa: S608 (catalogue names)
    for ordinal, same in sorted(map(tuple, await _fetch_by_identity(connection, times, query, before))):
        (outcome.duplicates if same else outcome.conflicts).append(ordinal)
