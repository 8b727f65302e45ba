"""Marks: which hours of which boxes have samples that their summaries do not know yet.

A mark is written in the transaction that stores the samples. So whoever sees a sample sees its mark, until
the summary that has the sample in it is committed, which takes the mark away. Readers look at the samples
themselves in marked hours, and are right at any moment.

A mark for every batch would be a row for almost every sample of a live fleet. The consumer therefore keeps
in mind the hour that it has marked last for each box, and says nothing until the box comes to another one.
Marks are taken away, so what is kept in mind can be wrong: whoever is about to take some counts up
`registry.marks_epoch` first, waits for the transactions that may not have seen that (`MarkEpochs`), and takes
only marks of earlier epochs. The consumer forgets what it keeps in mind when the epoch has moved, and writes
the same mark with the new epoch.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from app.platform.db.advisory_locks import INGEST_BARRIER
from app.platform.db.database import RawConnection
from app.timeseries.storage.batch_groups import BoxGroups
from app.timeseries.storage.box_states import UNMARKED, BoxStates, Slots
from app.timeseries.storage.sample_columns import SampleBlock

HOUR_US: Final = 3_600_000_000
_BITS: Final = 32

# In the order of the keys, as whoever takes marks away locks them.
_MARK: Final = """
INSERT INTO rollup_marks AS m (box_key, hour, epoch)
SELECT k.box_key, 'epoch'::timestamptz + k.hour * interval '1 hour', r.marks_epoch
FROM registry r, unnest($1::int[], $2::int[]) AS k (box_key, hour)
ORDER BY k.box_key, k.hour
ON CONFLICT (box_key, hour) DO UPDATE SET epoch = excluded.epoch
"""
_CLOSE: Final = "UPDATE registry SET marks_epoch = marks_epoch + 1 RETURNING marks_epoch - 1"
# Who has passed the gate, by the two halves of its number: each reads the epoch after that.
_UNDER_WAY: Final = f"""
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = {INGEST_BARRIER >> 32} AND objid::bigint = {INGEST_BARRIER & 0xFFFFFFFF}
"""  # noqa: S608 (a constant)


def collect_unmarked_hours(
    block: SampleBlock, groups: BoxGroups, slots: Slots, old: frozenset[int], states: BoxStates
) -> tuple[list[int], list[int]]:
    """The hours of a batch that are to be marked, and have the states keep them in mind.

    Args:
        block: the samples.
        groups: the same by box.
        slots: where the state of each box is.
        old: indexes of samples that were not stored.
        states: knows the hour that each box was marked for last.

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
    # The last sample of a box that is stored is marked now, or was before.
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
    """Ends epochs of marks without holding up anybody: for the one process that takes marks away."""

    def __init__(self) -> None:
        self.ended = -1
        self._ending = -1
        self._under_way: set[str] = set()

    async def end(self, connection: RawConnection) -> bool:
        """End the epoch, or see whether that is done: whether all who may not know of it are through.

        Returns:
            Whether marks up to `ended` may be taken away. Otherwise ask again soon.
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
    """Keep nothing in mind of another epoch than this one."""
    if states.marks_epoch != epoch:
        states.marked[:] = UNMARKED
        states.marks_epoch = epoch
