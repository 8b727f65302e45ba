"""Evaluates rules that must see every sample and event in order. Pure.

Such rules depend on more than one value: windows, silence, events, several metrics or several boxes.

Before each sample it runs the timers that were due: a silence that became long enough, an event that left its
window, active hours that ended. Each acts at the time at which it was due, whether a later sample or a tick
triggers it. It reads no clock and no database.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from app.catalogue.metrics import COLUMNS
from app.platform.kernel.instants import DAY_US
from app.rules.engine.alert_state_machine import (
    AlertTransition,
    RuleStates,
    advance_state,
    end_active_hours,
    find_timer_due_us,
    join_state,
    resolve_removed_rule,
    split_state,
)
from app.rules.engine.box_and_site_views import NEVER, BoxView, SiteView
from app.rules.engine.box_rule_set import BoxRuleSet
from app.rules.engine.condition_leaf_evaluation import ConditionCause, ConditionView
from app.rules.engine.rule_compiler import CompiledRule
from app.rules.engine.value_windows import BoxEvent

LAST_ORDER: Final = math.inf
"""The order of transitions that follow all input."""
# How far back the start of active hours may begin an alert. Before a sample: a week, as samples wait while
# Vigie is down. Before a tick: a day, as ticks follow each second.
_BEFORE_SAMPLE_US: Final = 7 * DAY_US
_BEFORE_TICK_US: Final = DAY_US


class EvaluatorInput(NamedTuple):
    """A sample or an event.

    Attributes:
        order: its position in the input; copied to its transitions.
        box_key: the box that sent it.
        time_us: the measurement time (µs since the epoch).
        values: the values of a sample, in the order of COLUMNS.
        event: the type and data of an event.
    """

    order: float
    box_key: int
    time_us: int
    values: Sequence[float | None] | None = None
    event: tuple[str, BoxEvent] | None = None


@dataclass(slots=True, eq=False)
class BoxEvaluation:
    """A box under evaluation: its view, its rules and their states."""

    view: BoxView
    rules: BoxRuleSet
    state: RuleStates
    changed: bool = False


@dataclass(slots=True, eq=False)
class SiteEvaluation:
    """A site under evaluation: its boxes, the rules on the whole site, and their states.

    `clocks`: rule key → the newest time of anything that the rule reads, computed lazily.
    """

    view: SiteView
    rules: Sequence[CompiledRule]
    state: RuleStates
    changed: bool = False
    clocks: dict[str, int] = field(default_factory=dict)


type RuleEvaluation = BoxEvaluation | SiteEvaluation

type OrderedTransitions = list[tuple[float, AlertTransition]]
"""Transitions, each with the order of the input that caused it."""


class SequentialEvaluator:
    """Evaluates the input of one box, or of all boxes of a site, in order.

    Args:
        boxes: the boxes with input or due timers.
        site: the site, if it has rules on the whole site.
        new_alert_id: called once for each alert that fires.
        live: whether alerts notify people. Then active hours that ended long ago begin no alert: a box that
            was silent for years would raise one for each night.
    """

    def __init__(
        self,
        boxes: Mapping[int, BoxEvaluation],
        site: SiteEvaluation | None,
        new_alert_id: Callable[[], UUID],
        *,
        live: bool = False,
    ) -> None:
        self.boxes = boxes
        self.site = site
        self._live = live
        for track in boxes.values():
            track.view.columns = track.rules.watched
        self.found: OrderedTransitions = []
        self._new_alert_id = new_alert_id

    def take(self, seen: EvaluatorInput) -> None:
        """Evaluate a sample or an event. Late input changes nothing."""
        track = self.boxes[seen.box_key]
        view = track.view
        fresh: Sequence[int] = ()
        kind: str | None = None
        if seen.values is not None:
            fresh = view.fresh(seen.time_us, seen.values)
        elif seen.event is not None and view.event_on_time(seen.event[0], seen.time_us):
            kind = seen.event[0]
        if not fresh and kind is None:
            return
        since_us = seen.time_us - _BEFORE_SAMPLE_US
        self._catch_up_box(track, seen.time_us - 1, seen.order, since_us)
        if self.site is not None:
            self._catch_up_site(self.site, seen.time_us - 1, seen.order, since_us)
        refuted = self._refuted(track, fresh)
        if seen.values is not None:
            view.take(seen.time_us, seen.values, fresh)
        elif seen.event is not None:
            view.take_event(*seen.event)
        for rule in track.rules.stateful:
            if not rule.columns.isdisjoint(fresh) or kind in rule.events:
                self._evaluate(rule, track, _clock(rule, track), seen.order, refutes=rule.key in refuted)
        if self.site is not None:
            self._evaluate_site(self.site, view, fresh, kind, seen.order)

    def catch_up(self, until_us: int) -> None:
        """Run all timers that are due up to a time, inclusive."""
        for key in self.boxes:
            self.catch_up_box(key, until_us)
        self.catch_up_site(until_us)

    def catch_up_box(self, key: int, until_us: int) -> None:
        """Run the due timers of one box."""
        self._catch_up_box(self.boxes[key], until_us, LAST_ORDER, until_us - _BEFORE_TICK_US)

    def catch_up_site(self, until_us: int) -> None:
        """Run the due timers of the rules on the whole site."""
        if self.site is not None:
            self._catch_up_site(self.site, until_us, LAST_ORDER, until_us - _BEFORE_TICK_US)

    def reevaluate_site(self) -> None:
        """Evaluate the rules on the whole site again, after its boxes changed.

        Rules at rest that only samples can start wait for the next sample. A process that takes over from a
        crashed one cannot know which of their sites changed.
        """
        site = self.site
        for rule in () if site is None else site.rules:
            if site is None or (_at_rest(rule, site) and not rule.starts_without_input):
                continue
            if (at_us := _find_evaluated_us(rule, site)) != NEVER:
                self._evaluate(rule, site, at_us, LAST_ORDER, counts=False)

    def drop_gone(self, time_us: int) -> None:
        """End the states of rules that no longer apply, threshold rules of boxes included."""
        for track in (*self.boxes.values(), *(() if self.site is None else (self.site,))):
            for key in [key for key in track.state if not _is_known(key, track)]:
                transition = resolve_removed_rule(key, track.state.pop(key), time_us, _key_of(track))
                track.changed = True
                if transition is not None:
                    self.found.append((NEVER, transition))

    def _refuted(self, track: BoxEvaluation, fresh: Sequence[int]) -> frozenset[str]:
        """Find the rules of a box that a timer evaluated during a silence that this sample disproves.

        Rules at rest are not among them: an alert of `not` with a silence would begin again before its end.
        Nor are rules on a whole site: at an earlier time other boxes were not silent yet, so that an alert
        would end and begin again.
        """
        found: set[str] = set()
        for rule in track.rules.stateful:
            if not rule.silences:
                continue
            held, evaluated_us = split_state(track.state.get(rule.key))
            if held is None or evaluated_us == NEVER:
                continue
            if _was_silent(rule, track.view, fresh, evaluated_us):
                found.add(rule.key)
        return frozenset(found)

    def _evaluate_site(
        self, site: SiteEvaluation, view: BoxView, fresh: Sequence[int], kind: str | None, order: float
    ) -> None:
        """Evaluate the rules on the whole site that read the new input of one box."""
        site.view.moved(view.facts.key)
        for rule in site.rules:
            if (not rule.columns.isdisjoint(fresh) or kind in rule.events) and rule.looks_at(view.facts):
                at_us = site.clocks[rule.key] = max(_clock(rule, site), _newest(rule, view))
                self._evaluate(rule, site, at_us, order)

    def _catch_up_box(self, track: BoxEvaluation, until_us: int, order: float, since_us: int) -> None:
        for rule in track.rules.timed:
            self._catch_up(rule, track, until_us, order, since_us)

    def _catch_up_site(self, track: SiteEvaluation, until_us: int, order: float, since_us: int) -> None:
        for rule in track.rules:
            if rule.timed or rule.hours is not None:
                self._catch_up(rule, track, until_us, order, since_us)

    def _catch_up(
        self, rule: CompiledRule, track: RuleEvaluation, until_us: int, order: float, since_us: int
    ) -> None:
        after_us = _find_evaluated_us(rule, track)
        while (due := find_rule_due_us(rule, track, after_us)) is not None and due <= until_us:
            if due < since_us and self._live and rule.hours is not None and _at_rest(rule, track):
                after_us = rule.hours.began(since_us)
                # Stored, else it would stay due for ever.
                track.state[rule.key] = [*(join_state(rule, None, after_us) or ())]
                track.changed = True
                due = find_rule_due_us(rule, track, after_us)
                if due is None or due > until_us:
                    return
                since_us = due
            self._evaluate(rule, track, due, order, counts=False)
            after_us = due

    def _evaluate(
        self,
        rule: CompiledRule,
        track: RuleEvaluation,
        at_us: int,
        order: float,
        *,
        counts: bool = True,
        refutes: bool = False,
    ) -> None:
        """Evaluate a rule at a moment; `refutes`: a sample disproved a silence that the rule waits for."""
        held, evaluated_us = split_state(track.state.get(rule.key))
        # The time of a rule never goes back, even if a timer ran ahead of a sample. The exception is a sample
        # that disproves a silence of its box, and with it the state that the timer entered.
        if not refutes:
            at_us = max(at_us, evaluated_us)
        after, transitions = self._step(rule, track, held, at_us, counts=counts)
        ahead_us = at_us if rule.timed and at_us > _clock(rule, track) else NEVER
        self.found += [(order, transition) for transition in transitions]
        if after is held and ahead_us == evaluated_us:
            return
        track.changed = True
        state = join_state(rule, after, ahead_us)
        if state is None:
            track.state.pop(rule.key, None)
        else:
            track.state[rule.key] = state

    def _step(
        self,
        rule: CompiledRule,
        track: RuleEvaluation,
        held: list[Any] | None,
        at_us: int,
        *,
        counts: bool,
    ) -> tuple[list[Any] | None, list[AlertTransition]]:
        return advance_rule(rule, track.view, held, at_us, self._new_alert_id, _key_of(track), counts=counts)


def advance_rule(  # noqa: PLR0917 (called for every sample)
    rule: CompiledRule,
    view: ConditionView,
    held: list[Any] | None,
    at_us: int,
    new_alert_id: Callable[[], UUID],
    key: int | None,
    *,
    counts: bool = True,
) -> tuple[list[Any] | None, list[AlertTransition]]:
    """Advance a rule to a moment, and return its state and transitions.

    The state is the same object if nothing changed.

    Args:
        rule: the rule.
        view: the view that its conditions read.
        held: its state; None at rest.
        at_us: the moment (µs since the epoch).
        new_alert_id: called once for each alert that fires.
        key: the box; None for a rule on a whole site.
        counts: whether this evaluation counts for `repeat`.
    """
    found: list[AlertTransition] = []
    if rule.hours is not None:
        if held is not None:
            held, transition = end_active_hours(rule, held, at_us, key)
            found += [] if transition is None else [transition]
        if not rule.hours.active(at_us):
            return held, found
    verdicts = [level.node.evaluate(view, at_us) for level in rule.levels]
    if held is None and not any(raises for raises, _ in verdicts):
        return None, found

    def cause(level: int) -> ConditionCause:
        return rule.levels[level].node.cause(view, at_us)

    after, transition = advance_state(rule, held, at_us, verdicts, cause, new_alert_id, key, counts=counts)
    return after, found + ([] if transition is None else [transition])


def _was_silent(rule: CompiledRule, view: BoxView, fresh: Sequence[int], at_us: int) -> bool:
    """Return whether a box was silent at a time, before a sample with these columns arrived."""
    return any(
        (column is None or column in fresh)
        and (last := view.time(column)) != NEVER
        and at_us - last >= quiet_us
        for column, quiet_us in rule.silences
    )


def _at_rest(rule: CompiledRule, track: RuleEvaluation) -> bool:
    return split_state(track.state.get(rule.key))[0] is None


def _is_known(key: str, track: RuleEvaluation) -> bool:
    """Return whether a rule still applies to a box, or to a site with a box that it reads."""
    if isinstance(track, BoxEvaluation):
        return key in track.rules.by_key
    members = track.view.members.values()
    return any(
        rule.key == key and any(rule.looks_at(member.facts) for member in members) for rule in track.rules
    )


def _clock(rule: CompiledRule, track: RuleEvaluation) -> int:
    """The newest time of anything that the rule reads."""
    if isinstance(track, BoxEvaluation):
        return _newest(rule, track.view)
    if rule.key not in track.clocks:
        members = (member for member in track.view.members.values() if rule.looks_at(member.facts))
        track.clocks[rule.key] = max((_newest(rule, member) for member in members), default=NEVER)
    return track.clocks[rule.key]


def _newest(rule: CompiledRule, view: BoxView) -> int:
    if rule.only is not None:
        return view.time(rule.only)
    if len(rule.columns) == len(COLUMNS):
        newest = view.newest_us
    else:
        newest = max((view.time(column) for column in rule.columns), default=NEVER)
    return max((newest, *(view.events_us.get(kind, NEVER) for kind in rule.events)))


def _find_evaluated_us(rule: CompiledRule, track: RuleEvaluation) -> int:
    """Find the time up to which the timers of a rule have run."""
    return max(_clock(rule, track), split_state(track.state.get(rule.key))[1])


def find_rule_due_us(rule: CompiledRule, track: RuleEvaluation, after_us: int) -> int | None:
    """Find the first time after `after_us` at which a timer of a rule is due."""
    if after_us == NEVER:
        # The rule never had input.
        return None
    held, _ = split_state(track.state.get(rule.key))
    found = find_timer_due_us(rule, held, after_us)
    if rule.starts_without_input or (held is not None and rule.timed):
        for level in rule.levels:
            due = level.node.due(track.view, after_us)
            if due is not None and (found is None or due < found):
                found = due
    return found


def find_next_due_us(track: RuleEvaluation) -> int | None:
    """Find the time at which the next timer of a box or a site is due."""
    if isinstance(track, SiteEvaluation):
        rules = [rule for rule in track.rules if rule.timed or rule.hours is not None]
    else:
        rules = list(track.rules.timed)
    dues = [find_rule_due_us(rule, track, _find_evaluated_us(rule, track)) for rule in rules]
    return min((due for due in dues if due is not None), default=None)


def _key_of(track: RuleEvaluation) -> int | None:
    return track.view.facts.key if isinstance(track, BoxEvaluation) else None
