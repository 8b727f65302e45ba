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
    work: BatchContext, ripe: Collection[int], upset: Collection[UUID] | None
) -> tuple[set[int], set[UUID]]:
    """Let what is due happen up to now.

    Args:
        work: an empty batch.
        ripe: keys of boxes to be looked at whether they are due or not, as many as there is room for.
        upset: sites to be looked at likewise, as boxes may have left them; None: all that have anything open.

    Returns:
        Those of `ripe` that need not be looked at again, and the sites that still have to.
    """
    registry, states = work.registry, work.states
    looked = set(sorted(ripe)[:_SLICE])
    # A row may say an earlier time than memory: then it is written anew.
    due = {key for (key,) in await work.connection.fetch(_DUE, work.now_us, _SLICE)}
    # Those first that are due: of them one more waits with each that is read.
    late = due | set(states.find_due_boxes(work.now_us)[:_SLICE])
    keys = [*sorted(late), *sorted(looked - late)]
    boxes = [box for key in keys if (box := registry.box(key)) is not None]
    gone = due.difference(box.key for box in boxes)
    if gone:
        await work.connection.execute(_NOT_DUE, sorted(gone))
    chosen = list(zip(boxes, registry.rules_of_each(boxes), strict=True))
    chosen = chosen[: count_boxes_per_transaction(chosen, states)]
    left = {box.key for box in boxes[len(chosen) :]}
    work.shared = await load_box_states(work, [box for box, _ in chosen])
    opener = RuleContextLoader(work.connection, registry, states, work.sole, work.now_us)
    work.walks = await opener.open(sorted(chosen, key=_key), every=True)
    waiting = sorted(await find_sites_with_active_rules(work.connection) if upset is None else upset)
    sites = {*waiting[:_SLICE], *await find_due_sites(work.connection, work.now_us, _SLICE)}
    await opener.open_sites(work.walks, {site_id: _any_of(work, site_id) for site_id in sites})
    found = apply_due_timers(work.walks, states, work.now_us)
    work.transitions.extend(transition for _, transition in found)
    await save_rule_context(work.connection, work.walks, states)
    for key in due & work.walks.slots.keys():
        states.touch(work.walks.slots[key])
    await states.save(work.connection, time.monotonic_ns() // 1000, locked=work.shared)
    await states.drop(work.connection, work.shared)
    return looked - left, set(waiting[_SLICE:])


def _key(chosen: tuple[RegisteredBox, BoxRuleSet]) -> int:
    return chosen[0].key


def _any_of(work: BatchContext, site_id: UUID) -> RegisteredBox | None:
    """A box of a site, by which its rules are found."""
    keys = sorted(work.registry.by_site.get(site_id, ()))
    return work.registry.box(keys[0]) if keys else None
