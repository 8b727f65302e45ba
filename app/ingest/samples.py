"""The steps that samples take inside a batch's transaction: recall, sift, store, evaluate, remember.

A batch is taken column by column. Of most boxes all samples are newer than what is stored, and in order:
those go into the hypertable as they are, without being compared with anything. The others go by the careful
path, on which repeats, conflicts and late samples are told apart. Must not know messages or doors.
"""

import time
from collections import deque
from typing import Final

import numpy as np

from app.core.ids import new_id
from app.ingest.work import Recalled, UnsharedBoxesError, Work
from app.observations.block import make_block
from app.observations.groups import any_of, group, surely_new
from app.observations.kinds import covers, kinds_of
from app.observations.states import NO_KIND, BoxStates
from app.observations.writer import SampleRow, append_samples, write_samples
from app.rules.evaluator import SiteRules, evaluate_box, may_begin

# Clocks of several machines differ: a box counts as shared for less long than its row says.
_MARGIN_US: Final = 3_600_000_000


async def recall(work: Work) -> None:
    """Put the samples into columns, and have the states of their boxes in memory.

    Raises:
        UnsharedBoxesError: this is not the boxes' only writer, and the consumer does not know it yet.
    """
    if not work.rows:
        return
    block = make_block([box.key for box in work.sample_boxes], work.rows, work.guess)
    groups = group(block)
    boxes = list(map(work.sample_boxes.__getitem__, groups.first.tolist()))
    keys = block.keys[groups.first].tolist()
    if work.sole:
        shared = (
            [key for key in keys if work.registry.shared.get(key, 0) > work.now_us]
            if work.registry.shared
            else []
        )
    else:
        unshared = [box.key for box in boxes if box.shared_until_us < work.now_us + _MARGIN_US]
        if unshared:
            raise UnsharedBoxesError(unshared)
        shared = keys
    if shared:
        await work.states.drop(work.connection, shared)
        await work.states.recall(work.connection, shared, lock=True)
    await work.states.recall(work.connection, keys)
    slots = np.fromiter(map(work.states.slots.__getitem__, keys), np.intp, len(keys))
    work.recalled = Recalled(block, groups, boxes, slots, shared)


async def store(work: Work) -> None:
    """Write the samples; what is not surely new by the careful path."""
    recalled = work.recalled
    if recalled is None:
        return
    block, groups = recalled.block, recalled.groups
    if not work.careful:
        recalled.new = surely_new(block, groups, work.states.newest[recalled.slots])
    picked = groups.rows_of(recalled.new)
    await append_samples(work.connection, block, picked)
    work.outcome.stored = len(picked)
    if len(picked) == len(block):
        return
    others = np.sort(groups.rows_of(~recalled.new)).tolist()
    rows = [SampleRow(work.sample_boxes[index].key, *work.rows[index]) for index in others]
    found = await write_samples(work.connection, rows)
    work.outcome.stored += found.stored
    work.outcome.duplicates = [others[place] for place in found.duplicates]
    work.outcome.conflicts = [others[place] for place in found.conflicts]
    recalled.old = frozenset((*work.outcome.duplicates, *work.outcome.conflicts))


async def evaluate(work: Work) -> None:
    """Apply each site's rules to what is new; a repeat changes no state."""
    recalled = work.recalled
    if recalled is None:
        return
    groups, states = recalled.groups, work.states
    rules = work.registry.rules_of_each(recalled.boxes)
    outside = np.empty(len(recalled.block), np.bool_)
    outside[groups.order] = may_begin(
        recalled.block.matrix[groups.order], recalled.block.used, rules, groups.counts
    )
    concerned = any_of(outside, groups) | states.busy[recalled.slots]
    for place in np.flatnonzero(concerned).tolist():
        _evaluate_box(work, states, place, rules[place])


def _evaluate_box(work: Work, states: BoxStates, place: int, rules: SiteRules) -> None:
    recalled = work.recalled
    if recalled is None:
        raise ValueError("evaluate comes after recall")
    slot = int(recalled.slots[place])
    samples = recalled.fresh_of(place)
    # What is surely new is newer than every watermark.
    marks = {} if recalled.new[place] else states.settle(slot)
    key = recalled.boxes[place].key
    transitions, changed = evaluate_box(rules, states.rules[slot], marks, samples, key, new_id)
    work.transitions.extend(transitions)
    if changed:
        states.rules_changed(slot)


async def remember(work: Work) -> None:
    """Take the samples into the boxes' states, and write back those that are due."""
    recalled = work.recalled
    if recalled is None:
        return
    groups, states, new = recalled.groups, work.states, recalled.new
    states.advance_in_order(
        recalled.slots[new], recalled.block.times[groups.last][new], groups.counts[new], work.now_us
    )
    _keep_tails(work, recalled)
    for place in np.flatnonzero(~new).tolist():
        slot = int(recalled.slots[place])
        states.settle(slot)
        work.late += states.advance_slowly(
            slot, recalled.fresh_of(place), int(groups.counts[place]), work.now_us
        )
    await states.save(work.connection, time.monotonic_ns() // 1000, locked=recalled.shared)
    # From the end of this transaction on others may write to them. Nobody tells when they no longer can.
    await states.drop(work.connection, recalled.shared)


def _keep_tails(work: Work, recalled: Recalled) -> None:
    """Keep the last sample of each box whose samples are all new, as what its latest values are made of.

    A sample with all the metrics of the one before makes that one superfluous: usual, and quick.
    """
    groups, states, rows = recalled.groups, work.states, work.rows
    kinds = kinds_of(recalled.block)
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
            if before_it != NO_KIND and not covers(kind, before_it):
                states.settle(slot)
            states.tails[slot] = rows[index]
            states.kinds[slot] = kind
    states.kinds[slots] = of_last
