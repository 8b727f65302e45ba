"""The samples of a batch, box by box: which boxes sent only what is surely new, and what became of each.

Pure arithmetic on columns. Owns no state.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.timeseries.storage.sample_columns import SampleBlock


@dataclass(frozen=True, slots=True, eq=False)
class BoxGroups:
    """A block's samples, grouped by box.

    Attributes:
        order: indexes of the block's samples, box by box, in each box in order of arrival.
        starts: for each box, where in `order` it begins.
        counts: how many samples each box has.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    counts: NDArray[np.int64]

    @property
    def first(self) -> NDArray[np.intp]:
        """For each box the index of its first sample in the block."""
        first: NDArray[np.intp] = self.order[self.starts]
        return first

    @property
    def last(self) -> NDArray[np.intp]:
        """For each box the index of its last sample in the block."""
        last: NDArray[np.intp] = self.order[self.starts + self.counts - 1]
        return last

    def of(self, place: int) -> list[int]:
        """The indexes of one box's samples, in order of arrival."""
        begin = int(self.starts[place])
        found: list[int] = self.order[begin : begin + int(self.counts[place])].tolist()
        return found

    def rows_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The indexes of the samples of the chosen boxes, box by box."""
        rows: NDArray[np.intp] = self.order[np.repeat(chosen, self.counts)]
        return rows


def group_block_by_box(block: SampleBlock) -> BoxGroups:
    """Group a block that has samples."""
    order = np.argsort(block.keys, kind="stable")
    sorted_keys = block.keys[order]
    starts = np.concatenate([[0], np.flatnonzero(sorted_keys[1:] != sorted_keys[:-1]) + 1])
    return BoxGroups(order, starts, np.diff(starts, append=len(order)))


def find_in_order_boxes(
    block: SampleBlock, groups: BoxGroups, newest: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell for each box whether all its samples are in order and newer than all that it had.

    Args:
        block: the samples.
        groups: the same by box.
        newest: for each box the time of the newest sample that is stored, less than any where it has none.
    """
    times = block.times[groups.order]
    rising = np.empty(len(times), np.bool_)
    rising[1:] = times[1:] > times[:-1]
    rising[groups.starts] = times[groups.starts] > newest
    return np.logical_and.reduceat(rising, groups.starts)


def reduce_flags_by_box(flags: NDArray[np.bool_], groups: BoxGroups) -> NDArray[np.bool_]:
    """Tell for each box whether the flag of any of its samples is set; `flags` as the block has them."""
    return np.logical_or.reduceat(flags[groups.order], groups.starts)
