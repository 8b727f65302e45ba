"""Writes samples: what is surely new by COPY into the hypertable, all else by a temporary table.

Nothing else writes `samples`. It runs in the caller's transaction, commits nothing, and counts exactly what
was new, repeated, or contradictory. Callers see to it that no two write samples of the same box at once.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.catalogue.metrics import CATALOGUE, COLUMNS
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import US_PER_S, to_datetime
from app.timeseries.storage.sample_columns import SampleBlock, encode_copy, iterate_copy_records

# PostgreSQL counts time from 2000; COPY takes a bigint here because making a datetime costs as much as
# parsing the whole sample.
_INSTANT = "'epoch'::timestamptz + i.time_us * interval '1 microsecond'"
_WEEK_US = 7 * 86_400 * US_PER_S
# Weeks that are no farther from each other are looked through together.
_MERGED_WEEKS = 4
_RANGES_MOST = 8
_CREATE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS incoming "
    "(ord integer NOT NULL, box_key integer NOT NULL, time_us bigint NOT NULL, seq bigint, "
    + ", ".join(f'"{metric.name}" {metric.storage}' for metric in CATALOGUE)
    + ") ON COMMIT DELETE ROWS"
)


class SampleRow(NamedTuple):
    """One sample: the box's key, µs since the epoch, `seq`, and a value or None for each of COLUMNS."""

    box_key: int
    time_us: int
    seq: int | None
    values: tuple[float | None, ...]


@dataclass(slots=True)
class WriteOutcome:
    """What became of a batch.

    Attributes:
        stored: how many rows are new.
        duplicates: indexes of exact repeats.
        conflicts: indexes of samples whose identity is stored with other values; the first is kept.
    """

    stored: int = 0
    duplicates: list[int] = field(default_factory=list)
    conflicts: list[int] = field(default_factory=list)


async def append_samples(connection: RawConnection, block: SampleBlock, picked: NDArray[np.intp]) -> None:
    """Store samples of a block that are surely new, in the caller's transaction.

    Raises:
        asyncpg.UniqueViolationError: they were not.
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
    """What is there already, as a source of COPY: a file object would be read in a thread."""
    yield data


type LateOf = Callable[[Collection[int]], Mapping[int, int]]
"""Given the indexes of those that are not new, the bits of the late metrics of others, by index."""


async def write_samples(
    connection: RawConnection, rows: Sequence[SampleRow], late_of: LateOf | None = None
) -> WriteOutcome:
    """Store a batch in the caller's transaction; in the batch, the first of an identity wins.

    Args:
        connection: in a transaction.
        rows: in their order of arrival.
        late_of: tells which values are late, once it is known which samples repeat a stored identity.
    """
    if not rows:
        return WriteOutcome()
    await connection.execute(_CREATE)
    total = len(rows)
    keys, times, seqs, values = zip(*rows, strict=True)
    columns = list(zip(*values, strict=True))
    # Fleets send a few metrics each: columns that no sample of the batch fills are left out.
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
    # Names come from the catalogue alone. The order is that of arrival, because the first of an identity
    # wins: after a rollback the temporary table has room at its beginning, and no longer tells it by itself.
    tag = await connection.execute(
        f"INSERT INTO samples (box_key, time, seq, late{listed}) "  # noqa: S608 (catalogue names)
        f"SELECT i.box_key, {_INSTANT}, i.seq, l.late{picked} FROM incoming i "
        "LEFT JOIN unnest($1::int[], $2::bigint[]) AS l (ord, late) ON l.ord = i.ord "
        "ORDER BY i.ord ON CONFLICT DO NOTHING",
        list(late),
        list(late.values()),
    )
    outcome = WriteOutcome(stored=int(tag.rpartition(" ")[2]))
    if outcome.stored != total:
        await _classify_unstored(connection, before, times, outcome)
    return outcome


async def find_stored_identities(
    connection: RawConnection, identities: Sequence[tuple[int, int]]
) -> frozenset[int]:
    """Which of these (box's key, µs since the epoch) are stored already: their indexes."""
    keys, times = zip(*identities, strict=True)
    given = "unnest($1::int[], $2::bigint[]) WITH ORDINALITY AS i (box_key, time_us, ord)"
    found = await _fetch_by_identity(connection, times, f"SELECT i.ord FROM {given}, {{}}", keys, times)  # noqa: S608 (constants)
    return frozenset(ordinal - 1 for (ordinal,) in found)


async def _fetch_by_identity(
    connection: RawConnection, times: Iterable[int], query: str, *arguments: object
) -> list[asyncpg.Record]:
    """The rows of a query on rows `i` of these times; `{}` stands for what is stored of their identity."""
    found: list[asyncpg.Record] = []
    for week_range in find_week_ranges(times):
        found += await connection.fetch(query.format(_same_identity(*week_range)), *arguments)
    return found


def find_week_ranges(times: Iterable[int]) -> list[tuple[int, int]]:
    """Whole weeks in which all times lie (µs): from, before; a few at most, the newest first.

    The planner looks into the chunks of these alone. There is a chunk for each week of history, and a single
    sample of long ago must not make it look into all of them for those of today.
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
    """SQL: what is stored of the identity of a row `i` whose time lies in a stretch."""
    first, end = (to_datetime(edge).isoformat() for edge in (first_us, end_us))
    # LIMIT: one look into the index for each, whatever the planner thinks of a table without statistics.
    return (
        f"LATERAL (SELECT * FROM samples s WHERE s.box_key = i.box_key AND s.time = {_INSTANT} "  # noqa: S608 (constants)
        f"AND s.time >= '{first}' AND s.time < '{end}' AND i.time_us >= {first_us} AND i.time_us < {end_us} "
        "LIMIT 1) s"
    )


async def _stored_before(connection: RawConnection, times: Iterable[int]) -> list[int]:
    """Which of the incoming samples, of these times, have an identity that is stored: their places."""
    found = await _fetch_by_identity(connection, times, "SELECT i.ord FROM incoming i, {}")
    return [ordinal for (ordinal,) in found]


async def _classify_unstored(
    connection: RawConnection, before: list[int], times: Iterable[int], outcome: WriteOutcome
) -> None:
    """Tell of those that were not stored whether they repeat or contradict what is there.

    That is each whose identity was stored before, and each but the first of an identity in the batch: the
    first, by `ord`, is the one that got in.
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
