"""Finds the boxes whose rule timers are due, and clears the due times of removed boxes."""

from collections.abc import Sequence
from typing import Final

from app.message_log.partitions import OwnedPartitions
from app.platform.db.database import RawConnection

_DUE: Final = "SELECT box_key FROM box_states WHERE due_us <= $1 ORDER BY due_us LIMIT $2"
# Boxes that are gone have no site: any worker may clear their due times.
_DUE_IN_PARTITIONS: Final = """
SELECT s.box_key FROM box_states s LEFT JOIN registry_boxes b ON b.key = s.box_key
WHERE s.due_us <= $1 AND (b.key IS NULL OR site_partition(b.site_id, $3) = ANY ($4::int[]))
ORDER BY s.due_us LIMIT $2
"""
_CLEAR: Final = "UPDATE box_states SET due_us = NULL WHERE box_key = ANY ($1::int[])"


async def find_due_boxes(
    connection: RawConnection, now_us: int, limit: int, owned: OwnedPartitions | None = None
) -> set[int]:
    """Return the keys of boxes with an expired timer, those that expired first if there are too many.

    Args:
        connection: the connection.
        now_us: the time (µs since the epoch).
        limit: the most boxes to return.
        owned: the partitions of the boxes' sites; None for all.
    """
    if owned is None:
        rows = await connection.fetch(_DUE, now_us, limit)
    else:
        rows = await connection.fetch(_DUE_IN_PARTITIONS, now_us, limit, owned.count, owned.numbers)
    return {key for (key,) in rows}


async def clear_due_times(connection: RawConnection, keys: Sequence[int]) -> None:
    """Clear the due times of boxes that no longer exist in the registry."""
    await connection.execute(_CLEAR, keys)
