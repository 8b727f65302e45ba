"""What is due to boxes and sites of which nothing comes: in a transaction of its own, a slice at a time."""

import time
from collections.abc import Collection
from typing import Final
from uuid import UUID

from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.batch_splitter import count_boxes_per_transaction
from app.ingest.pipeline.evaluate_step import apply_due_timers
from app.ingest.pipeline.registry_snapshot import RegisteredBox
from app.ingest.pipeline.rule_context import RuleContextLoader, save_rule_context
from app.ingest.pipeline.sample_steps import load_box_states
from app.rules.engine.threshold_evaluator import BoxRuleSet
from app.timeseries.storage.site_states import find_due_sites, find_sites_with_active_rules

_SLICE: Final = 500
_DUE: Final = "SELECT box_key FROM box_states WHERE due_us <= $1 ORDER BY due_us LIMIT $2"
_NOT_DUE: Final = "UPDATE box_states SET due_us = NULL WHERE box_key = ANY ($1::int[])"


async def process_due_timers(
    context: BatchContext, ripe: Collection[int], sites_to_check: Collection[UUID] | None
) -> tuple[set[int], set[UUID]]:
    """Let what is due happen up to now.

    Args:
        work: an empty batch.
        ripe: keys of boxes to be looked at whether they are due or not, as many as there is room for.
        upset: sites to be looked at likewise, as boxes may have left them; None: all that have anything open.

    Returns:
        Those of `ripe` that need not be looked at again, and the sites that still have to.
    """
    registry, states = context.registry, context.states
    looked = set(sorted(ripe)[:_SLICE])
    # A row may say an earlier time than memory: then it is written anew.
    due = {key for (key,) in await context.connection.fetch(_DUE, context.now_us, _SLICE)}
    # Those first that are due: of them one more waits with each that is read.
    late = due | set(states.ripe(context.now_us)[:_SLICE])
    keys = [*sorted(late), *sorted(looked - late)]
    boxes = [box for key in keys if (box := registry.box(key)) is not None]
    gone = due.difference(box.key for box in boxes)
    if gone:
        await context.connection.execute(_NOT_DUE, sorted(gone))
    chosen = list(zip(boxes, registry.find_rules_of_each(boxes), strict=True))
    chosen = chosen[: count_boxes_per_transaction(chosen, states)]
    left = {box.key for box in boxes[len(chosen) :]}
    context.shared = await load_box_states(context, [box for box, _ in chosen])
    opener = RuleContextLoader(context.connection, registry, states, context.is_consumer, context.now_us)
    context.rule_context = await opener.open(sorted(chosen, key=_key), every=True)
    waiting = sorted(
        await find_sites_with_active_rules(context.connection) if sites_to_check is None else sites_to_check
    )
    sites = {*waiting[:_SLICE], *await find_due_sites(context.connection, context.now_us, _SLICE)}
    await opener.open_sites(context.rule_context, {site_id: _any_of(context, site_id) for site_id in sites})
    found = apply_due_timers(context.rule_context, states, context.now_us)
    context.transitions.extend(transition for _, transition in found)
    await save_rule_context(context.connection, context.rule_context, states)
    for key in due & context.rule_context.slots.keys():
        states.touch(context.rule_context.slots[key])
    await states.save(context.connection, time.monotonic_ns() // 1000, locked=context.shared)
    await states.drop(context.connection, context.shared)
    return looked - left, set(waiting[_SLICE:])


def _key(chosen: tuple[RegisteredBox, BoxRuleSet]) -> int:
    return chosen[0].key


def _any_of(context: BatchContext, site_id: UUID) -> RegisteredBox | None:
    """A box of a site, by which its rules are found."""
    keys = sorted(context.registry.by_site.get(site_id, ()))
    return context.registry.box(keys[0]) if keys else None
