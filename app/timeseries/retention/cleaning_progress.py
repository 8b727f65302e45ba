"""How far each box has been cleaned: `retention_states`, written by the maintain role alone.

A row for each box and purpose: the day at which the next look begins, and how far anything was ever removed.
Samples that come late into what was cleaned bring the look back to them: whoever summarises their hours says
so here (`rewind_cleaning_progress`), in the transaction that takes the hours' marks away.
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
    """Note that samples came in these hours: what was cleaned has to be looked at again from there on."""
    if len(hours):
        await connection.execute(_AGAIN, hours.keys, hours.firsts)


async def advance_cleaning_progress(
    connection: RawConnection, key: int, names: Sequence[str], until: Sequence[datetime]
) -> None:
    """Note that a box has nothing of these purposes before these times, in the caller's transaction."""
    await connection.execute(_ADVANCE, key, names, until)
