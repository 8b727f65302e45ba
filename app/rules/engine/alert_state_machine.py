"""What follows from a rule's verdicts: at rest, pending, firing, and when an alert begins, changes and ends.

Owns the state of a rule on a box, or on a site as a whole. It is kept as JSON by rule key, only where a rule
is not at rest:

    [version, alert, levels]
    [version, alert, levels, evaluated_us]
    alert   null, or [alert_id, sequence, changed_us, pending_since_us, level]; `changed_us`: of its last step
    levels  for each level null (at rest), [0, since_us, count] (pending) or [1, since_us, cleared_us or null]

`evaluated_us` is there where the rule was looked at past all that came (a silence, the end of an event's
window): what was due up to then is done, and is not done again. Such a state is kept of a rule at rest too.

`version` is the one of the rule when the state was entered. A later one means a new name or severity, and
the state goes on; whoever changes a condition removes the state of its rule first. Each level goes its own
way; the alert is of the highest one that fires. Pure: times are those of samples, ids come from the caller.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from app.rules.engine.compiled_conditions import ConditionCause
from app.rules.engine.rule_compiler import CompiledLevel, CompiledRule
from app.rules.engine.snapshot import NEVER
from app.rules.engine.thresholds import ConditionVerdict

RuleStates = dict[str, list[Any]]
"""Rule key → state, as above."""

TransitionReason = Literal["threshold", "escalated", "deescalated", "cleared", "out_of_hours", "rule_gone"]

_PENDING: Final = 0
_FIRING: Final = 1
# The parts of a state without `evaluated_us`.
_PLAIN: Final = 3


class AlertTransition(NamedTuple):
    """An alert fired, changed its severity, or resolved.

    Attributes:
        kind: which of them.
        rule: the rule; None where it no longer applies to the box (`rule_gone`).
        rule_id: the rule's id, in every case.
        box_key: the box, as the caller names it; None where the rule is on the site as a whole.
        time_us: time of the sample, or of the boundary, that did it.
        severity: the alert's severity after it; the last one where it resolves, None for `rule_gone`.
        cause: the part of the condition that decided; None where none did.
        pending_since_us: since when the condition was raised when it fired.
        alert_id: the alert, the same until it resolves.
        sequence: 1 when it fires; counts up (what the database holds is ahead if it was acknowledged).
        reason: why.
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
        """What the cause came to."""
        return None if self.cause is None else self.cause.value


type StateChange = tuple[list[Any] | None, AlertTransition | None]
"""The new state of a rule, None where it is at rest, and the transition, if there is one."""


def split_state(stored: list[Any] | None) -> tuple[list[Any] | None, int]:
    """Give a stored state without `evaluated_us`, None where the rule is at rest; and that time, or NEVER."""
    if stored is None or len(stored) == _PLAIN:
        return stored, NEVER
    return (stored[:_PLAIN] if any(stored[2]) else None), stored[_PLAIN]


def join_state(rule: CompiledRule, held: list[Any] | None, evaluated_us: int) -> list[Any] | None:
    """The contrary of `split_state`."""
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
    """Take a rule from one moment to the next.

    Args:
        rule: the rule.
        held: its state, never changed in place.
        at_us: the moment.
        verdicts: (raises, holds) for each level.
        cause_of: tells the cause, by the index of a level; asked only where something begins or ends.
        new_alert_id: called once for each alert that fires.
        box_key: goes into the transition as it is.
        counts: whether this moment counts as one that finds the condition raised (`repeat`).
    """
    before: Sequence[Any] = _levels(rule, held)
    after = [
        _advance_level(level, state, at_us, verdict, counts=counts)
        for level, state, verdict in zip(rule.levels, before, verdicts, strict=True)
    ]
    alert = None if held is None else held[1]
    if held is not None and all(new is old for new, old in zip(after, before, strict=True)):
        return held, None
    highest = max((place for place, level in enumerate(after) if level and level[0] == _FIRING), default=None)
    if alert is None:
        if highest is None:
            return ([rule.version, None, after] if any(after) else None), None
        since = min(level[1] for level in after if level and level[0] == _FIRING)
        alert = [str(new_alert_id()), 1, at_us, since, highest]
        transition = _make_transition("firing", rule, box_key, at_us, alert, "threshold", cause_of(highest))
        return [rule.version, alert, after], transition
    # A sample that ends a silence may be older than what a tick told of it.
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
        # The state is of another condition, and nobody removed it: go on with what there is of it.
        levels = [*levels, *[None] * len(rule.levels)][: len(rule.levels)]
    return levels


type _LevelState = list[Any] | None


def _advance_level(
    level: CompiledLevel, state: _LevelState, at_us: int, verdict: ConditionVerdict, *, counts: bool
) -> _LevelState:
    """The state of one level after a moment; the same object where nothing changed."""
    raises, holds = verdict
    if state is None or state[0] == _PENDING:
        return state if raises is None else _wait(level, state, at_us, raises=raises, counts=counts)
    if holds is None:
        return state
    _, since, cleared = state
    if holds:
        return state if cleared is None else [_FIRING, since, None]
    if at_us - (at_us if cleared is None else cleared) >= level.keep_us:
        return None
    return [_FIRING, since, at_us] if cleared is None else state


def _wait(level: CompiledLevel, state: _LevelState, at_us: int, *, raises: bool, counts: bool) -> _LevelState:
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
    """Put a rule to rest whose active hours have ended since its state was entered; else leave it."""
    ends = find_hours_end(rule, held)
    if ends is None or ends > at_us:
        return held, None
    alert = held[1]
    if alert is None:
        return None, None
    ended = [alert[0], alert[1] + 1, *alert[2:]]
    # Hours that are others by now may have ended before it began.
    return None, _make_transition("resolved", rule, box_key, max(ends, alert[2]), ended, "out_of_hours", None)


def find_hours_end(rule: CompiledRule, held: list[Any]) -> int | None:
    """When the active hours end in which a state was entered; None where they never do."""
    if rule.hours is None:
        return None
    entered = min(level[1] for level in held[2] if level)
    return rule.hours.next_change(entered) if rule.hours.active(entered) else entered


def resolve_removed_rule(
    key: str, held: Sequence[Any], time_us: int, box_key: int | None
) -> AlertTransition | None:
    """End the state of a rule that is gone."""
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
    """When waiting of the rule's own ends that needs no sample: its hours and, where it is timed, `for`."""
    if held is None:
        if rule.hours is None or not rule.timed or rule.hours.active(after_us):
            return None
        return rule.hours.next_change(after_us)
    ends = find_hours_end(rule, held)
    # Overdue where the site's clock is another by now.
    found = [] if ends is None else [max(ends, after_us + 1)]
    if rule.timed:
        for level, state in zip(rule.levels, _levels(rule, held), strict=True):
            if state and state[0] == _PENDING:
                found.append(state[1] + level.for_us)
            elif state and state[2] is not None:
                found.append(state[2] + level.keep_us)
    return min((due for due in found if due > after_us), default=None)
