"""Schedules the evaluation of rules on indices, and computes the indices that due evaluations need.

A period is evaluated SETTLE_US after its end if all its boxes have sent newer samples. Otherwise it is
evaluated after GRACE_US, if it has a value by then, or later: a box may deliver stored samples late. A rule
on a whole site does not wait for boxes that have been silent for longer.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from app.environmental_indices.period_selection import DatedPeriod
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import US_PER_S
from app.rules.engine.alert_state_machine import find_hours_end
from app.rules.index_rules.index_condition_evaluation import IndexView
from app.rules.index_rules.index_rule_assignments import RuleAssignment
from app.rules.index_rules.index_rule_evaluator import (
    IndexEvaluation,
    PeriodEnd,
    evaluate_index_rule,
    find_newest_period_end,
    list_period_ends,
    select_periods,
)
from app.rules.index_rules.index_rule_repository import IndexRuleState
from app.rules.index_rules.index_selection import IndexQuery, SiteLocality
from app.rules.index_rules.index_values import (
    ALL_TENANTS,
    BoxIndexResults,
    compute_results,
    load_stations,
)

_MINUTE_US: Final = 60 * US_PER_S
SETTLE_US: Final = 2 * _MINUTE_US
"""The delay after the end of a period: samples in transit have arrived by then."""
GRACE_US: Final = 60 * _MINUTE_US
"""How long to wait for a box that has sent nothing newer."""
HORIZON_US: Final = 31 * 24 * 60 * _MINUTE_US
"""Older periods are not evaluated, except the newest one."""
OPEN_US: Final = 7 * 24 * 60 * _MINUTE_US
"""How long an unknown period stays open for a box that delivers stored samples late."""
PERIODS_LIMIT: Final = 200
"""The periods of a rule that one transaction evaluates: more than can be open."""
# Periods end on quarters of an hour: UTC offsets are multiples of 15 minutes.
_QUARTER_US: Final = 15 * _MINUTE_US
_RETRY_US: Final = _MINUTE_US
_UNSETTLED_RETRY_US: Final = 5 * _MINUTE_US


class ScheduledEvaluation(NamedTuple):
    """A due evaluation of a rule.

    Attributes:
        assignment: the rule and its boxes.
        state: its present state.
        moments: the ends of the periods to evaluate.
        until_us: the time up to which active hours end (µs since the epoch).
        seen: all inputs of the evaluation: if they are unchanged, so is the result.
    """

    assignment: RuleAssignment
    state: IndexRuleState
    moments: list[PeriodEnd]
    until_us: int
    seen: tuple[object, ...]


def is_evaluation_due(assignment: RuleAssignment, state: IndexRuleState, clock_us: int) -> bool:
    """Return whether a period or the active hours of a rule are over."""
    until_us = clock_us - SETTLE_US
    return bool(_list_due_ends(assignment, state, until_us)) or _leaves_hours(assignment, state, until_us)


def schedule_evaluation(
    assignment: RuleAssignment, state: IndexRuleState, newest: Mapping[int, int], clock_us: int
) -> tuple[ScheduledEvaluation | None, int]:
    """Schedule the evaluation of a rule.

    Args:
        assignment: the rule and its boxes.
        state: its present state.
        newest: box key → the time of its newest sample (µs), unless it is older than the state.
        clock_us: the present time (µs since the epoch).

    Returns:
        The due evaluation, if any, and the time of the next check (µs since the epoch).
    """
    until_us = clock_us - SETTLE_US
    due_us = find_next_evaluation_us(assignment, state, clock_us)
    heard = [newest.get(box, 0) for box in assignment.boxes]
    moments: list[PeriodEnd] = []
    for end_us in _list_due_ends(assignment, state, until_us):
        if clock_us < end_us + GRACE_US and any(
            heard_us < end_us and (assignment.box is not None or heard_us >= end_us - GRACE_US)
            for heard_us in heard
        ):
            due_us, until_us = min(end_us + GRACE_US, clock_us + _RETRY_US), end_us - 1
            break
        settled = min(heard, default=0) >= end_us or end_us <= clock_us - OPEN_US
        moments.append(PeriodEnd(end_us, settled))
    if moments and not moments[-1].settled:
        due_us = min(due_us, clock_us + _UNSETTLED_RETRY_US)
    leaves = _leaves_hours(assignment, state, until_us)
    if not moments and not leaves:
        return None, due_us
    last_us = moments[-1].end_us if moments else 0
    # Samples after the last moment do not change its result.
    seen = (state, moments[-1:], leaves, *(min(heard_us, last_us) for heard_us in heard))
    return ScheduledEvaluation(assignment, state, moments, until_us, seen), due_us


def find_next_evaluation_us(assignment: RuleAssignment, state: IndexRuleState, clock_us: int) -> int:
    """Find when the next period or the active hours may be over (µs)."""
    until_us = clock_us - SETTLE_US
    next_us = until_us // _QUARTER_US * _QUARTER_US + _QUARTER_US
    ends = None if state.held is None else find_hours_end(assignment.rule, state.held)
    if ends is not None and ends > until_us:
        next_us = min(next_us, ends)
    return next_us + SETTLE_US


def _leaves_hours(assignment: RuleAssignment, state: IndexRuleState, until_us: int) -> bool:
    """Return whether the active hours have ended in which the state of a rule was entered."""
    ends = None if state.held is None else find_hours_end(assignment.rule, state.held)
    return ends is not None and ends <= until_us


def _list_due_ends(assignment: RuleAssignment, state: IndexRuleState, until_us: int) -> list[int]:
    """List the ends of the periods to evaluate, ascending."""
    queries, place = assignment.rule.index_queries, assignment.place
    found = list_period_ends(queries, max(state.judged_us, until_us - HORIZON_US), until_us, place)
    newest = find_newest_period_end(queries, until_us, place)
    if not found and newest > state.judged_us:
        found = [newest]
    return found[:PERIODS_LIMIT]


async def compute_indices(
    database: Database, scheduled: Sequence[ScheduledEvaluation]
) -> dict[int, BoxIndexResults]:
    """Compute the indices that due evaluations read, once per box."""
    requested: dict[int, dict[IndexQuery, dict[int, DatedPeriod]]] = {}
    boxes = {facts.key: facts for each in scheduled for facts in each.assignment.boxes.values()}
    sites: dict[SiteLocality, set[int]] = {}
    for each in scheduled:
        ends = [moment.end_us for moment in each.moments]
        for query, slots in select_periods(
            each.assignment.rule.index_queries, ends, each.assignment.place
        ).items():
            sites.setdefault(each.assignment.place, set()).update(each.assignment.boxes)
            for box in each.assignment.boxes:
                of_box = requested.setdefault(box, {}).setdefault(query, {})
                of_box |= {slot.period.end_us: slot for slot in slots}
    if not requested:
        return {}
    found: dict[int, BoxIndexResults] = {}
    async with database.read() as session:
        await session.execute(ALL_TENANTS)
        stations = await load_stations(session, [boxes[key] for key in requested])
        for place, keys in sites.items():
            queries_by_box = [
                (stations[key], {query: list(slots.values()) for query, slots in requested[key].items()})
                for key in sorted(keys)
            ]
            found |= await compute_results(session, place, queries_by_box)
    return found


def evaluate_scheduled(each: ScheduledEvaluation, results: Mapping[int, BoxIndexResults]) -> IndexEvaluation:
    """Evaluate a rule on the computed indices of its boxes."""
    assignment, (judged_us, held) = each.assignment, each.state
    queries = assignment.rule.index_queries
    views = {
        key: IndexView.of(facts, queries, results.get(key, {})) for key, facts in assignment.boxes.items()
    }
    state = (held, judged_us)
    return evaluate_index_rule(
        assignment.rule, views, assignment.box, state, each.moments, each.until_us, new_id
    )
