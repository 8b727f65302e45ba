"""A back-test of a rule on indices: computed of what is stored, and judged as it is live.

A rule begins as it does live: with the newest period that is over by the beginning of the range. What came
late is in what is computed now; live it was seen where it came before its period was judged.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import batched
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import text

from app.indicators.box_queries import IndexedBox
from app.platform.db.database import Database
from app.platform.kernel.instants import US_PER_S
from app.rules.backtests.backtest_alerts import AlertCollector
from app.rules.engine.snapshot import BoxFacts
from app.rules.indicators.indicator_assignments import RuleAssignment, compile_rule_assignments
from app.rules.indicators.indicator_conditions import IndexView
from app.rules.indicators.indicator_evaluator import (
    PeriodEnd,
    evaluate_index_rule,
    find_newest_period_end,
    list_period_ends,
    select_periods,
)
from app.rules.indicators.indicator_query import SiteLocality
from app.rules.indicators.indicator_values import (
    BoxIndexResults,
    compute_results,
    count_values_read,
    load_stations,
)

INDEX_WORK_LIMIT: Final = 50_000_000
"""Hourly means and samples that are looked at, each as often as a period has it."""

# So much of a range is computed at a time.
_PART_US: Final = 31 * 86_400 * US_PER_S
_TOGETHER: Final = 10
_EVERYTHING: Final = text("SELECT set_config('vigie.reach', 'all', true)")

type ReportPeriods = Callable[[int, int], Awaitable[None]]
"""Told of how many periods more something is known, and how many boxes more are done."""

type EvaluationSlot = Callable[[], AbstractAsyncContextManager[None]]


class IndexBacktest:
    """One rule on indices that is tried.

    Args:
        row: the rule, as `compile_rule` takes it.
        place: where the site is.
        attributes: the site's own.
        boxes: those that it may be tried on.
    """

    def __init__(
        self,
        row: Mapping[str, Any],
        place: SiteLocality,
        attributes: Mapping[str, Any],
        boxes: Sequence[BoxFacts],
    ) -> None:
        self.found = AlertCollector()
        self._concerns = list(compile_rule_assignments(row, place, attributes, boxes))
        self._boxes = {key: facts for concern in self._concerns for key, facts in concern.boxes.items()}
        self._stations: dict[int, IndexedBox] = {}
        self.keys = frozenset(self._boxes)

    async def begin(self, database: Database, first_us: int, last_us: int) -> tuple[int, int]:
        """Count what there is to do: the values that are looked at, and the periods of all boxes."""
        async with database.read() as session:
            await session.execute(_EVERYTHING)
            self._stations = await load_stations(session, list(self._boxes.values()))
        return await asyncio.to_thread(self._effort, first_us, last_us)

    def _effort(self, first_us: int, last_us: int) -> tuple[int, int]:
        values = periods = 0
        for concern in self._concerns:
            moments = _moments(concern, first_us, last_us)
            wanted = select_periods(concern.rule.asks, moments, concern.place)
            values += sum(count_values_read(self._stations[key], wanted) for key in concern.boxes)
            periods += len(moments) * len(concern.boxes)
        return values, periods

    async def go(
        self, database: Database, first_us: int, last_us: int, step: ReportPeriods, turn: EvaluationSlot
    ) -> None:
        """Try it from the beginning of the range to its end."""
        for concern in self._concerns:
            await self._try(database, concern, (first_us, last_us), step, turn)
            await step(0, len(concern.boxes))
        self.found.settle(last_us)

    async def _try(
        self,
        database: Database,
        concern: RuleAssignment,
        within: tuple[int, int],
        step: ReportPeriods,
        turn: EvaluationSlot,
    ) -> None:
        first_us, last_us = within
        moments = _moments(concern, first_us, last_us)
        state: tuple[list[Any] | None, int] = (None, moments[0] - 1)
        begun = until_us = first_us
        while True:
            now = [end_us for end_us in moments if begun < end_us <= until_us or begun == until_us >= end_us]
            came, known = await self._compute(database, concern, now, step, turn)
            views = {
                key: IndexView.of(facts, concern.rule.asks, came[key]) for key, facts in concern.boxes.items()
            }
            reached = [PeriodEnd(end_us) for end_us in now]
            done = evaluate_index_rule(concern.rule, views, concern.box, state, reached, until_us, uuid4)
            state = done.held, done.judged_us
            if until_us == first_us:
                self.found.carry(done.transitions, first_us)
            else:
                self.found.take(done.transitions)
            await step(known, 0)
            if until_us >= last_us:
                return
            begun, until_us = until_us, min(until_us + _PART_US, last_us)

    async def _compute(
        self,
        database: Database,
        concern: RuleAssignment,
        moments: Sequence[int],
        step: ReportPeriods,
        turn: EvaluationSlot,
    ) -> tuple[dict[int, BoxIndexResults], int]:
        """What came out of each box, and of how many of its periods it is known."""
        wanted = select_periods(concern.rule.asks, moments, concern.place)
        found: dict[int, BoxIndexResults] = {}
        for keys in batched(concern.boxes, _TOGETHER):
            async with turn(), database.read() as session:
                await session.execute(_EVERYTHING)
                asked = [(self._stations[key], wanted) for key in keys]
                found |= await compute_results(session, concern.place, asked)
            await step(0, 0)
        ends = frozenset(moments)
        known = {
            (key, end_us)
            for key, came in found.items()
            for (_, end_us), result in came.items()
            if end_us in ends and result is not None and result.value is not None
        }
        return found, len(known)


def _moments(concern: RuleAssignment, first_us: int, last_us: int) -> list[int]:
    asks, place = concern.rule.asks, concern.place
    return [find_newest_period_end(asks, first_us, place), *list_period_ends(asks, first_us, last_us, place)]
