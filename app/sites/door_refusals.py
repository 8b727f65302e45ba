"""Counts what the doors refuse for its purpose or its content, by day: all that is ever known of it.

Owns how counts are added and folded. Must not know what was refused, nor why it was.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from app.core.database import RawConnection


class DoorRefusal(NamedTuple):
    """What is counted together.

    Attributes:
        organisation_id: whose box it was, or whose key; None where neither is known.
        site_id: where the box stands, where that is known.
        code: one of `app.core.reasons.NEVER_KEPT`.
        purpose: by the catalogue's name, where it is known.
    """

    organisation_id: UUID | None
    site_id: UUID | None
    code: str
    purpose: str | None


# Each connection has rows of its own: doors never wait for each other. In one order, should two share a
# number of a process (one that ended, and was begun anew).
_ADD: Final = """
INSERT INTO door_refusals AS r (day, organisation_id, site_id, door, code, purpose, writer, refused)
SELECT $1, organisation_id, site_id, $2, code, purpose, pg_backend_pid(), refused
FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[])
    AS given (organisation_id, site_id, code, purpose, refused)
ORDER BY organisation_id, site_id, code, purpose
ON CONFLICT ON CONSTRAINT uq_door_refusals DO UPDATE SET refused = r.refused + excluded.refused
"""
# Nobody writes to a past day any more but who began before midnight; that one finds its row gone, and makes
# another, which the next turn folds.
_FOLD: Final = """
WITH past AS (
    DELETE FROM door_refusals WHERE day < $1 AND writer <> 0
    RETURNING day, organisation_id, site_id, door, code, purpose, refused
)
INSERT INTO door_refusals AS r (day, organisation_id, site_id, door, code, purpose, writer, refused)
SELECT day, organisation_id, site_id, door, code, purpose, 0, sum(refused) FROM past
GROUP BY day, organisation_id, site_id, door, code, purpose
ON CONFLICT ON CONSTRAINT uq_door_refusals DO UPDATE SET refused = r.refused + excluded.refused
"""


async def add_door_refusals(
    connection: RawConnection, counts: Mapping[DoorRefusal, int], *, door: str, now: datetime
) -> None:
    """Add to the counts of the day (UTC).

    Args:
        connection: in the transaction of what was taken of the same batch.
        counts: how many of each.
        door: "mqtt" or "http".
        now: says which day it is.
    """
    if counts:
        columns = map(list, zip(*counts, strict=True))
        await connection.execute(_ADD, now.date(), door, *columns, list(counts.values()))


async def fold_door_refusals(connection: RawConnection, now: datetime) -> None:
    """Sum up the days that are over: a row for each thing that is counted, whoever wrote it."""
    await connection.execute(_FOLD, now.date())
