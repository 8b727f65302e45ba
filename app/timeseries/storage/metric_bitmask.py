"""Which metrics a sample has, as a number: the bit of each column of COLUMNS that it fills. Pure.

A number says all there is to say of such a set, so that nothing need be kept of the sets that have come:
boxes choose what they send, and there are more sets than memory.
"""

import numpy as np
from numpy.typing import NDArray

from app.timeseries.storage.sample_columns import SampleBlock


def compute_metric_bitmasks(block: SampleBlock) -> NDArray[np.int64]:
    """The kind of each sample of a block; never negative."""
    bits = np.left_shift(np.int64(1), np.array(block.used, np.int64))
    absent = np.isnan(block.matrix)
    if not absent.any():
        return np.full(len(block), bits.sum(), np.int64)
    kinds: NDArray[np.int64] = ~absent @ bits
    return kinds


def has_all_metrics(later: int, earlier: int) -> bool:
    """Tell whether a sample of the later kind has every metric of the earlier one."""
    return not earlier & ~later
