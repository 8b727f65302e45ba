"""Boxes whose rules wait for silence alone, which did not come: found in arithmetic, and spared the walk.

Fleets have such a rule on every box, and it has nothing to say as long as samples come.
"""

import numpy as np
from numpy.typing import NDArray

from app.ingest.pipeline.batch_context import BatchSamples
from app.timeseries.storage.box_states import NEVER, NO_KIND, BoxStates, compute_grace_end_us
from app.timeseries.storage.metric_bitmask import compute_metric_bitmasks


def find_boxes_without_silence(recalled: BatchSamples, states: BoxStates, now_us: int) -> NDArray[np.bool_]:
    """Tell of which boxes nothing can come of their silence rules in this batch; says when they are due.

    That is where nothing has begun, all samples are new and in order, none came later after the one before it
    than the shortest silence, and the metrics that are waited for are in each of them.
    """
    slots, groups, rules = recalled.slots, recalled.groups, recalled.rules
    quiet = np.array([0 if its.quiet is None else its.quiet[0] for its in rules], np.int64)
    still = recalled.new & (quiet > 0) & ~states.busy[slots]
    if not still.any():
        return still
    times = recalled.block.times[groups.order]
    gaps = np.diff(times, prepend=0)
    newest = states.newest[slots]
    gaps[groups.starts] = np.where(newest == NEVER, 0, times[groups.starts] - newest)
    still &= np.maximum.reduceat(gaps, groups.starts) <= quiet
    columns = {column for its in set(rules) if its.quiet is not None for column in its.quiet[1]} - {None}
    if columns:
        bits = sum(1 << column for column in columns if column is not None)
        # What is not in the newest sample may have been silent for longer than the box.
        before = states.kinds[slots]
        still &= (before & bits == bits) & (before != NO_KIND)
        kinds = compute_metric_bitmasks(recalled.block)[groups.order]
        still &= np.bitwise_and.reduceat(kinds, groups.starts) & bits == bits
    last = recalled.block.times[groups.last[still]]
    states.set_dues(
        slots[still], np.maximum(last + quiet[still], compute_grace_end_us(last, np.int64(now_us)))
    )
    return still
