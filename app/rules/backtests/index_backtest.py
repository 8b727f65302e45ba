"""Back-tests a rule on an environmental index: evaluates past periods as the live worker does.

A rule starts with the newest period that is over at the beginning of the range. Late samples are included in
the computed values; live they are missing if they arrived after their period was evaluated.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import batched
from typing import Any, Final
from uuid import uuid4

from app.environmental_indices.boxes_and_read_limits import IndexedBox
from app.platform.db.database import Database
from app.platform.kernel.instants import US_PER_S
from app.rules.backtests.backtest_alerts import AlertCollector
from app.rules.backtests.value_coverage import ValueCoverage
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.index_rules.index_condition_evaluation import IndexView
from app.rules.index_rules.index_rule_assignments import RuleAssignment, compile_rule_assignments
from app.rules.index_rules.index_rule_evaluator import (
    PeriodEnd,
    evaluate_index_rule,
    find_newest_period_end,
    list_period_ends,
    select_periods,
)
from app.rules.index_rules.index_selection import SiteLocality
from app.rules.index_rules.index_values import (
    ALL_TENANTS,
    BoxIndexResults,
    compute_results,
    count_values_read,
    load_stations,
)

INDEX_WORK_LIMIT: Final = 50_000_000
"""Hourly means and samples that may be read; a value counts once per period that includes it."""

# Computing at most 31 days at a time bounds memory.
_PART_US: Final = 31 * 86_400 * US_PER_S
_BOXES_PER_SLOT: Final = 10

type ReportPeriods = Callable[[int, int], Awaitable[None]]
"""Called with the numbers of further periods with a value and of further boxes that are done."""

type EvaluationSlot = Callable[[], AbstractAsyncContextManager[None]]
"""Makes a context in which one page is evaluated while other back-tests wait. An exception that entering it
raises ends the back-test."""


class IndexBacktest:
    """One rule on indices in a back-test, and the alerts that it would have made.

    Args:
        row: the rule, as `compile_rule` takes it.
        place: the time zone and latitude of the site.
        attributes: the site's attributes.
        boxes: the boxes that it may be tried on.
    """

    def __init__(
        self,
        row: Mapping[str, Any],
        place: SiteLocality,
        attributes: Mapping[str, Any],
        boxes: Sequence[BoxFacts],
    ) -> None:
        self.found = AlertCollector()
        self.coverage = ValueCoverage()
        self.thresholds: Mapping[str, Collection[float]] = {}
        self._assignments = list(compile_rule_assignments(row, place, attributes, boxes))
        self._boxes = {
            key: facts for assignment in self._assignments for key, facts in assignment.boxes.items()
        }
        self._stations: dict[int, IndexedBox] = {}
        self.keys = frozenset(self._boxes)

    async def begin(self, database: Database, first_us: int, last_us: int) -> tuple[int, int]:
        """Prepare the run, and count the values to read and the periods of all boxes."""
        async with database.read() as session:
            await session.execute(ALL_TENANTS)
            self._stations = await load_stations(session, list(self._boxes.values()))
        return await asyncio.to_thread(self._effort, first_us, last_us)

    def _effort(self, first_us: int, last_us: int) -> tuple[int, int]:
        values = periods = 0
        for assignment in self._assignments:
            moments = _moments(assignment, first_us, last_us)
            requested = select_periods(assignment.rule.index_queries, moments, assignment.place)
            values += sum(count_values_read(self._stations[key], requested) for key in assignment.boxes)
            periods += len(moments) * len(assignment.boxes)
        return values, periods

    async def run(
        self,
        database: Database,
        first_us: int,
        last_us: int,
        step: ReportPeriods,
        acquire_slot: EvaluationSlot,
    ) -> None:
        """Evaluate the rule over the whole time range."""
        for assignment in self._assignments:
            await self._run_assignment(database, assignment, (first_us, last_us), step, acquire_slot)
            await step(0, len(assignment.boxes))
        self.found.settle(last_us)

    async def _run_assignment(
        self,
        database: Database,
        assignment: RuleAssignment,
        within: tuple[int, int],
        step: ReportPeriods,
        acquire_slot: EvaluationSlot,
    ) -> None:
        first_us, last_us = within
        moments = _moments(assignment, first_us, last_us)
        state: tuple[list[Any] | None, int] = (None, moments[0] - 1)
        period_us = (last_us - first_us) // max(1, len(moments) - 1)
        begun = until_us = first_us
        while True:
            now = [end_us for end_us in moments if begun < end_us <= until_us or begun == until_us >= end_us]
            results, known = await self._compute(database, assignment, now, step, acquire_slot)
            views = {
                key: IndexView.of(facts, assignment.rule.index_queries, results[key])
                for key, facts in assignment.boxes.items()
            }
            reached = [PeriodEnd(end_us) for end_us in now]
            done = evaluate_index_rule(
                assignment.rule, views, assignment.box, state, reached, until_us, uuid4
            )
            state = done.held, done.judged_us
            if until_us == first_us:
                # This period ended before the range.
                self.found.carry(done.transitions, first_us)
            else:
                self.found.take(done.transitions)
                self._cover(results, now, period_us)
            await step(known, 0)
            if until_us >= last_us:
                return
            begun, until_us = until_us, min(until_us + _PART_US, last_us)

    def _cover(self, found: Mapping[int, BoxIndexResults], moments: Sequence[int], period_us: int) -> None:
        """Record which periods have a value, and the values."""
        ends = frozenset(moments)
        for key, results in found.items():
            covered: set[int] = set()
            for (query, end_us), result in results.items():
                if end_us not in ends or result is None or result.value is None:
                    continue
                length_us = 0 if end_us in covered else period_us
                self.coverage.take_period(key, query.method, result.value, length_us)
                covered.add(end_us)

    async def _compute(
        self,
        database: Database,
        assignment: RuleAssignment,
        moments: Sequence[int],
        step: ReportPeriods,
        acquire_slot: EvaluationSlot,
    ) -> tuple[dict[int, BoxIndexResults], int]:
        """Compute the indices of each box, and count the periods that have a value."""
        requested = select_periods(assignment.rule.index_queries, moments, assignment.place)
        found: dict[int, BoxIndexResults] = {}
        for keys in batched(assignment.boxes, _BOXES_PER_SLOT):
            async with acquire_slot(), database.read() as session:
                await session.execute(ALL_TENANTS)
                queries = [(self._stations[key], requested) for key in keys]
                found |= await compute_results(session, assignment.place, queries)
            await step(0, 0)
        ends = frozenset(moments)
        known = {
            (key, end_us)
            for key, results in found.items()
            for (_, end_us), result in results.items()
            if end_us in ends and result is not None and result.value is not None
        }
        return found, len(known)


def _moments(assignment: RuleAssignment, first_us: int, last_us: int) -> list[int]:
    queries, place = assignment.rule.index_queries, assignment.place
    return [
        find_newest_period_end(queries, first_us, place),
        *list_period_ends(queries, first_us, last_us, place),
    ]
