"""Loads box states, and writes a batch in its transaction: samples, states, events, alerts and totals.

A batch is processed by column. The samples of most boxes are in order and newer than what is stored: they go
into the hypertable without comparison. Only the other samples are compared with stored ones, to find
duplicates, conflicts and late samples. Late values are stored, with a bit each in `samples.late`; rules do
not evaluate them.

Most fleets have a silence rule on every box. `find_boxes_without_silence` evaluates it by column, so that
boxes which were not silent need no stateful evaluation.
"""

import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.alerts.transition_recorder import record_transitions
from app.catalogue.metrics import COLUMNS
from app.ingest.pipeline.batch_context import BatchContext, BatchSamples, UnsharedBoxesError
from app.ingest.pipeline.batch_tracing import make_event_traces
from app.ingest.pipeline.quota_step import count_quota_usage
from app.ingest.pipeline.registry_snapshot import RegisteredBox
from app.ingest.pipeline.rule_context import RuleContextLoader, save_rule_context
from app.notifications.events.event_traces import use_event_traces
from app.platform.kernel.instants import HOUR_US
from app.registry.box_configurations import store_reported_configs
from app.registry.box_status_writer import store_statuses
from app.timeseries.rollups.stale_marks import collect_unmarked_hours, write_stale_marks
from app.timeseries.storage.box_grouping import find_in_order_boxes, group_block_by_box
from app.timeseries.storage.box_state_cache import NEVER, NO_KIND, BoxStates, compute_grace_end_us
from app.timeseries.storage.event_writer import EventRow, store_events
from app.timeseries.storage.ingest_totals import BatchTotals, add_totals
from app.timeseries.storage.latest_value_merge import LatestValues
from app.timeseries.storage.sample_column_encoding import (
    compute_metric_bitmasks,
    has_all_metrics,
    make_block,
)
from app.timeseries.storage.sample_writer import SampleRow, append_samples, write_samples


def find_late_values(
    rows: Sequence[SampleRow], old: Collection[int], known: Mapping[int, LatestValues]
) -> dict[int, int]:
    """Find the late values among samples.

    Args:
        rows: samples, in their order of arrival.
        old: indexes of samples whose identity is stored already; they change nothing.
        known: box key → its latest values before these samples.

    Returns:
        Index → bitmask of its late metrics, by their index in COLUMNS; only samples that have some.
    """
    newest = {
        key: {name: int(time_us) for name, (_, time_us) in latest.items()} for key, latest in known.items()
    }
    found: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for index, (key, time_us, _, values) in enumerate(rows):
        if index in old or (key, time_us) in seen:
            continue
        seen.add((key, time_us))
        of_box = newest.setdefault(key, {})
        bits = 0
        for column, value in enumerate(values):
            if value is None:
                continue
            name = COLUMNS[column]
            if name in of_box and time_us <= of_box[name]:
                bits |= 1 << column
            else:
                of_box[name] = time_us
        if bits:
            found[index] = bits
    return found


def find_boxes_without_silence(
    batch_samples: BatchSamples, states: BoxStates, now_us: int
) -> NDArray[np.bool_]:
    """Find the boxes whose silence rules cannot change state in this batch, and set their next due times.

    All samples of such a box are new, in order, without a gap longer than its shortest silence, and contain
    all awaited metrics. None of its rules has begun to fire.
    """
    slots, groups, rules = batch_samples.slots, batch_samples.groups, batch_samples.rules
    quiet = np.array([0 if its.quiet is None else its.quiet[0] for its in rules], np.int64)
    still = batch_samples.new & (quiet > 0) & ~states.busy[slots]
    if not still.any():
        return still
    times = batch_samples.block.times[groups.order]
    gaps = np.diff(times, prepend=0)
    newest = states.newest[slots]
    gaps[groups.starts] = np.where(newest == NEVER, 0, times[groups.starts] - newest)
    still &= np.maximum.reduceat(gaps, groups.starts) <= quiet
    columns = {column for its in set(rules) if its.quiet is not None for column in its.quiet[1]} - {None}
    if columns:
        bits = sum(1 << column for column in columns if column is not None)
        # A metric that is missing in the newest sample may have been silent for longer than the box.
        before = states.kinds[slots]
        still &= (before & bits == bits) & (before != NO_KIND)
        kinds = compute_metric_bitmasks(batch_samples.block)[groups.order]
        still &= np.bitwise_and.reduceat(kinds, groups.starts) & bits == bits
    last = batch_samples.block.times[groups.last[still]]
    states.set_dues(
        slots[still], np.maximum(last + quiet[still], compute_grace_end_us(last, np.int64(now_us)))
    )
    return still


# Clocks of machines differ: a box counts as shared for an hour less than its row says.
_MARGIN_US: Final = HOUR_US


async def load_batch_state(context: BatchContext) -> None:
    """Put the samples into columns, and load the states of all their boxes.

    Raises:
        UnsharedBoxesError: other processes write to these boxes, and the consumer does not know it yet.
    """
    known = {box.key for box in context.sample_boxes} if context.events else set()
    others = {box.key: box for box, _, _ in context.events if box.key not in known}
    rules = context.registry.find_rules_of_each(others.values())
    chosen = [(box, its) for box, its in zip(others.values(), rules, strict=True) if its.needs.events]
    # In one statement: rows are locked in the order of their keys, to avoid deadlocks.
    context.shared = await _load_sample_states(context, [box for box, _ in chosen])
    # In most batches all boxes share a few rule sets, none of which is stateful.
    batch_samples = context.batch_samples
    if batch_samples is not None and any(
        rules.stateful or rules.across or rules.timed for rules in set(batch_samples.rules)
    ):
        still = find_boxes_without_silence(batch_samples, context.states, context.now_us)
        positions = np.flatnonzero(~still).tolist()
        chosen += [(batch_samples.boxes[position], batch_samples.rules[position]) for position in positions]
    if not chosen:
        return
    loader = RuleContextLoader(
        context.connection,
        context.registry,
        context.states,
        context.owns_site,
        context.now_us,
        context.history_cache,
    )
    context.rule_context = await loader.open(chosen)


async def _load_sample_states(context: BatchContext, others: Sequence[RegisteredBox]) -> frozenset[int]:
    """Load the states of the samples' boxes and of others; returns the keys of locked boxes."""
    if not context.rows:
        return await load_box_states(context, others)
    block = make_block([box.key for box in context.sample_boxes], context.rows, context.expected_columns)
    groups = group_block_by_box(block)
    boxes = list(map(context.sample_boxes.__getitem__, groups.first.tolist()))
    shared = await load_box_states(context, [*boxes, *others])
    keys = block.keys[groups.first].tolist()
    slots = np.fromiter(map(context.states.slots.__getitem__, keys), np.intp, len(keys))
    batch_samples = BatchSamples(block, groups, boxes, slots, context.registry.find_rules_of_each(boxes))
    if not context.compare_all:
        batch_samples.new = find_in_order_boxes(block, groups, context.states.newest[slots])
    context.batch_samples = batch_samples
    return shared


async def load_box_states(context: BatchContext, boxes: Sequence[RegisteredBox]) -> frozenset[int]:
    """Load the states of boxes; returns the keys of those that other processes may write to, locked.

    Raises:
        UnsharedBoxesError: this process does not own these boxes, and their owner does not know yet that it
            writes to them.
    """
    keys = [box.key for box in boxes]
    foreign = _find_foreign_boxes(context, boxes)
    unshared = [box.key for box in foreign if box.shared_until_us < context.now_us + _MARGIN_US]
    if unshared:
        raise UnsharedBoxesError(unshared)
    if context.is_consumer:
        known = context.registry.shared
        shared = [key for key in keys if known.get(key, 0) > context.now_us] if known else []
    else:
        shared = keys
    if shared:
        await context.states.drop(context.connection, shared)
        await context.states.recall(context.connection, shared, lock=True)
    await context.states.recall(context.connection, keys)
    return frozenset(shared)


def _find_foreign_boxes(context: BatchContext, boxes: Sequence[RegisteredBox]) -> Sequence[RegisteredBox]:
    """Return the boxes of sites that this process does not own, such as those that have just moved."""
    if not context.is_consumer:
        return boxes
    if context.owned is None:
        return ()
    foreign = {site for site in {box.site_id for box in boxes} if not context.owned.owns_site(site)}
    return [box for box in boxes if box.site_id in foreign] if foreign else ()


async def store_samples(context: BatchContext) -> None:
    """Write the samples, and compare those that may be stored already."""
    batch_samples = context.batch_samples
    if batch_samples is None:
        return
    block, groups = batch_samples.block, batch_samples.groups
    picked = groups.rows_of(batch_samples.new)
    await append_samples(context.connection, block, picked)
    context.outcome.stored = len(picked)
    if len(picked) == len(block):
        return
    others = np.sort(groups.rows_of(~batch_samples.new)).tolist()
    rows = [SampleRow(context.sample_boxes[index].key, *context.rows[index]) for index in others]
    known = {
        batch_samples.boxes[position].key: context.states.settle(int(batch_samples.slots[position]))
        for position in np.flatnonzero(~batch_samples.new).tolist()
    }
    found = await write_samples(context.connection, rows, lambda old: find_late_values(rows, old, known))
    context.outcome.stored += found.stored
    context.outcome.duplicates = [others[position] for position in found.duplicates]
    context.outcome.conflicts = [others[position] for position in found.conflicts]
    batch_samples.old = frozenset((*context.outcome.duplicates, *context.outcome.conflicts))


async def mark_stale_hours(context: BatchContext) -> None:
    """Mark the hours whose roll-ups do not include the samples yet."""
    batch_samples = context.batch_samples
    if batch_samples is not None:
        hours = collect_unmarked_hours(
            batch_samples.block, batch_samples.groups, batch_samples.slots, batch_samples.old, context.states
        )
        await write_stale_marks(context.connection, *hours)


async def update_box_states(context: BatchContext) -> None:
    """Update the boxes' states from the samples, and write the states that are due."""
    states = context.states
    if context.batch_samples is not None:
        _advance(context, context.batch_samples)
    await save_rule_context(context.connection, context.rule_context, states)
    await states.save(context.connection, time.monotonic_ns() // 1000, locked=context.shared)
    # After this transaction other processes may write to them, until an unknown time.
    await states.drop(context.connection, context.shared)


def _advance(context: BatchContext, batch_samples: BatchSamples) -> None:
    groups, states, new = batch_samples.groups, context.states, batch_samples.new
    states.advance_in_order(
        batch_samples.slots[new],
        batch_samples.block.times[groups.last][new],
        groups.counts[new],
        context.now_us,
    )
    _cache_last_samples(context, batch_samples)
    for position in np.flatnonzero(~new).tolist():
        slot = int(batch_samples.slots[position])
        states.settle(slot)
        _, fresh = batch_samples.find_new_samples(position)
        context.late += states.advance_slowly(slot, fresh, int(groups.counts[position]), context.now_us)


def _cache_last_samples(context: BatchContext, batch_samples: BatchSamples) -> None:
    """Cache the last sample of each box whose samples are all new, for its latest values.

    A sample with all metrics of the one before replaces it. That is the usual case, and fast.
    """
    groups, states, rows = batch_samples.groups, context.states, context.rows
    kinds = compute_metric_bitmasks(batch_samples.block)
    positions = np.flatnonzero(batch_samples.new)
    slots = batch_samples.slots[positions]
    of_last = kinds[groups.last[positions]]
    before = states.kinds[slots]
    easy = (before == NO_KIND) | (before == of_last)
    if (kinds != kinds[0]).any():
        sorted_kinds = kinds[groups.order]
        same = np.minimum.reduceat(sorted_kinds, groups.starts) == np.maximum.reduceat(
            sorted_kinds, groups.starts
        )
        easy &= same[positions]
    last = map(rows.__getitem__, groups.last[positions[easy]].tolist())
    deque(map(states.tails.__setitem__, slots[easy].tolist(), last), maxlen=0)  # a loop, at half its price
    for position in positions[~easy].tolist():
        slot = int(batch_samples.slots[position])
        for index in groups.of(position):
            kind = int(kinds[index])
            before_it = int(states.kinds[slot])
            if before_it != NO_KIND and not has_all_metrics(kind, before_it):
                states.settle(slot)
            states.tails[slot] = rows[index]
            states.kinds[slot] = kind
    states.kinds[slots] = of_last


async def record_alerts(context: BatchContext) -> None:
    """Write the alerts that changed, with their outbox entries."""
    if context.transitions:
        context.event_traces = make_event_traces(context)
        with use_event_traces(context.event_traces):
            await record_transitions(
                context.connection, context.transitions, boxes=_find_box_ids(context), now=context.now
            )


def _find_box_ids(context: BatchContext) -> dict[int, str]:
    """Return the ids of the boxes that the transitions name, by key."""
    keys = {step.box_key for step in context.transitions}
    keys |= {key for step in context.transitions if step.cause is not None for key in step.cause.boxes}
    found = ((key, context.registry.box(key)) for key in keys if key is not None)
    return {key: box.id for key, box in found if box is not None}


async def write_events(context: BatchContext) -> None:
    """Write the events of boxes."""
    rows = [
        EventRow(
            box.key,
            box.organisation_id,
            event.time_us,
            event.type,
            event.seq,
            event.candidates,
            event.level_db,
            event.clock_error_ms,
            event.spectrum,
            event.count,
            event.state,
        )
        for box, event, _ in context.events
    ]
    context.new_events = await store_events(context.connection, rows, now=context.now)


async def write_statuses(context: BatchContext) -> None:
    """Write the latest status of each box."""
    await store_statuses(context.connection, context.statuses, now=context.now)


async def write_configs(context: BatchContext) -> None:
    """Write the configurations that boxes report."""
    await store_reported_configs(context.connection, context.configs, now=context.now)


async def write_totals(context: BatchContext) -> None:
    """Add the batch to the ingest totals, and the quota usage of each organisation."""
    outcome = context.outcome
    totals = BatchTotals(
        outcome.stored, len(outcome.duplicates), len(outcome.conflicts), len(context.rejections), context.late
    )
    context.usage = count_quota_usage(context)
    await add_totals(context.connection, totals, context.usage, door=context.intake.door, now=context.now)
