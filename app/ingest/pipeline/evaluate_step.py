"""Applies rules to a batch: the gated ones in arithmetic, the others on a walk, in the order of arrival.

What a rule means is the evaluator's (`app.rules`). A repeat changes no state, nor does what is late.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterator
from operator import itemgetter
from typing import Final

import msgspec
import numpy as np

from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.batch_splitter import LONG_EVALUATION
from app.ingest.pipeline.rule_context import RuleContext
from app.platform.kernel.ids import new_id
from app.rules.engine.stateful_evaluator import (
    BoxEvaluation,
    EvaluatorInput,
    OrderedTransitions,
    StatefulEvaluator,
)
from app.rules.engine.threshold_evaluator import evaluate_box_indexed, prefilter_samples
from app.rules.engine.value_windows import BoxEvent
from app.timeseries.storage.batch_groups import reduce_flags_by_box
from app.timeseries.storage.box_states import BoxStates

_FIRST: Final = -1.0


async def evaluate_rules(work: BatchContext) -> None:
    """Apply each box's rules to what is new, and those on its site as a whole."""
    if work.sole or work.effort < LONG_EVALUATION:
        _evaluate(work)
    else:
        # Others are served by the same process meanwhile.
        await asyncio.to_thread(_evaluate, work)


def _evaluate(work: BatchContext) -> None:
    found = _pass_gates(work)
    if work.walks.tracks:
        found += run_stateful_rules(work.walks, _coming(work))
    # Of one sample first what its gates let through. Stable: otherwise as it was found.
    found.sort(key=itemgetter(0))
    work.transitions.extend(transition for _, transition in found)


def _pass_gates(work: BatchContext) -> OrderedTransitions:
    recalled = work.recalled
    if recalled is None:
        return []
    groups, states, rules = recalled.groups, work.states, recalled.rules
    outside = np.empty(len(recalled.block), np.bool_)
    outside[groups.order] = prefilter_samples(
        recalled.block.matrix[groups.order], recalled.block.used, rules, groups.counts
    )
    concerned = reduce_flags_by_box(outside, groups) | states.busy[recalled.slots]
    found: OrderedTransitions = []
    for place in np.flatnonzero(concerned).tolist():
        slot = int(recalled.slots[place])
        indexes, samples = recalled.fresh_of(place)
        # What is surely new is newer than every watermark.
        marks = {} if recalled.new[place] else states.settle(slot)
        key = recalled.boxes[place].key
        told, changed = evaluate_box_indexed(rules[place], states.rules[slot], marks, samples, key, new_id)
        found += [(_FIRST if index < 0 else indexes[index], transition) for index, transition in told]
        if changed:
            states.rules_changed(slot)
    return found


def _coming(work: BatchContext) -> dict[int, list[EvaluatorInput]]:
    """What came of the boxes that walk, each in the order of arrival."""
    tracks = work.walks.tracks
    coming: dict[int, list[EvaluatorInput]] = {key: [] for key in tracks}
    recalled = work.recalled
    if recalled is not None:
        for place, box in enumerate(recalled.boxes):
            if box.key in tracks:
                indexes, samples = recalled.fresh_of(place)
                coming[box.key] = [
                    EvaluatorInput(index, box.key, time_us, values)
                    for index, (time_us, values) in zip(indexes, samples, strict=True)
                ]
    for place, late in work.new_events:
        box, event, origin = work.events[place]
        if not late and box.key in tracks:
            # Before the first sample of any message after it, and in turn with other events.
            share = (origin + 1) / (len(work.intake.messages) + 1)
            order = bisect_left(work.origins, origin) - 1 + share
            candidates = msgspec.to_builtins(event.candidates)
            seen = BoxEvent(event.time_us, candidates)
            coming[box.key].append(EvaluatorInput(order, box.key, event.time_us, None, (event.type, seen)))
    return coming


def run_stateful_rules(walks: RuleContext, coming: dict[int, list[EvaluatorInput]]) -> OrderedTransitions:
    """Lead what came through the rules that have to see each of it."""
    found: OrderedTransitions = []
    for boxes, walk in _ways(walks):
        seen = [each for key in boxes for each in coming.get(key, ())]
        seen.sort(key=itemgetter(0))
        if seen:
            walk.drop_gone(seen[0].time_us)
        for each in seen:
            walk.take(each)
        found += walk.found
    return found


def apply_due_timers(walks: RuleContext, states: BoxStates, at_us: int) -> OrderedTransitions:
    """Let happen what is due by a time though nothing comes."""
    found: OrderedTransitions = []
    for boxes, walk in _ways(walks):
        walk.drop_gone(at_us)
        for key in boxes:
            due = walks.due_of_box(key, states)
            if due is not None and due <= at_us:
                walk.catch_up_box(key, at_us)
        if walk.site is not None:
            walk.reevaluate_site()
            due = walks.due_of_site(walk.site, states)
            if due is not None and due <= at_us:
                walk.catch_up_site(at_us)
        found += walk.found
    return found


def _ways(walks: RuleContext) -> Iterator[tuple[dict[int, BoxEvaluation], StatefulEvaluator]]:
    """One for each site with rules on it as a whole, with its boxes, and one for each other box."""
    alone = dict(walks.tracks)
    for site in walks.sites.values():
        boxes = {key: alone.pop(key) for key in site.view.members if key in alone}
        yield boxes, StatefulEvaluator(boxes, site, new_id, live=True)
    for key, track in alone.items():
        yield {key: track}, StatefulEvaluator({key: track}, None, new_id, live=True)
