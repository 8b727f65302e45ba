"""Advances the alert state of a rule, on a box or a site: at rest, pending or firing. Pure.

The state belongs to a rule on a box, or on a whole site. It is stored as JSON by rule key, unless the rule is
at rest:

    [version, alert, levels]
    [version, alert, levels, evaluated_us]
    alert   null, or [alert_id, sequence, changed_us, pending_since_us, level]; `changed_us`: its last step
    levels  for each level null (at rest), [0, since_us, count] (pending) or [1, since_us, cleared_us or null]

`evaluated_us` exists if a timer evaluated the rule at a time after all of its samples: a silence, or the end
of an event window. Timers that were due until then do not run again. A rule at rest can have it, too.

`version` is the version of the rule when the state was entered. A later version has another name or severity,
and the state continues; a change of a condition must delete the state of its rule first. Each level advances
independently. The alert has the severity of the highest level that fires. Times are measurement times; alert
ids come from the caller.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from app.rules.engine.box_and_site_views import NEVER
from app.rules.engine.condition_leaf_evaluation import ConditionCause
from app.rules.engine.rule_compiler import CompiledLevel, CompiledRule
from app.rules.engine.thresholds import ConditionVerdict

RuleStates = dict[str, list[Any]]
"""Rule key → state, as above."""

TransitionReason = Literal["threshold", "escalated", "deescalated", "cleared", "out_of_hours", "rule_gone"]

_PENDING: Final = 0
_FIRING: Final = 1
# The length of a state without `evaluated_us`.
_BASE_LENGTH: Final = 3


class AlertTransition(NamedTuple):
    """An alert fired, changed its severity, or resolved.

    Attributes:
        kind: the kind of transition.
        rule: the rule; None if it no longer applies to the box (`rule_gone`).
        rule_id: the id of the rule, always.
        box_key: the box, by the caller's key; None for a rule on a whole site.
        time_us: the time of the sample or timer that caused it.
        severity: the severity after it; the last one if it resolves, None for `rule_gone`.
        cause: the part of the condition that decided; None if none did.
        pending_since_us: when the condition began to hold.
        alert_id: the alert; the same until it resolves.
        sequence: 1 when it fires, then increasing. An acknowledgement raises the number in the database only.
        reason: the reason of the transition.
    """

    kind: Literal["firing", "changed", "resolved"]
    rule: CompiledRule | None
    rule_id: UUID
    box_key: int | None
    time_us: int
    severity: str | None
    cause: ConditionCause | None
    pending_since_us: int
    alert_id: UUID
    sequence: int
    reason: TransitionReason

    @property
    def value(self) -> float | None:
        """The value of the cause."""
        return None if self.cause is None else self.cause.value


type StateChange = tuple[list[Any] | None, AlertTransition | None]
"""The new state of a rule, None at rest, and the transition, if any."""


def split_state(stored: list[Any] | None) -> tuple[list[Any] | None, int]:
    """Split a stored state into the state (None at rest) and `evaluated_us` (NEVER if it has none)."""
    if stored is None or len(stored) == _BASE_LENGTH:
        return stored, NEVER
    return (stored[:_BASE_LENGTH] if any(stored[2]) else None), stored[_BASE_LENGTH]


def join_state(rule: CompiledRule, held: list[Any] | None, evaluated_us: int) -> list[Any] | None:
    """Join what `split_state` splits."""
    if evaluated_us == NEVER:
        return held
    return [*(held or (rule.version, None, [None] * len(rule.levels))), evaluated_us]


def advance_state(  # noqa: PLR0917 (called for every sample that may change something, where keywords cost time)
    rule: CompiledRule,
    held: list[Any] | None,
    at_us: int,
    verdicts: Sequence[ConditionVerdict],
    cause_of: Callable[[int], ConditionCause],
    new_alert_id: Callable[[], UUID],
    box_key: int | None,
    *,
    counts: bool = True,
) -> StateChange:
    """Advance the state of a rule to a moment.

    Args:
        rule: the rule.
        held: its state; it is never changed in place.
        at_us: the moment (µs since the epoch).
        verdicts: (raises, holds) for each level.
        cause_of: returns the cause by the index of a level; called only for a transition.
        new_alert_id: called once for each alert that fires.
        box_key: copied into the transition.
        counts: whether this evaluation counts for `repeat`.
    """
    before: Sequence[Any] = _levels(rule, held)
    after = [
        _advance_level(level, state, at_us, verdict, counts=counts)
        for level, state, verdict in zip(rule.levels, before, verdicts, strict=True)
    ]
    alert = None if held is None else held[1]
    if held is not None and all(new is old for new, old in zip(after, before, strict=True)):
        return held, None
    highest = max((index for index, level in enumerate(after) if level and level[0] == _FIRING), default=None)
    if alert is None:
        if highest is None:
            return ([rule.version, None, after] if any(after) else None), None
        since = min(level[1] for level in after if level and level[0] == _FIRING)
        alert = [str(new_alert_id()), 1, at_us, since, highest]
        transition = _make_transition("firing", rule, box_key, at_us, alert, "threshold", cause_of(highest))
        return [rule.version, alert, after], transition
    # A sample that ends a silence may be older than the transition that a timer recorded.
    changed_us = max(at_us, alert[2])
    if highest is None:
        ended = [alert[0], alert[1] + 1, *alert[2:]]
        last = min(alert[4], len(rule.levels) - 1)
        transition = _make_transition("resolved", rule, box_key, changed_us, ended, "cleared", cause_of(last))
        return ([rule.version, None, after] if any(after) else None), transition
    if highest == alert[4]:
        return [held[0] if held else rule.version, alert, after], None
    reason: TransitionReason = "escalated" if highest > alert[4] else "deescalated"
    alert = [alert[0], alert[1] + 1, changed_us, alert[3], highest]
    transition = _make_transition("changed", rule, box_key, changed_us, alert, reason, cause_of(highest))
    return [held[0] if held else rule.version, alert, after], transition


def _levels(rule: CompiledRule, held: list[Any] | None) -> Sequence[Any]:
    if held is None:
        return [None] * len(rule.levels)
    levels: list[Any] = held[2]
    if len(levels) != len(rule.levels):
        # The state is of another condition and was not deleted: reuse the levels that exist.
        levels = [*levels, *[None] * len(rule.levels)][: len(rule.levels)]
    return levels


type _LevelState = list[Any] | None


def _advance_level(
    level: CompiledLevel, state: _LevelState, at_us: int, verdict: ConditionVerdict, *, counts: bool
) -> _LevelState:
    """Advance one level; the same object is returned if nothing changed."""
    raises, holds = verdict
    if state is None or state[0] == _PENDING:
        return (
            state if raises is None else _advance_pending(level, state, at_us, raises=raises, counts=counts)
        )
    if holds is None:
        return state
    _, since, cleared = state
    if holds:
        return state if cleared is None else [_FIRING, since, None]
    if at_us - (at_us if cleared is None else cleared) >= level.keep_us:
        return None
    return [_FIRING, since, at_us] if cleared is None else state


def _advance_pending(
    level: CompiledLevel, state: _LevelState, at_us: int, *, raises: bool, counts: bool
) -> _LevelState:
    if not raises:
        return None
    since, count = (at_us, 1) if state is None else (state[1], state[2])
    if counts and state is not None:
        count = min(count + 1, level.repeat)
    if at_us - since >= level.for_us and count >= level.repeat:
        return [_FIRING, since, None]
    return state if state is not None and state[2] == count else [_PENDING, since, count]


def _make_transition(  # noqa: PLR0917 (what a transition is made of)
    kind: Literal["firing", "changed", "resolved"],
    rule: CompiledRule,
    box_key: int | None,
    at_us: int,
    alert: Sequence[Any],
    reason: TransitionReason,
    cause: ConditionCause | None,
) -> AlertTransition:
    level = min(alert[4], len(rule.levels) - 1)
    return AlertTransition(
        kind,
        rule,
        rule.id,
        box_key,
        at_us,
        rule.levels[level].severity,
        cause,
        alert[3],
        UUID(alert[0]),
        alert[1],
        reason,
    )


def end_active_hours(rule: CompiledRule, held: list[Any], at_us: int, box_key: int | None) -> StateChange:
    """End the state of a rule if its active hours have ended since the state was entered.

    Args:
        rule: the rule.
        held: its state.
        at_us: the moment (µs since the epoch).
        box_key: copied into the transition.
    """
    ends = find_hours_end(rule, held)
    if ends is None or ends > at_us:
        return held, None
    alert = held[1]
    if alert is None:
        return None, None
    ended = [alert[0], alert[1] + 1, *alert[2:]]
    # After a change of the hours, their end may precede the beginning of the alert.
    return None, _make_transition("resolved", rule, box_key, max(ends, alert[2]), ended, "out_of_hours", None)


def find_hours_end(rule: CompiledRule, held: list[Any]) -> int | None:
    """Find when the active hours end in which a state was entered; None without active hours."""
    if rule.hours is None:
        return None
    entered = min(level[1] for level in held[2] if level)
    return rule.hours.next_change(entered) if rule.hours.active(entered) else entered


def resolve_removed_rule(
    key: str, held: Sequence[Any], time_us: int, box_key: int | None
) -> AlertTransition | None:
    """Resolve the alert of a rule that no longer applies; None if it has no alert.

    Args:
        key: the key of the rule.
        held: its state.
        time_us: the present moment (µs since the epoch).
        box_key: copied into the transition.
    """
    alert = held[1]
    if alert is None:
        return None
    alert_id, sequence, changed_us, since, _ = alert
    return AlertTransition(
        "resolved",
        None,
        UUID(key),
        box_key,
        max(time_us, changed_us),
        None,
        None,
        since,
        UUID(alert_id),
        sequence + 1,
        "rule_gone",
    )


def find_timer_due_us(rule: CompiledRule, held: list[Any] | None, after_us: int) -> int | None:
    """Find when the next timer of a rule is due that needs no sample: active hours, `for` if it is timed."""
    if held is None:
        if rule.hours is None or not rule.timed or rule.hours.active(after_us):
            return None
        return rule.hours.next_change(after_us)
    ends = find_hours_end(rule, held)
    # It may be overdue if the time zone of the site changed.
    found = [] if ends is None else [max(ends, after_us + 1)]
    if rule.timed:
        for level, state in zip(rule.levels, _levels(rule, held), strict=True):
            if state and state[0] == _PENDING:
                found.append(state[1] + level.for_us)
            elif state and state[2] is not None:
                found.append(state[2] + level.keep_us)
    return min((due for due in found if due > after_us), default=None)
