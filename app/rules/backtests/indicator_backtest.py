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

from app.indicators.box_queries import Station
from app.platform.db.database import Database
from app.platform.kernel.instants import US_PER_S
from app.rules.backtests.backtest_alerts import Collector
from app.rules.engine.snapshot import BoxFacts
from app.rules.indicators.indicator_assignments import Concern, concerns
from app.rules.indicators.indicator_conditions import IndexView
from app.rules.indicators.indicator_evaluator import Moment, judge, moments_of, newest_end, slots_for
from app.rules.indicators.indicator_query import Locality
from app.rules.indicators.indicator_values import Came, effort_of, results_of, stations_for

INDEX_WORK_LIMIT: Final = 50_000_000
"""Hourly means and samples that are looked at, each as often as a period has it."""

# So much of a range is computed at a time.
_PART_US: Final = 31 * 86_400 * US_PER_S
_TOGETHER: Final = 10
_EVERYTHING: Final = text("SELECT set_config('vigie.reach', 'all', true)")

type Step = Callable[[int, int], Awaitable[None]]
"""Told of how many periods more something is known, and how many boxes more are done."""

type Turn = Callable[[], AbstractAsyncContextManager[None]]


class IndexTrial:
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
        place: Locality,
        attributes: Mapping[str, Any],
        boxes: Sequence[BoxFacts],
    ) -> None:
        self.found = Collector()
        self._concerns = list(concerns(row, place, attributes, boxes))
        self._boxes = {key: facts for concern in self._concerns for key, facts in concern.boxes.items()}
        self._stations: dict[int, Station] = {}
        self.keys = frozenset(self._boxes)

    async def begin(self, database: Database, first_us: int, last_us: int) -> tuple[int, int]:
        """Count what there is to do: the values that are looked at, and the periods of all boxes."""
        async with database.read() as session:
            await session.execute(_EVERYTHING)
            self._stations = await stations_for(session, list(self._boxes.values()))
        return await asyncio.to_thread(self._effort, first_us, last_us)

    def _effort(self, first_us: int, last_us: int) -> tuple[int, int]:
        values = periods = 0
        for concern in self._concerns:
            moments = _moments(concern, first_us, last_us)
            wanted = slots_for(concern.rule.asks, moments, concern.place)
            values += sum(effort_of(self._stations[key], wanted) for key in concern.boxes)
            periods += len(moments) * len(concern.boxes)
        return values, periods

    async def go(self, database: Database, first_us: int, last_us: int, step: Step, turn: Turn) -> None:
        """Try it from the beginning of the range to its end."""
        for concern in self._concerns:
            await self._try(database, concern, (first_us, last_us), step, turn)
            await step(0, len(concern.boxes))
        self.found.settle(last_us)

    async def _try(
        self, database: Database, concern: Concern, within: tuple[int, int], step: Step, turn: Turn
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
            reached = [Moment(end_us) for end_us in now]
            done = judge(concern.rule, views, concern.box, state, reached, until_us, uuid4)
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
        self, database: Database, concern: Concern, moments: Sequence[int], step: Step, turn: Turn
    ) -> tuple[dict[int, Came], int]:
        """What came out of each box, and of how many of its periods it is known."""
        wanted = slots_for(concern.rule.asks, moments, concern.place)
        found: dict[int, Came] = {}
        for keys in batched(concern.boxes, _TOGETHER):
            async with turn(), database.read() as session:
                await session.execute(_EVERYTHING)
                asked = [(self._stations[key], wanted) for key in keys]
                found |= await results_of(session, concern.place, asked)
            await step(0, 0)
        ends = frozenset(moments)
        known = {
            (key, end_us)
            for key, came in found.items()
            for (_, end_us), result in came.items()
            if end_us in ends and result is not None and result.value is not None
        }
        return found, len(known)


def _moments(concern: Concern, first_us: int, last_us: int) -> list[int]:
    asks, place = concern.rule.asks, concern.place
    return [newest_end(asks, first_us, place), *moments_of(asks, first_us, last_us, place)]
