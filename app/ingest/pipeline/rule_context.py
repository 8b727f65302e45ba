"""What rules that have to see every sample need: the views of boxes and sites, made before a batch is stored.

Owns what is read of the past for them, and what is kept of it in memory. A walk begins with what was known
before the batch; therefore everything here comes before the batch's samples and events are written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from app.catalogue.metrics import COLUMNS
from app.ingest.pipeline.history_cache import HistoryCache
from app.ingest.pipeline.registry_snapshot import RegisteredBox, RegistrySnapshot
from app.platform.db.database import RawConnection
from app.rules.engine.snapshot import BoxView, SiteView
from app.rules.engine.stateful_evaluator import BoxEvaluation, SiteEvaluation, find_next_due_us
from app.rules.engine.threshold_evaluator import BoxRuleSet
from app.rules.engine.value_windows import BoxEvent, BoxHistory
from app.timeseries.storage.box_states import BoxStates
from app.timeseries.storage.latest_values import LatestValues
from app.timeseries.storage.rule_lookback import (
    LookbackQuery,
    LookbackRange,
    read_past_events,
    read_past_values,
)
from app.timeseries.storage.site_states import SiteStateRow, lock_site_states, write_site_states

# How many values and events rules may keep to look back at, 16 bytes each; what is beyond is read again.
_KEPT: Final = 16_000_000
# Of so many boxes the past is read by one statement.
_AT_ONCE: Final = 200


@dataclass(slots=True, eq=False)
class RuleContext:
    """The boxes and sites of a batch whose rules have to see every sample.

    Attributes:
        tracks: by box key.
        slots: box key → slot in the states.
        sites: by site, those with rules on them as a whole.
        patience: box key → up to when a box of these sites is to be given time (µs), as it delivers what it
            had kept, else 0; of those that others write to.
    """

    evaluations: dict[int, BoxEvaluation] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)
    sites: dict[UUID, SiteEvaluation] = field(default_factory=dict)
    patience: dict[int, int] = field(default_factory=dict)

    def find_box_due_us(self, key: int, states: BoxStates) -> int | None:
        """When a box has to be looked at though nothing comes (µs): a box that delivers is given time."""
        due = find_next_due_us(self.evaluations[key])
        return None if due is None else max(due, states.patience(self.slots[key]))

    def find_site_due_us(self, site: SiteEvaluation, states: BoxStates) -> int | None:
        """When a site has to be looked at though nothing comes (µs)."""
        due = find_next_due_us(site)
        if due is None:
            return None
        slots = states.slots
        waits = (
            states.patience(slots[key]) if key in slots else self.patience.get(key, 0)
            for key in site.view.members
        )
        return max(due, *waits)


@dataclass(frozen=True, slots=True)
class RuleContextLoader:
    """Opens walks in a transaction.

    Attributes:
        connection: in that transaction.
        registry: boxes, sites and rules.
        states: where the states of the boxes are in memory.
        sole: nobody else writes to boxes that are not shared.
        now_us: the time of arrival.
        pasts: where the pasts of other boxes are kept, if they are.
    """

    connection: RawConnection
    registry: RegistrySnapshot
    states: BoxStates
    is_consumer: bool
    now_us: int
    history_cache: HistoryCache | None = None

    async def open(
        self, boxes: Iterable[tuple[RegisteredBox, BoxRuleSet]], *, every: bool = False
    ) -> RuleContext:
        """Open the walks of those boxes that need one; with `every`, of all of them.

        Args:
            boxes: each once, with its rules; their states are in memory, locked where others write to them.
            every: also where nothing but a sample of a certain metric could change anything.
        """
        states, rule_context = self.states, RuleContext()
        sites: dict[UUID, RegisteredBox | None] = {}
        missing: dict[int, tuple[BoxHistory, LookbackQuery]] = {}
        for box, rules in boxes:
            slot = states.slots[box.key]
            if not (every or rules.walked or rules.across):
                continue
            rule_context.slots[box.key] = slot
            latest, history = states.settle(slot), states.extras.get(slot)
            if history is None and self.history_cache is not None:
                history = self.history_cache.take(box.key, states.totals.get(box.key), rules.needs)
            if history is None:
                history = BoxHistory(rules.needs)
                missing[box.key] = history, _wanted(rules, latest)
            # Put last: what was used longest ago is forgotten first.
            states.extras.pop(slot, None)
            states.extras[slot] = history
            view = BoxView(self.registry.facts(box), latest, history, rules.needs)
            rule_context.evaluations[box.key] = BoxEvaluation(view, rules, states.rules[slot])
            if rules.across:
                sites.setdefault(box.site_id, box)
        await self._fill(missing, {key: rule_context.evaluations[key].view for key in missing})
        await self.open_sites(rule_context, sites)
        return rule_context

    async def open_sites(self, rule_context: RuleContext, sites: Mapping[UUID, RegisteredBox | None]) -> None:
        """Lock the states of sites (given with any of their boxes), and have a look at all their boxes.

        Of a site that has no box (None) no rule is left.
        """
        locked = await lock_site_states(
            self.connection, sorted(site for site in sites if site not in rule_context.sites)
        )
        registry = self.registry
        keys = {site_id: sorted(registry.by_site.get(site_id, ())) for site_id in locked}
        views = await self._look_at(
            rule_context,
            {
                key: box
                for members in keys.values()
                for key in members
                if key not in rule_context.evaluations and (box := registry.box(key)) is not None
            },
        )
        views |= {key: track.view for key, track in rule_context.evaluations.items()}
        for site_id, states in locked.items():
            members = {key: views[key] for key in keys[site_id] if key in views}
            box = sites[site_id]
            across = () if box is None else registry.find_rules_of_each([box])[0].across
            rule_context.sites[site_id] = SiteEvaluation(SiteView(members), across, states)

    async def _look_at(
        self, rule_context: RuleContext, boxes: Mapping[int, RegisteredBox]
    ) -> dict[int, BoxView]:
        """Views of boxes of which nothing came: from memory where nobody else writes, else as committed."""
        states, registry = self.states, self.registry
        own = {key for key in boxes if self.is_consumer and registry.shared.get(key, 0) <= self.now_us}
        await states.recall(self.connection, own)
        latest = {key: states.settle(states.slots[key]) for key in own}
        peeked, patience = await states.peek(self.connection, [key for key in boxes if key not in latest])
        latest |= peeked
        rule_context.patience |= patience
        views: dict[int, BoxView] = {}
        missing: dict[int, tuple[BoxHistory, LookbackQuery]] = {}
        for (key, box), rules in zip(boxes.items(), registry.find_rules_of_each(boxes.values()), strict=True):
            slot = states.slots[key] if key in own else None
            history = None if slot is None else states.extras.get(slot)
            known = latest.get(key, {})
            if history is None:
                history = BoxHistory(rules.needs)
                missing[key] = history, _wanted(rules, known)
                if slot is not None:
                    states.extras[slot] = history
            views[key] = BoxView(registry.facts(box), known, history, rules.needs)
        await self._fill(missing, views)
        return views

    async def _fill(
        self, missing: Mapping[int, tuple[BoxHistory, LookbackQuery]], views: Mapping[int, BoxView]
    ) -> None:
        """Read what histories begin with, some boxes at a time: no statement may take long."""
        keys = list(missing)
        for begin in range(0, len(keys), _AT_ONCE):
            wanted = {key: missing[key][1] for key in keys[begin : begin + _AT_ONCE]}
            for past in await read_past_values(self.connection, wanted):
                missing[past.box_key][0].add(past.column, past.time_us, past.value)
            for event in await read_past_events(self.connection, wanted):
                history, want = missing[event.box_key]
                seen = BoxEvent(event.time_us, event.candidates)
                history.add_event(event.type, seen, want.events[event.type])
                views[event.box_key].events_us[event.type] = event.time_us


def _wanted(rules: BoxRuleSet, latest: LatestValues) -> LookbackQuery:
    """How far back windows reach: each from the newest value of its own metric, which may lag behind."""
    columns: dict[int, LookbackRange] = {}
    for span in rules.needs.spans:
        known = latest.get(COLUMNS[span.column])
        if known is not None:
            newest_us = int(known[1])
            after_us = newest_us - span.window_us
            columns[span.column] = LookbackRange(
                min(after_us, columns.get(span.column, (after_us,))[0]), newest_us
            )
    return LookbackQuery(columns, rules.needs.events)


async def save_rule_context(connection: RawConnection, rule_context: RuleContext, states: BoxStates) -> None:
    """Take what came of walks into the states, and write those of sites."""
    for key, track in rule_context.evaluations.items():
        slot = rule_context.slots[key]
        states.set_due(slot, rule_context.find_box_due_us(key, states))
        if track.changed:
            states.rules_changed(slot)
    await write_site_states(
        connection,
        {
            site_id: SiteStateRow(site.state, rule_context.find_site_due_us(site, states))
            for site_id, site in rule_context.sites.items()
        },
    )


def trim_histories(states: BoxStates, used: RuleContext) -> None:
    """Forget what is kept to look back at, once it is too much, but for the boxes in use."""
    total = sum(map(len, states.extras.values()))
    if total <= _KEPT:
        return
    keep = frozenset(used.slots.values())
    for slot in [slot for slot in states.extras if slot not in keep]:
        total -= len(states.extras.pop(slot))
        if total <= _KEPT:
            return


def cache_histories(history_cache: HistoryCache, states: BoxStates, rule_context: RuleContext) -> None:
    """Keep the pasts of a batch's boxes, once it is committed."""
    for key, track in rule_context.evaluations.items():
        history_cache.put(key, states.totals.get(key), track.rules.needs, track.view.history)
