"""Loads the boxes, sites and histories that stateful rules need, before a batch is stored.

It reads the histories that rules look back on. Evaluation starts from the state before the batch, so
everything here happens before its samples and events are written.

The recent values and events of boxes with windowed rules are cached between HTTP requests. Each request locks
the row of its box. If the row has counted other samples since, another process has written and the history is
read again. A request takes its history out of the cache and puts it back after the commit.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from app.catalogue.metrics import COLUMNS
from app.ingest.pipeline.registry_snapshot import RegisteredBox, RegistrySnapshot
from app.platform.db.database import RawConnection
from app.rules.engine.box_and_site_views import BoxView, SiteView
from app.rules.engine.sequential_evaluator import BoxEvaluation, SiteEvaluation, find_next_due_us
from app.rules.engine.threshold_evaluator import BoxRuleSet
from app.rules.engine.value_windows import BoxEvent, BoxHistory, RuleLookback
from app.timeseries.storage.box_state_cache import BoxStates
from app.timeseries.storage.latest_value_merge import LatestValues
from app.timeseries.storage.rule_lookback import (
    LookbackQuery,
    LookbackRange,
    read_past_events,
    read_past_values,
)
from app.timeseries.storage.site_rule_states import SiteStateRow, lock_site_states, write_site_states

# 16 bytes each.
_CACHE_CAPACITY_VALUES: Final = 1_000_000


class _CachedHistory(NamedTuple):
    total: int
    needs: RuleLookback
    history: BoxHistory
    size: int


class HistoryCache:
    """Histories by box key, evicted by least recent use."""

    def __init__(self, limit: int = _CACHE_CAPACITY_VALUES) -> None:
        self._limit = limit
        self._histories: dict[int, _CachedHistory] = {}
        self._size = 0

    def __len__(self) -> int:
        """Return the number of cached boxes."""
        return len(self._histories)

    def take(self, key: int, total: int | None, needs: RuleLookback) -> BoxHistory | None:
        """Remove and return the history of a box, if it is current.

        Args:
            key: the key of the box.
            total: the number of samples that the row of the box has counted.
            needs: the windows and events that the rules look back on.
        """
        cached = self._pop(key)
        if cached is None or cached.total != total or cached.needs != needs:
            return None
        return cached.history

    def put(self, key: int, total: int | None, needs: RuleLookback, history: BoxHistory) -> None:
        """Cache a history that is current at a number of counted samples.

        Histories with events are not cached, because the row does not count events.

        Args:
            key: the key of the box.
            total: the number of samples that the row of the box has counted.
            needs: the windows and events that the rules look back on.
            history: the history after those samples.
        """
        if total is None or needs.events or not needs.spans:
            return
        self._pop(key)
        self._histories[key] = _CachedHistory(total, needs, history, len(history))
        self._size += len(history)
        while self._size > self._limit:
            self._pop(next(iter(self._histories)))

    def forget(self, keys: Iterable[int]) -> None:
        """Remove the histories of these boxes, since their samples may have been erased."""
        for key in keys:
            self._pop(key)

    def _pop(self, key: int) -> _CachedHistory | None:
        cached = self._histories.pop(key, None)
        if cached is not None:
            self._size -= cached.size
        return cached


# Cached values and events, 16 bytes each: 256 MB. Evicted histories are read again.
_STATE_CAPACITY_VALUES: Final = 16_000_000
_BOXES_PER_QUERY: Final = 200


@dataclass(slots=True, eq=False)
class RuleContext:
    """The boxes and sites of a batch whose rules must see every sample.

    Attributes:
        evaluations: the evaluation of each box, by box key.
        slots: box key → slot in the states.
        sites: sites with site-wide rules.
        grace_end_us: box key → until when a box of these sites may deliver its backlog (µs), else 0; only
            boxes
            that other processes write to.
    """

    evaluations: dict[int, BoxEvaluation] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)
    sites: dict[UUID, SiteEvaluation] = field(default_factory=dict)
    grace_end_us: dict[int, int] = field(default_factory=dict)

    def find_box_due_us(self, key: int, states: BoxStates) -> int | None:
        """Return when a timer of a box expires (µs). A box that delivers its backlog gets extra time."""
        due = find_next_due_us(self.evaluations[key])
        return None if due is None else max(due, states.get_grace_end_us(self.slots[key]))

    def find_site_due_us(self, site: SiteEvaluation, states: BoxStates) -> int | None:
        """Return when a timer of a site expires (µs)."""
        due = find_next_due_us(site)
        if due is None:
            return None
        slots = states.slots
        waits = (
            states.get_grace_end_us(slots[key]) if key in slots else self.grace_end_us.get(key, 0)
            for key in site.view.members
        )
        return max(due, *waits)


@dataclass(frozen=True, slots=True)
class RuleContextLoader:
    """Loads rule contexts in a transaction.

    Attributes:
        connection: the connection of that transaction.
        registry: boxes, sites and rules.
        states: the cached states of boxes.
        owns_site: whether this process alone writes to the boxes of a site that are not shared.
        now_us: the time of arrival.
        history_cache: histories of boxes that other processes write to, if they are cached.
    """

    connection: RawConnection
    registry: RegistrySnapshot
    states: BoxStates
    owns_site: Callable[[UUID], bool]
    now_us: int
    history_cache: HistoryCache | None = None

    async def open(
        self, boxes: Iterable[tuple[RegisteredBox, BoxRuleSet]], *, every: bool = False
    ) -> RuleContext:
        """Load the context of the boxes with stateful rules.

        Args:
            boxes: each box once, with its rules. Their states are in memory, and locked if other processes
                write to them.
            every: include boxes whose rules only a sample of a certain metric could change.
        """
        states, rule_context = self.states, RuleContext()
        sites: dict[UUID, RegisteredBox | None] = {}
        missing: dict[int, tuple[BoxHistory, LookbackQuery]] = {}
        for box, rules in boxes:
            slot = states.slots[box.key]
            if not (every or rules.stateful or rules.across):
                continue
            rule_context.slots[box.key] = slot
            latest, history = states.settle(slot), states.extras.get(slot)
            if history is None and self.history_cache is not None:
                history = self.history_cache.take(box.key, states.totals.get(box.key), rules.needs)
            if history is None:
                history = BoxHistory(rules.needs)
                missing[box.key] = history, _build_lookback_query(rules, latest)
            # Moved to the end: the least recently used history is evicted first.
            states.extras.pop(slot, None)
            states.extras[slot] = history
            view = BoxView(self.registry.facts(box), latest, history, rules.needs)
            rule_context.evaluations[box.key] = BoxEvaluation(view, rules, states.rules[slot])
            if rules.across:
                sites.setdefault(box.site_id, box)
        await self._read_histories(missing, {key: rule_context.evaluations[key].view for key in missing})
        await self.open_sites(rule_context, sites)
        return rule_context

    async def open_sites(self, rule_context: RuleContext, sites: Mapping[UUID, RegisteredBox | None]) -> None:
        """Lock the states of sites and load views of all their boxes.

        Args:
            rule_context: the context that is extended.
            sites: each site with any of its boxes; None for a site without boxes, which has no rules.
        """
        locked = await lock_site_states(
            self.connection, sorted(site for site in sites if site not in rule_context.sites)
        )
        registry = self.registry
        keys = {site_id: sorted(registry.by_site.get(site_id, ())) for site_id in locked}
        views = await self._load_other_views(
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

    async def _load_other_views(
        self, rule_context: RuleContext, boxes: Mapping[int, RegisteredBox]
    ) -> dict[int, BoxView]:
        """Build views of boxes without new samples: from memory if possible, else as committed."""
        states, registry = self.states, self.registry
        own = {
            key
            for key, box in boxes.items()
            if self.owns_site(box.site_id) and registry.shared.get(key, 0) <= self.now_us
        }
        await states.recall(self.connection, own)
        latest = {key: states.settle(states.slots[key]) for key in own}
        peeked, grace_end_us = await states.peek(self.connection, [key for key in boxes if key not in latest])
        latest |= peeked
        rule_context.grace_end_us |= grace_end_us
        views: dict[int, BoxView] = {}
        missing: dict[int, tuple[BoxHistory, LookbackQuery]] = {}
        for (key, box), rules in zip(boxes.items(), registry.find_rules_of_each(boxes.values()), strict=True):
            slot = states.slots[key] if key in own else None
            history = None if slot is None else states.extras.get(slot)
            known = latest.get(key, {})
            if history is None:
                history = BoxHistory(rules.needs)
                missing[key] = history, _build_lookback_query(rules, known)
                if slot is not None:
                    states.extras[slot] = history
            views[key] = BoxView(registry.facts(box), known, history, rules.needs)
        await self._read_histories(missing, views)
        return views

    async def _read_histories(
        self, missing: Mapping[int, tuple[BoxHistory, LookbackQuery]], views: Mapping[int, BoxView]
    ) -> None:
        """Read the missing histories, 200 boxes per statement so that no statement takes long."""
        keys = list(missing)
        for begin in range(0, len(keys), _BOXES_PER_QUERY):
            queries = {key: missing[key][1] for key in keys[begin : begin + _BOXES_PER_QUERY]}
            for value in await read_past_values(self.connection, queries):
                missing[value.box_key][0].add(value.column, value.time_us, value.value)
            for event in await read_past_events(self.connection, queries):
                history, query = missing[event.box_key]
                seen = BoxEvent(event.time_us, event.candidates)
                history.add_event(event.type, seen, query.events[event.type])
                views[event.box_key].events_us[event.type] = event.time_us


def _build_lookback_query(rules: BoxRuleSet, latest: LatestValues) -> LookbackQuery:
    """Build the query of a history: each window reaches back from the newest value of its own metric."""
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
    """Copy the results of the evaluation to the states, and write the states of sites."""
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
    """Evict cached histories above the limit, except those in use."""
    total = sum(map(len, states.extras.values()))
    if total <= _STATE_CAPACITY_VALUES:
        return
    keep = frozenset(used.slots.values())
    for slot in [slot for slot in states.extras if slot not in keep]:
        total -= len(states.extras.pop(slot))
        if total <= _STATE_CAPACITY_VALUES:
            return


def cache_histories(history_cache: HistoryCache, states: BoxStates, rule_context: RuleContext) -> None:
    """Cache the histories of a batch's boxes after its commit."""
    for key, track in rule_context.evaluations.items():
        history_cache.put(key, states.totals.get(key), track.rules.needs, track.view.history)
