"""Reads rows of the log of committed measurements in the order of their positions."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.platform.db.database import RawConnection
from app.platform.kernel.instants import from_datetime
from app.timeseries.commit_log.packed_identities import unpack_keys, unpack_times
from app.timeseries.commit_log.position_search import NEWEST_SQL

_ROWS: Final = 500
# Rows that a page examines at most, where most are of other kinds or of other organisations.
_SCANNED: Final = 10_000
# Arrays are read of the rows alone that are needed: a row can have ten thousand items.
_PAGE: Final = """
SELECT snapshot.read_at, snapshot.newest, page.* FROM (
    SELECT now() AS read_at, ({newest}) AS newest
) AS snapshot LEFT JOIN LATERAL (
    SELECT c.stream_position, c.positioned_at, c.organisation_id, c.kind, c.box_keys, c.times_us,
        c.event_ids, c.details::text AS details
    FROM (
        SELECT tid, sum(items) OVER (
            ORDER BY stream_position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before
        FROM (
            SELECT tid, items, stream_position FROM (
                SELECT ctid AS tid, items, stream_position, organisation_id, kind FROM measurement_commits
                WHERE {owner} AND stream_position >= $2 ORDER BY stream_position LIMIT $6
            ) AS scanned
            WHERE ($1::uuid[] IS NULL OR organisation_id = ANY ($1))
                AND ($3::text[] IS NULL OR kind = ANY ($3))
            ORDER BY stream_position LIMIT $5
        ) AS next_rows
    ) AS counted JOIN measurement_commits c ON c.ctid = counted.tid
    WHERE coalesce(counted.before, 0) < $4
) AS page ON true
ORDER BY page.stream_position
"""
_LAST_SCANNED: Final = """
SELECT stream_position, positioned_at FROM measurement_commits
WHERE {owner} AND stream_position >= $2 ORDER BY stream_position OFFSET $3 - 1 LIMIT 1
"""
# With equality the index of an organisation returns its rows in order.
_ONE: Final = "organisation_id = ($1::uuid[])[1]"
_NEWEST_OF_ONE: Final = NEWEST_SQL.format(organisation="($1::uuid[])[1]")
# Names $1, because PostgreSQL must know the type of each parameter.
_ANY: Final = "($1::uuid[] IS NULL OR true)"
_NEWEST: Final = "SELECT max(stream_position) FROM measurement_commits WHERE stream_position IS NOT NULL"


class CommitRow(NamedTuple):
    """The measurements that one transaction stored for one organisation.

    Attributes:
        position: in the stream.
        positioned_us: when it got the position (µs since the epoch).
        organisation_id: the organisation.
        kind: `samples`, `events`, `corrections` or `hours`.
        keys: the box of each item.
        times_us: the time of each item (µs since the epoch).
        event_ids: the ids of events, in parallel.
        details: of a correction, as JSON.
    """

    position: int
    positioned_us: int
    organisation_id: UUID
    kind: str
    keys: NDArray[np.int32]
    times_us: NDArray[np.int64]
    event_ids: Sequence[UUID] | None
    details: str | None


class CommitPage(NamedTuple):
    """Rows in order.

    Attributes:
        read_at: the database's time of the query.
        rows: the rows.
        end: all rows of the organisations up to this position have been read; of one organisation it is its
            newest row's, whatever others have stored since.
        end_us: no row after it got its position before this time (µs since the epoch).
        full: whether there may be more rows.
    """

    read_at: datetime
    rows: list[CommitRow]
    end: int
    end_us: int
    full: bool


async def read_commit_page(
    connection: RawConnection,
    organisations: Collection[UUID] | None,
    first_position: int,
    kinds: Collection[str] | None,
    items: int,
) -> CommitPage:
    """Read rows from a position on.

    Args:
        connection: in a transaction with one snapshot.
        organisations: of these organisations; None: of all.
        first_position: the position of the first row.
        kinds: only rows of these kinds; None: all.
        items: enough items: rows after the one with which this number is reached are left out.
    """
    is_one = organisations is not None and len(organisations) == 1
    owner, newest = (_ONE, _NEWEST_OF_ONE) if is_one else (_ANY, _NEWEST)
    owners = None if organisations is None else list(organisations)
    rows = await connection.fetch(
        _PAGE.format(owner=owner, newest=newest),
        owners,
        first_position,
        None if kinds is None else list(kinds),
        items,
        _ROWS,
        _SCANNED,
    )
    read_at, end = rows[0]["read_at"], rows[0]["newest"] or 0
    found = [_read_row(*row[2:]) for row in rows if row["stream_position"] is not None]
    if len(found) == _ROWS or sum(len(row.keys) for row in found) >= items:
        return CommitPage(read_at, found, found[-1].position, found[-1].positioned_us, full=True)
    if kinds is not None or not is_one:
        last = await connection.fetchrow(_LAST_SCANNED.format(owner=owner), owners, first_position, _SCANNED)
        if last is not None:
            return CommitPage(
                read_at, found, last["stream_position"], from_datetime(last["positioned_at"]), full=True
            )
    return CommitPage(read_at, found, end, from_datetime(read_at), full=False)


def _read_row(  # noqa: PLR0917 (the columns of one table, in their order)
    position: int,
    positioned_at: datetime,
    organisation_id: UUID,
    kind: str,
    keys: bytes,
    times_us: bytes,
    event_ids: Sequence[UUID] | None,
    details: str | None,
) -> CommitRow:
    return CommitRow(
        position,
        from_datetime(positioned_at),
        organisation_id,
        kind,
        unpack_keys(keys),
        unpack_times(times_us),
        event_ids,
        details,
    )
