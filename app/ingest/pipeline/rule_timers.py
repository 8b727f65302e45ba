"""Evaluates rules whose timers expire without a new sample, some boxes and sites per transaction."""

import time
from collections.abc import Collection
from typing import Final
from uuid import UUID

from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.evaluate_step import apply_due_timers
from app.ingest.pipeline.registry_snapshot import RegisteredBox
from app.ingest.pipeline.rule_context import RuleContextLoader, save_rule_context
from app.ingest.pipeline.storage_steps import load_box_states
from app.ingest.pipeline.transaction_sizing import count_boxes_per_transaction
from app.rules.engine.threshold_evaluator import BoxRuleSet
from app.timeseries.storage.box_timers import clear_due_times, find_due_boxes
from app.timeseries.storage.site_rule_states import find_due_sites, find_sites_with_active_rules

_SLICE: Final = 500


async def process_due_timers(
    context: BatchContext, boxes_to_check: Collection[int], sites_to_check: Collection[UUID] | None
) -> tuple[set[int], set[UUID]]:
    """Process the timers that are due, of boxes and of sites.

    Args:
        context: an empty batch.
        boxes_to_check: keys of boxes to evaluate even if they are not due, as many as fit.
        sites_to_check: sites to evaluate likewise, since boxes may have left them; None for all with active
            rules.

    Returns:
        The boxes of `boxes_to_check` that are done, and the sites that remain.
    """
    registry, states = context.registry, context.states
    checked = set(sorted(boxes_to_check)[:_SLICE])
    partitions = context.owned
    # A row may have an earlier time than memory: then it is written again.
    due = await find_due_boxes(context.connection, context.now_us, _SLICE, partitions)
    # Due boxes come first. Otherwise they could accumulate behind the boxes to check.
    late = due | set(states.find_due_boxes(context.now_us)[:_SLICE])
    keys = [*sorted(late), *sorted(checked - late)]
    boxes = [box for key in keys if (box := registry.box(key)) is not None and context.owns_site(box.site_id)]
    gone = {key for key in due if registry.box(key) is None}
    if gone:
        await clear_due_times(context.connection, sorted(gone))
    chosen = list(zip(boxes, registry.find_rules_of_each(boxes), strict=True))
    chosen = chosen[: count_boxes_per_transaction(chosen, states)]
    left = {box.key for box in boxes[len(chosen) :]}
    context.shared = await load_box_states(context, [box for box, _ in chosen])
    loader = RuleContextLoader(context.connection, registry, states, context.owns_site, context.now_us)
    context.rule_context = await loader.open(sorted(chosen, key=_key), every=True)
    pending_sites = sorted(
        await find_sites_with_active_rules(context.connection, partitions)
        if sites_to_check is None
        else filter(context.owns_site, sites_to_check)
    )
    due_sites = await find_due_sites(context.connection, context.now_us, _SLICE, partitions)
    sites = {*pending_sites[:_SLICE], *due_sites}
    await loader.open_sites(
        context.rule_context, {site_id: _find_any_box(context, site_id) for site_id in sites}
    )
    found = apply_due_timers(context.rule_context, states, context.now_us)
    context.transitions.extend(transition for _, transition in found)
    await save_rule_context(context.connection, context.rule_context, states)
    for key in due & context.rule_context.slots.keys():
        states.touch(context.rule_context.slots[key])
    await states.save(context.connection, time.monotonic_ns() // 1000, locked=context.shared)
    await states.drop(context.connection, context.shared)
    return checked - left, set(pending_sites[_SLICE:])


def _key(chosen: tuple[RegisteredBox, BoxRuleSet]) -> int:
    return chosen[0].key


def _find_any_box(context: BatchContext, site_id: UUID) -> RegisteredBox | None:
    """Return any box of a site; its rule set has the site-wide rules."""
    keys = sorted(context.registry.by_site.get(site_id, ()))
    return context.registry.box(keys[0]) if keys else None
