"""Evaluates rules on the new samples and events of a batch (step `evaluate_rules`).

Plain thresholds are evaluated by column. All other rules see each sample and event in the order of arrival.
Duplicates and late samples change no state. `app.rules` defines what a rule means.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterator
from operator import itemgetter
from typing import Final

import msgspec
import numpy as np

from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.rule_context import RuleContext
from app.ingest.pipeline.transaction_sizing import LONG_EVALUATION
from app.platform.kernel.ids import new_id
from app.rules.engine.sequential_evaluator import (
    BoxEvaluation,
    EvaluatorInput,
    OrderedTransitions,
    SequentialEvaluator,
)
from app.rules.engine.threshold_evaluator import evaluate_box_indexed, prefilter_samples
from app.rules.engine.value_windows import BoxEvent
from app.timeseries.storage.box_grouping import reduce_flags_by_box
from app.timeseries.storage.box_state_cache import BoxStates

_FIRST: Final = -1.0


async def evaluate_rules(context: BatchContext) -> None:
    """Evaluate the rules of each box, and of each site as a whole, on what is new."""
    if context.is_consumer or context.effort < LONG_EVALUATION:
        _evaluate(context)
    else:
        # The same process serves other requests in the meantime.
        await asyncio.to_thread(_evaluate, context)


def _evaluate(context: BatchContext) -> None:
    found = _evaluate_thresholds(context)
    if context.rule_context.evaluations:
        found += run_stateful_rules(context.rule_context, _collect_inputs(context))
    # Thresholds of a sample come before its other rules. The sort is stable.
    found.sort(key=itemgetter(0))
    context.transitions.extend(transition for _, transition in found)


def _evaluate_thresholds(context: BatchContext) -> OrderedTransitions:
    batch_samples = context.batch_samples
    if batch_samples is None:
        return []
    groups, states, rules = batch_samples.groups, context.states, batch_samples.rules
    outside = np.empty(len(batch_samples.block), np.bool_)
    outside[groups.order] = prefilter_samples(
        batch_samples.block.matrix[groups.order], batch_samples.block.used, rules, groups.counts
    )
    concerned = reduce_flags_by_box(outside, groups) | states.busy[batch_samples.slots]
    found: OrderedTransitions = []
    for position in np.flatnonzero(concerned).tolist():
        slot = int(batch_samples.slots[position])
        indexes, samples = batch_samples.find_new_samples(position)
        # Samples that are certain to be new are newer than every watermark.
        marks = {} if batch_samples.new[position] else states.settle(slot)
        key = batch_samples.boxes[position].key
        transitions, changed = evaluate_box_indexed(
            rules[position], states.rules[slot], marks, samples, key, new_id
        )
        found += [(_FIRST if index < 0 else indexes[index], transition) for index, transition in transitions]
        if changed:
            states.rules_changed(slot)
    return found


def _collect_inputs(context: BatchContext) -> dict[int, list[EvaluatorInput]]:
    """Return the samples and events of the boxes with stateful rules, in the order of arrival."""
    evaluations = context.rule_context.evaluations
    inputs: dict[int, list[EvaluatorInput]] = {key: [] for key in evaluations}
    batch_samples = context.batch_samples
    if batch_samples is not None:
        for position, box in enumerate(batch_samples.boxes):
            if box.key in evaluations:
                indexes, samples = batch_samples.find_new_samples(position)
                inputs[box.key] = [
                    EvaluatorInput(index, box.key, time_us, values)
                    for index, (time_us, values) in zip(indexes, samples, strict=True)
                ]
    for position, late, _ in context.new_events:
        box, event, origin = context.events[position]
        if not late and box.key in evaluations:
            # Sorts the event before the first sample of any later message, and in order with other events.
            share = (origin + 1) / (len(context.intake.messages) + 1)
            order = bisect_left(context.origins, origin) - 1 + share
            candidates = msgspec.to_builtins(event.candidates)
            seen = BoxEvent(event.time_us, candidates)
            inputs[box.key].append(EvaluatorInput(order, box.key, event.time_us, None, (event.type, seen)))
    return inputs


def run_stateful_rules(
    rule_context: RuleContext, inputs: dict[int, list[EvaluatorInput]]
) -> OrderedTransitions:
    """Evaluate the rules that must see each sample and event."""
    found: OrderedTransitions = []
    for boxes, evaluator in _make_evaluators(rule_context):
        seen = [each for key in boxes for each in inputs.get(key, ())]
        seen.sort(key=itemgetter(0))
        if seen:
            evaluator.drop_gone(seen[0].time_us)
        for each in seen:
            evaluator.take(each)
        found += evaluator.found
    return found


def apply_due_timers(rule_context: RuleContext, states: BoxStates, at_us: int) -> OrderedTransitions:
    """Evaluate the timers of rules that expire by a time without a sample."""
    found: OrderedTransitions = []
    for boxes, evaluator in _make_evaluators(rule_context):
        evaluator.drop_gone(at_us)
        for key in boxes:
            due = rule_context.find_box_due_us(key, states)
            if due is not None and due <= at_us:
                evaluator.catch_up_box(key, at_us)
        if evaluator.site is not None:
            evaluator.reevaluate_site()
            due = rule_context.find_site_due_us(evaluator.site, states)
            if due is not None and due <= at_us:
                evaluator.catch_up_site(at_us)
        found += evaluator.found
    return found


def _make_evaluators(
    rule_context: RuleContext,
) -> Iterator[tuple[dict[int, BoxEvaluation], SequentialEvaluator]]:
    """Yield one evaluator for each site with site-wide rules, with its boxes, and one for each other box."""
    alone = dict(rule_context.evaluations)
    for site in rule_context.sites.values():
        boxes = {key: alone.pop(key) for key in site.view.members if key in alone}
        yield boxes, SequentialEvaluator(boxes, site, new_id, live=True)
    for key, track in alone.items():
        yield {key: track}, SequentialEvaluator({key: track}, None, new_id, live=True)
