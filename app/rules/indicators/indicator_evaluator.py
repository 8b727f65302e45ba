"""A rule on indices, period by period: the same for what is judged now and for what is tried again. Pure.

A period is judged at its end. To the rule's hours it belongs with its last moment: the hour from 17:00 is
within hours that end at 18:00. So the machine of levels is told that moment, a microsecond before the end;
what is told of it is rounded up to the second.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app.indicators.period_selection import DatedPeriod
from app.platform.kernel.instants import US_PER_S
from app.rules.engine.alert_state_machine import AlertTransition, end_active_hours, find_hours_end
from app.rules.engine.rule_compiler import CompiledRule
from app.rules.engine.snapshot import SiteView
from app.rules.engine.stateful_evaluator import advance_rule
from app.rules.indicators.indicator_conditions import IndexView
from app.rules.indicators.indicator_query import IndexQuery, SiteLocality


class PeriodEnd(NamedTuple):
    """The end of one or more periods (µs); `settled`: more of them is not waited for."""

    end_us: int
    settled: bool = True


class IndexEvaluation(NamedTuple):
    """Where a rule is after some moments: its state, the end of the newest period judged, what is told."""

    held: list[Any] | None
    judged_us: int
    transitions: list[AlertTransition]


def list_period_ends(
    queries: Collection[IndexQuery], after_us: int, until_us: int, place: SiteLocality
) -> list[int]:
    """The ends of all periods after an instant, and at or before another one, ascending."""
    return sorted({slot.period.end_us for query in queries for slot in query.ends(after_us, until_us, place)})


def find_newest_period_end(queries: Collection[IndexQuery], at_us: int, place: SiteLocality) -> int:
    """The end of the newest period that is over at an instant."""
    return max(query.last_over(at_us, place).period.end_us for query in queries)


def select_periods(
    queries: Collection[IndexQuery], moments: Sequence[int], place: SiteLocality
) -> dict[IndexQuery, list[DatedPeriod]]:
    """The periods that are looked at at some moments, ascending."""
    if not moments:
        return {}
    return {
        query: [query.last_over(moments[0], place), *query.ends(moments[0], moments[-1], place)]
        for query in queries
    }


def evaluate_index_rule(  # noqa: PLR0917 (a rule, what it looks at, where it is, and how far to go)
    rule: CompiledRule,
    views: Mapping[int, IndexView],
    key: int | None,
    state: tuple[list[Any] | None, int],
    moments: Sequence[PeriodEnd],
    until_us: int,
    new_alert_id: Callable[[], UUID],
) -> IndexEvaluation:
    """Take a rule from moment to moment.

    Args:
        rule: it looks at indices.
        views: box key → what came out of it, of the newest period at each moment.
        key: the box; None where the rule is on its site as a whole.
        state: its state, and the end of the newest period that was judged.
        moments: after that, ascending. One at which nothing is known, and that is not settled, is left for
            later; as long as no later one is judged.
        until_us: up to when all is judged that will be: hours that end by then have ended.
        new_alert_id: called once for each alert that fires.
    """
    held, judged_us = state
    found: list[AlertTransition] = []
    for moment in moments:
        at_us = moment.end_us - 1
        # What a site counts is counted anew: each period is another for all of its boxes.
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
    return IndexEvaluation(held, judged_us, [_rounded(transition) for transition in found])


def _rounded(transition: AlertTransition) -> AlertTransition:
    return transition._replace(
        time_us=_up(transition.time_us), pending_since_us=_up(transition.pending_since_us)
    )


def _up(at_us: int) -> int:
    return -(-at_us // US_PER_S) * US_PER_S
