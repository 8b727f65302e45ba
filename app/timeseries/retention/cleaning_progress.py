"""Records in `retention_states` how far expired data are removed. Only `vigie maintain` writes it.

A row per box and purpose has the day at which the next check begins, and the end of all that was ever
removed. Late samples in a cleaned range reset that day: the worker that summarises their hours calls
`rewind_cleaning_progress`, in the transaction that removes their marks.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from app.platform.db.database import RawConnection
from app.timeseries.rollups.refresh import BoxSpans

_AGAIN: Final = """
UPDATE retention_states s SET next_from = k.first
FROM (SELECT box_key, min(first) AS first FROM unnest($1::int[], $2::timestamptz[]) AS h (box_key, first)
      GROUP BY box_key) AS k
WHERE s.box_key = k.box_key AND s.next_from > k.first
"""
_ADVANCE: Final = """
INSERT INTO retention_states AS s (box_key, purpose, next_from, removed_until)
SELECT $1, p.name, p.until, p.until FROM unnest($2::text[], $3::timestamptz[]) AS p (name, until)
ON CONFLICT (box_key, purpose) DO UPDATE SET next_from = greatest(s.next_from, excluded.next_from),
    removed_until = greatest(s.removed_until, excluded.removed_until)
"""


async def rewind_cleaning_progress(connection: RawConnection, hours: BoxSpans) -> None:
    """Record that samples arrived in these hours: they have to be checked again."""
    if len(hours):
        await connection.execute(_AGAIN, hours.keys, hours.firsts)


async def advance_cleaning_progress(
    connection: RawConnection, key: int, names: Sequence[str], until: Sequence[datetime]
) -> None:
    """Record that a box has no data of these purposes before these times, in the caller's transaction.

    Args:
        connection: in the transaction that removes the data.
        key: the box.
        names: purposes.
        until: the time for each purpose.
    """
    await connection.execute(_ADVANCE, key, names, until)
