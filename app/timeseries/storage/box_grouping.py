"""Groups the samples of a batch by box, and finds the boxes whose samples are all new and in order.

Pure arithmetic on columns, without state.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.timeseries.storage.sample_column_encoding import SampleBlock


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
        """The index of each box's first sample in the block."""
        first: NDArray[np.intp] = self.order[self.starts]
        return first

    @property
    def last(self) -> NDArray[np.intp]:
        """The index of each box's last sample in the block."""
        last: NDArray[np.intp] = self.order[self.starts + self.counts - 1]
        return last

    def of(self, place: int) -> list[int]:
        """Return the indexes of one box's samples, in order of arrival."""
        begin = int(self.starts[place])
        found: list[int] = self.order[begin : begin + int(self.counts[place])].tolist()
        return found

    def rows_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the indexes of the samples of the chosen boxes, box by box."""
        rows: NDArray[np.intp] = self.order[np.repeat(chosen, self.counts)]
        return rows


def group_block_by_box(block: SampleBlock) -> BoxGroups:
    """Group a block by box. It has at least one sample."""
    order = np.argsort(block.keys, kind="stable")
    sorted_keys = block.keys[order]
    starts = np.concatenate([[0], np.flatnonzero(sorted_keys[1:] != sorted_keys[:-1]) + 1])
    return BoxGroups(order, starts, np.diff(starts, append=len(order)))


def find_in_order_boxes(
    block: SampleBlock, groups: BoxGroups, newest: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return for each box whether all its samples are in order and newer than the stored ones.

    Args:
        block: the samples.
        groups: the same by box.
        newest: for each box the time of its newest stored sample (µs since the epoch); lower than any time if
            it has none.
    """
    times = block.times[groups.order]
    rising = np.empty(len(times), np.bool_)
    rising[1:] = times[1:] > times[:-1]
    rising[groups.starts] = times[groups.starts] > newest
    return np.logical_and.reduceat(rising, groups.starts)


def reduce_flags_by_box(flags: NDArray[np.bool_], groups: BoxGroups) -> NDArray[np.bool_]:
    """Return for each box whether any of its samples has the flag; `flags` is in block order."""
    return np.logical_or.reduceat(flags[groups.order], groups.starts)
