"""Counts ingested samples in the transaction that stores them, so that the counts match the rows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from app.platform.db.database import RawConnection
from app.registry.settings import SAMPLES


class BatchTotals(NamedTuple):
    """The outcomes of a batch's samples; the first four add up to the number of samples sent."""

    stored: int = 0
    duplicate: int = 0
    conflict: int = 0
    rejected: int = 0
    late: int = 0


class SampleQuotaUsage(NamedTuple):
    """An organisation's use of its sample quota, and the samples refused because of it."""

    stored: int = 0
    refused: int = 0


# One statement for both, to save each batch a round trip.
_ADD: Final = """
WITH totals AS (
    INSERT INTO ingest_totals AS t (day, door, backend, stored, duplicate, conflict, rejected, late)
    VALUES ($1, $2, pg_backend_pid(), $3, $4, $5, $6, $7)
    ON CONFLICT (day, door, backend) DO UPDATE SET
        stored = t.stored + excluded.stored,
        duplicate = t.duplicate + excluded.duplicate,
        conflict = t.conflict + excluded.conflict,
        rejected = t.rejected + excluded.rejected,
        late = t.late + excluded.late
)
INSERT INTO organisation_usage AS u (organisation_id, day, quota, writer, used, refused)
SELECT organisation_id, $1, $8, pg_backend_pid(), used, refused
FROM unnest($9::uuid[], $10::bigint[], $11::bigint[]) AS given (organisation_id, used, refused)
ON CONFLICT (day, organisation_id, quota, writer) DO UPDATE SET
    used = u.used + excluded.used, refused = u.refused + excluded.refused
"""


async def add_totals(
    connection: RawConnection,
    totals: BatchTotals,
    usage: Mapping[UUID, SampleQuotaUsage],
    *,
    door: str,
    now: datetime,
) -> None:
    """Add a batch to the totals of its day (UTC), and to the usage of each organisation.

    Args:
        connection: in the transaction that stores the batch.
        totals: of the whole batch.
        usage: by organisation.
        door: "mqtt" or "http".
        now: determines the day.
    """
    if any(totals):
        stored = [each.stored for each in usage.values()]
        refused = [each.refused for each in usage.values()]
        await connection.execute(_ADD, now.date(), door, *totals, SAMPLES, list(usage), stored, refused)
