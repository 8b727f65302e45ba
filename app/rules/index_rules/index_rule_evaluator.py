"""Evaluates a rule on an environmental index (such as Lden) at the end of each period. Pure.

Live rules and back-tests use it.

A period is evaluated at its last microsecond, so that it belongs to the active hours that include that
moment: the hour from 17:00 belongs to hours that end at 18:00. The times of transitions are rounded up to the
second.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app.environmental_indices.period_selection import DatedPeriod
from app.platform.kernel.instants import US_PER_S
from app.rules.engine.alert_state_machine import AlertTransition, end_active_hours, find_hours_end
from app.rules.engine.box_and_site_views import SiteView
from app.rules.engine.rule_compiler import CompiledRule
from app.rules.engine.sequential_evaluator import advance_rule
from app.rules.index_rules.index_condition_evaluation import IndexView
from app.rules.index_rules.index_selection import IndexQuery, SiteLocality


class PeriodEnd(NamedTuple):
    """The end of one or more periods (µs); `settled`: their values are final."""

    end_us: int
    settled: bool = True


class IndexEvaluation(NamedTuple):
    """The result of an evaluation: the state, the end of the newest evaluated period, the transitions."""

    held: list[Any] | None
    judged_us: int
    transitions: list[AlertTransition]


def list_period_ends(
    queries: Collection[IndexQuery], after_us: int, until_us: int, place: SiteLocality
) -> list[int]:
    """List the ends of periods in a time range, ascending.

    Args:
        queries: the indices whose periods count.
        after_us: the beginning of the range, excluded (µs since the epoch).
        until_us: the end of the range, included (µs since the epoch).
        place: the time zone and latitude of the site.
    """
    return sorted({slot.period.end_us for query in queries for slot in query.ends(after_us, until_us, place)})


def find_newest_period_end(queries: Collection[IndexQuery], at_us: int, place: SiteLocality) -> int:
    """Find the end of the newest period that is over at an instant (µs)."""
    return max(query.last_over(at_us, place).period.end_us for query in queries)


def select_periods(
    queries: Collection[IndexQuery], moments: Sequence[int], place: SiteLocality
) -> dict[IndexQuery, list[DatedPeriod]]:
    """Select the periods that evaluations at some moments read, ascending."""
    if not moments:
        return {}
    return {
        query: [query.last_over(moments[0], place), *query.ends(moments[0], moments[-1], place)]
        for query in queries
    }


def evaluate_index_rule(  # noqa: PLR0917 (the inputs of an evaluation)
    rule: CompiledRule,
    views: Mapping[int, IndexView],
    key: int | None,
    state: tuple[list[Any] | None, int],
    moments: Sequence[PeriodEnd],
    until_us: int,
    new_alert_id: Callable[[], UUID],
) -> IndexEvaluation:
    """Advance a rule on indices through some moments.

    Args:
        rule: a rule on indices.
        views: box key → its computed indices.
        key: the box; None for a rule on a whole site.
        state: its state, and the end of the newest evaluated period (µs).
        moments: later ends of periods, ascending. An unknown result that is not settled is skipped. It is
            evaluated later, unless a later moment is evaluated first.
        until_us: the time up to which active hours end (µs since the epoch).
        new_alert_id: called once for each alert that fires.
    """
    held, judged_us = state
    found: list[AlertTransition] = []
    for moment in moments:
        at_us = moment.end_us - 1
        # Box counts cannot be reused: a new period changes the results of all boxes.
        view = SiteView(views) if key is None else views[key]  # type: ignore[arg-type]
        if not moment.settled and all(level.node.evaluate(view, at_us)[0] is None for level in rule.levels):
            continue
        held, transitions = advance_rule(rule, view, held, at_us, new_alert_id, key)
        found += transitions
        judged_us = moment.end_us
    ends = None if held is None else find_hours_end(rule, held)
    if held is not None and ends is not None and ends <= until_us:
        held, ended = end_active_hours(rule, held, ends, key)
        found += [] if ended is None else [ended]
        judged_us = max(judged_us, ends)
    return IndexEvaluation(held, judged_us, [_round_times(transition) for transition in found])


def _round_times(transition: AlertTransition) -> AlertTransition:
    return transition._replace(
        time_us=_round_up(transition.time_us), pending_since_us=_round_up(transition.pending_since_us)
    )


def _round_up(at_us: int) -> int:
    return -(-at_us // US_PER_S) * US_PER_S
