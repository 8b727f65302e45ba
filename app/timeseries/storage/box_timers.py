"""Finds the boxes whose rule timers are due, and clears the due times of removed boxes."""

from collections.abc import Sequence
from typing import Final

from app.platform.db.database import RawConnection

_DUE: Final = "SELECT box_key FROM box_states WHERE due_us <= $1 ORDER BY due_us LIMIT $2"
_CLEAR: Final = "UPDATE box_states SET due_us = NULL WHERE box_key = ANY ($1::int[])"


async def find_due_boxes(connection: RawConnection, now_us: int, limit: int) -> set[int]:
    """Return the keys of boxes with an expired timer, the earliest first (`now_us`: µs since the epoch)."""
    return {key for (key,) in await connection.fetch(_DUE, now_us, limit)}


async def clear_due_times(connection: RawConnection, keys: Sequence[int]) -> None:
    """Clear the due times of boxes that no longer exist in the registry."""
    await connection.execute(_CLEAR, keys)
