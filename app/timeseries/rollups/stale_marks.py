"""Records which hours of boxes have samples that their roll-ups do not include yet.

A mark is written in the transaction that stores the samples, and removed in the transaction that writes the
roll-up. A reader that sees a sample therefore also sees its mark. It reads the samples of marked hours, and
is correct at any time.

Marks in every batch would be almost one row per sample of a live fleet. The consumer therefore caches the
hour that it marked last for each box, and writes a mark only when the box reaches another hour. Since marks
are removed, this cache can be stale. So the worker first increments `registry.marks_epoch`, waits for the
transactions that may not have seen that (`MarkEpochs`), and removes only marks of earlier epochs. The
consumer clears its cache when the epoch has changed, and writes the mark again with the new epoch.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from app.platform.db.advisory_lock_keys import INGEST_BARRIER
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import HOUR_US
from app.timeseries.storage.box_grouping import BoxGroups
from app.timeseries.storage.box_state_cache import UNMARKED, BoxStates, Slots
from app.timeseries.storage.sample_column_encoding import SampleBlock

_BITS: Final = 32

# In key order, the order in which the worker locks marks.
_MARK: Final = """
INSERT INTO rollup_marks AS m (box_key, hour, epoch)
SELECT k.box_key, 'epoch'::timestamptz + k.hour * interval '1 hour', r.marks_epoch
FROM registry r, unnest($1::int[], $2::int[]) AS k (box_key, hour)
ORDER BY k.box_key, k.hour
ON CONFLICT (box_key, hour) DO UPDATE SET epoch = excluded.epoch
"""
_CLOSE: Final = "UPDATE registry SET marks_epoch = marks_epoch + 1 RETURNING marks_epoch - 1"
# Transactions that hold the ingest barrier, found by the two halves of its number. Each reads the epoch after
# passing it.
_UNDER_WAY: Final = f"""
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = {INGEST_BARRIER >> 32} AND objid::bigint = {INGEST_BARRIER & 0xFFFFFFFF}
"""  # noqa: S608 (a constant)


def collect_unmarked_hours(
    block: SampleBlock, groups: BoxGroups, slots: Slots, old: frozenset[int], states: BoxStates
) -> tuple[list[int], list[int]]:
    """Return the hours of a batch that have to be marked, and cache them in the states.

    Args:
        block: the samples.
        groups: the same by box.
        slots: the slot of each box's state.
        old: indexes of samples that were not stored.
        states: has the hour last marked for each box.

    Returns:
        Keys of boxes, and hours since the epoch: parallel, each pair once, in order.
    """
    hours = block.times[groups.order] // HOUR_US
    fresh = hours != np.repeat(states.marked[slots], groups.counts)
    if old:
        fresh &= ~np.isin(groups.order, list(old))
    if not fresh.any():
        return [], []
    pairs = np.unique((block.keys[groups.order].astype(np.int64)[fresh] << _BITS) | hours[fresh])
    # The hour of a box's last stored sample is marked now, or was before.
    last_is_fresh = fresh[groups.starts + groups.counts - 1]
    states.marked[slots[last_is_fresh]] = hours[groups.starts + groups.counts - 1][last_is_fresh]
    return (pairs >> _BITS).tolist(), (pairs & ((1 << _BITS) - 1)).tolist()


async def write_stale_marks(connection: RawConnection, keys: Sequence[int], hours: Sequence[int]) -> None:
    """Mark hours of boxes, in the transaction that stores their samples.

    Args:
        connection: in that transaction.
        keys: boxes.
        hours: since the epoch; parallel.
    """
    if keys:
        await connection.execute(_MARK, keys, hours)


class MarkEpochs:
    """Ends epochs of marks without blocking ingest; for the one process that removes marks."""

    def __init__(self) -> None:
        self.ended = -1
        self._ending = -1
        self._under_way: set[str] = set()

    async def end(self, connection: RawConnection) -> bool:
        """End the epoch, or check whether all transactions that may not know of its end are over.

        Returns:
            Whether marks up to `ended` may be removed. Otherwise call it again soon.
        """
        if self._ending <= self.ended:
            self._ending = int(await connection.fetchval(_CLOSE))
            self._under_way = await self._read_under_way(connection)
        elif self._under_way:
            self._under_way &= await self._read_under_way(connection)
        if self._under_way:
            return False
        self.ended = self._ending
        return True

    @staticmethod
    async def _read_under_way(connection: RawConnection) -> set[str]:
        return {row[0] for row in await connection.fetch(_UNDER_WAY)}


def sync_marks_epoch(states: BoxStates, epoch: int) -> None:
    """Clear the cached marks if they are of another epoch."""
    if states.marks_epoch != epoch:
        states.marked[:] = UNMARKED
        states.marks_epoch = epoch
