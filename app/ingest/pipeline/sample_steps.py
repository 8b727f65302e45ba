"""The steps that samples take inside a batch's transaction: recall, sift, store, remember, mark.

A batch is taken column by column. Of most boxes all samples are newer than what is stored, and in order:
those go into the hypertable as they are, without being compared with anything. The others go by the careful
path, on which repeats, conflicts and late samples are told apart. Must not know messages or doors.

Boxes whose rules wait for silence alone, which did not come: found in arithmetic, and spared the walk.

Fleets have such a rule on every box, and it has nothing to say as long as samples come.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.ingest.pipeline.batch_context import BatchContext, BatchSamples, UnsharedBoxesError
from app.ingest.pipeline.registry_snapshot import RegisteredBox
from app.ingest.pipeline.rule_context import RuleContextLoader, save_rule_context
from app.timeseries.rollups.stale_marks import collect_unmarked_hours, write_stale_marks
from app.timeseries.storage.batch_groups import find_in_order_boxes, group_block_by_box
from app.timeseries.storage.box_states import NEVER, NO_KIND, BoxStates, compute_grace_end_us
from app.timeseries.storage.late_values import find_late_values
from app.timeseries.storage.sample_columns import (
    compute_metric_bitmasks,
    has_all_metrics,
    make_block,
)
from app.timeseries.storage.sample_writer import SampleRow, append_samples, write_samples


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


# Clocks of several machines differ: a box counts as shared for less long than its row says.
_MARGIN_US: Final = 3_600_000_000


async def load_batch_state(work: BatchContext) -> None:
    """Put the samples into columns, and have the states of all boxes concerned in memory.

    Raises:
        UnsharedBoxesError: this is not the boxes' only writer, and the consumer does not know it yet.
    """
    known = {box.key for box in work.sample_boxes} if work.events else set()
    others = {box.key: box for box, _, _ in work.events if box.key not in known}
    rules = work.registry.rules_of_each(others.values())
    chosen = [(box, its) for box, its in zip(others.values(), rules, strict=True) if its.needs.events]
    # All at once: whoever locks several rows takes them in the order of their keys.
    work.shared = await _recall_samples(work, [box for box, _ in chosen])
    # Of most batches the rules of all boxes are the same few, and none of them has to see every sample.
    recalled = work.recalled
    if recalled is not None and any(
        rules.stateful or rules.across or rules.timed for rules in set(recalled.rules)
    ):
        still = find_boxes_without_silence(recalled, work.states, work.now_us)
        places = np.flatnonzero(~still).tolist()
        chosen += [(recalled.boxes[place], recalled.rules[place]) for place in places]
    if not chosen:
        return
    opener = RuleContextLoader(
        work.connection, work.registry, work.states, work.sole, work.now_us, work.pasts
    )
    work.walks = await opener.open(chosen)


async def _recall_samples(work: BatchContext, others: Sequence[RegisteredBox]) -> frozenset[int]:
    """Have the states of the samples' boxes in memory, and those of others too; returns who is locked."""
    if not work.rows:
        return await load_box_states(work, others)
    block = make_block([box.key for box in work.sample_boxes], work.rows, work.guess)
    groups = group_block_by_box(block)
    boxes = list(map(work.sample_boxes.__getitem__, groups.first.tolist()))
    shared = await load_box_states(work, [*boxes, *others])
    keys = block.keys[groups.first].tolist()
    slots = np.fromiter(map(work.states.slots.__getitem__, keys), np.intp, len(keys))
    recalled = BatchSamples(block, groups, boxes, slots, work.registry.rules_of_each(boxes))
    if not work.careful:
        recalled.new = find_in_order_boxes(block, groups, work.states.newest[slots])
    work.recalled = recalled
    return shared


async def load_box_states(work: BatchContext, boxes: Sequence[RegisteredBox]) -> frozenset[int]:
    """Have the states of boxes in memory; returns the keys of those that others may write to, locked.

    Raises:
        UnsharedBoxesError: this is not the boxes' only writer, and the consumer does not know it yet.
    """
    keys = [box.key for box in boxes]
    if work.sole:
        known = work.registry.shared
        shared = [key for key in keys if known.get(key, 0) > work.now_us] if known else []
    else:
        unshared = [box.key for box in boxes if box.shared_until_us < work.now_us + _MARGIN_US]
        if unshared:
            raise UnsharedBoxesError(unshared)
        shared = keys
    if shared:
        await work.states.drop(work.connection, shared)
        await work.states.recall(work.connection, shared, lock=True)
    await work.states.recall(work.connection, keys)
    return frozenset(shared)


async def store_samples(work: BatchContext) -> None:
    """Write the samples; what is not surely new by the careful path."""
    recalled = work.recalled
    if recalled is None:
        return
    block, groups = recalled.block, recalled.groups
    picked = groups.rows_of(recalled.new)
    await append_samples(work.connection, block, picked)
    work.outcome.stored = len(picked)
    if len(picked) == len(block):
        return
    others = np.sort(groups.rows_of(~recalled.new)).tolist()
    rows = [SampleRow(work.sample_boxes[index].key, *work.rows[index]) for index in others]
    known = {
        recalled.boxes[place].key: work.states.settle(int(recalled.slots[place]))
        for place in np.flatnonzero(~recalled.new).tolist()
    }
    found = await write_samples(work.connection, rows, lambda old: find_late_values(rows, old, known))
    work.outcome.stored += found.stored
    work.outcome.duplicates = [others[place] for place in found.duplicates]
    work.outcome.conflicts = [others[place] for place in found.conflicts]
    recalled.old = frozenset((*work.outcome.duplicates, *work.outcome.conflicts))


async def mark_stale_hours(work: BatchContext) -> None:
    """Mark the hours whose roll-ups do not know of the samples yet."""
    recalled = work.recalled
    if recalled is not None:
        hours = collect_unmarked_hours(
            recalled.block, recalled.groups, recalled.slots, recalled.old, work.states
        )
        await write_stale_marks(work.connection, *hours)


async def update_box_states(work: BatchContext) -> None:
    """Take the samples into the boxes' states, and write back those that are due."""
    states = work.states
    if work.recalled is not None:
        _advance(work, work.recalled)
    await save_rule_context(work.connection, work.walks, states)
    await states.save(work.connection, time.monotonic_ns() // 1000, locked=work.shared)
    # From the end of this transaction on others may write to them. Nobody tells when they no longer can.
    await states.drop(work.connection, work.shared)


def _advance(work: BatchContext, recalled: BatchSamples) -> None:
    groups, states, new = recalled.groups, work.states, recalled.new
    states.advance_in_order(
        recalled.slots[new], recalled.block.times[groups.last][new], groups.counts[new], work.now_us
    )
    _keep_tails(work, recalled)
    for place in np.flatnonzero(~new).tolist():
        slot = int(recalled.slots[place])
        states.settle(slot)
        _, fresh = recalled.fresh_of(place)
        work.late += states.advance_slowly(slot, fresh, int(groups.counts[place]), work.now_us)


def _keep_tails(work: BatchContext, recalled: BatchSamples) -> None:
    """Keep the last sample of each box whose samples are all new, as what its latest values are made of.

    A sample with all the metrics of the one before makes that one superfluous: usual, and quick.
    """
    groups, states, rows = recalled.groups, work.states, work.rows
    kinds = compute_metric_bitmasks(recalled.block)
    places = np.flatnonzero(recalled.new)
    slots = recalled.slots[places]
    of_last = kinds[groups.last[places]]
    before = states.kinds[slots]
    easy = (before == NO_KIND) | (before == of_last)
    if (kinds != kinds[0]).any():
        sorted_kinds = kinds[groups.order]
        same = np.minimum.reduceat(sorted_kinds, groups.starts) == np.maximum.reduceat(
            sorted_kinds, groups.starts
        )
        easy &= same[places]
    last = map(rows.__getitem__, groups.last[places[easy]].tolist())
    deque(map(states.tails.__setitem__, slots[easy].tolist(), last), maxlen=0)  # a loop, at half its price
    for place in places[~easy].tolist():
        slot = int(recalled.slots[place])
        for index in groups.of(place):
            kind = int(kinds[index])
            before_it = int(states.kinds[slot])
            if before_it != NO_KIND and not has_all_metrics(kind, before_it):
                states.settle(slot)
            states.tails[slot] = rows[index]
            states.kinds[slot] = kind
    states.kinds[slots] = of_last
