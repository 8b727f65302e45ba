"""One back-test: stored samples through the evaluator, as if they came in now.

Rules on single boxes go box by box; where one of them is on the site as a whole, all boxes go together in the
order of time. Evaluation works in a thread, a page at a time, so that the process goes on with what else it
does. A rule begins at rest at the beginning of the range, as one that was made then: its windows are full.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, ClassVar, Final
from uuid import UUID

import asyncpg

from app.platform.db.database import Database
from app.platform.kernel.instants import from_datetime
from app.rules.backtests.backtest_alerts import AlertCollector, compare_alerts
from app.rules.backtests.indicator_backtest import INDEX_WORK_LIMIT, IndexBacktest
from app.rules.backtests.rule_simulator import RuleSimulator
from app.rules.backtests.sample_pages import (
    BacktestSite,
    SampleReader,
    SampleRun,
    count_samples,
    read_backtest_site,
)
from app.rules.definitions.rule_changes import count_index_conditions
from app.rules.engine.compiled_conditions import SilenceLeaf
from app.rules.engine.rule_compiler import CompiledRule, compile_rule
from app.rules.engine.snapshot import BoxFacts
from app.rules.indicators.indicator_query import SiteLocality

WORK_LIMIT: Final = 200_000_000
"""Samples, times the parts of what is tried on each of them: that is about ten minutes' work."""

_COUNTED: Final = timedelta(days=31)


class BacktestError(Exception):
    """The rule cannot be tried; `code` says why."""

    code: ClassVar[str]


class SiteGoneError(BacktestError):
    """The site is no more."""

    code = "site_gone"


class WorkLimitError(BacktestError):
    """There are more samples than are tried at a time: see WORK_LIMIT."""

    code = "too_much_work"


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """What a back-test is asked for.

    Attributes:
        organisation_id, site_id: where.
        rule: `id`, `version`, `name` and `definition` of the rule that is tried; `id` may be null.
        against: the same of the one that it is compared with, if any.
        boxes: only these; None for all that the rule is for.
        first, last: the range, without its end.
    """

    organisation_id: UUID
    site_id: UUID
    rule: Mapping[str, Any]
    against: Mapping[str, Any] | None
    boxes: Sequence[str] | None
    first: datetime
    last: datetime


@dataclass(slots=True)
class BacktestProgress:
    """How far a back-test is; totals are None until they are known."""

    samples_total: int | None = None
    samples_done: int = 0
    boxes_total: int | None = None
    boxes_done: int = 0


type ReportProgress = Callable[[BacktestProgress], Awaitable[None]]
"""Called after each page; what it raises ends the back-test."""

type EvaluationSlot = Callable[[], AbstractAsyncContextManager[None]]
"""Makes a turn: whoever enters it has the processor, and others wait. What it raises ends the back-test."""


class _Contender:
    """One of the rules that are tried.

    Attributes:
        found: the alerts that it would have made.
        keys: of the boxes that it is for.
        merged: whether samples of all boxes have to come in the order of their times.
        columns, events: what it looks at.
        look_back_us: how long before the range anything matters to it, but for silence.
        silences: the metrics whose silence it waits for, whenever that began; None: that of a box.
        parts: of its conditions.
    """

    def __init__(self, asked: BacktestRequest, rule: Mapping[str, Any], place: BacktestSite) -> None:
        self._asked = asked
        self._rule = rule
        self._place = place
        self._compiled: dict[tuple[tuple[str, Any], ...], CompiledRule] = {}
        self._general = general = self._compile({})
        self.found = AlertCollector()
        everywhere = RuleSimulator(self.compile, place.boxes)
        self.keys = frozenset(everywhere.boxes)
        self.merged = everywhere.merged
        self._replay = everywhere
        self._known = self.keys
        self.columns = general.columns
        self.events = general.events
        self.look_back_us = general.look_back_us
        parts = chain.from_iterable(level.node.parts() for level in general.levels)
        self.silences = frozenset(part.column for part in parts if isinstance(part, SilenceLeaf))
        self.parts = general.parts

    def compile(self, facts: BoxFacts) -> CompiledRule:
        """The rule for a box; one on the site as a whole has the site's attributes, as it has live."""
        general = self._general
        attributes = self._place.attributes if general.whole_site else facts.attributes
        return self._compile({name: attributes[name] for name in general.attributes if name in attributes})

    def _compile(self, attributes: Mapping[str, Any]) -> CompiledRule:
        """The rule with these attributes; boxes that have the same share one."""
        key = tuple(sorted(attributes.items()))
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = compile_rule(
                **_row(self._asked, self._rule), timezone=self._place.timezone, attributes=attributes
            )
        return found

    def begin(self, boxes: Sequence[BoxFacts]) -> None:
        """Begin anew, with these boxes."""
        self._replay = RuleSimulator(self.compile, boxes)
        self._known = frozenset(self._replay.boxes)

    def warm(self, runs: Sequence[SampleRun]) -> None:
        """Take what was stored before the range: rules look back at it."""
        for run in runs:
            if run.box_key not in self._known:
                continue
            if run.event is None:
                self._replay.warm(run.box_key, run.times, run.values)
            else:
                self._replay.warm_event(run.box_key, *run.event)

    def start(self, first_us: int) -> None:
        """Come to the beginning of the range: a silence that was long enough before goes on from there."""
        self.found.carry(self._replay.finish(first_us - 1), first_us)

    def feed(self, runs: Sequence[SampleRun]) -> None:
        """Go on with what was stored."""
        for run in runs:
            if run.box_key not in self._known:
                continue
            if run.event is None:
                self.found.take(self._replay.feed(run.box_key, run.times, run.values))
            else:
                self.found.take(self._replay.feed_event(run.box_key, *run.event))

    def finish(self, until_us: int) -> None:
        """Come to the end of the range."""
        self.found.take(self._replay.finish(until_us))
        self.found.settle(until_us)


async def run_backtest(
    connection: asyncpg.Connection,
    database: Database,
    asked: BacktestRequest,
    report: ReportProgress,
    turn: EvaluationSlot,
) -> dict[str, Any]:
    """Try a rule, and the one that it is compared with.

    Args:
        connection: for this alone, outside of a transaction.
        database: for sessions that read, of rules on indices.
        asked: what to do.
        report: is told how far it is.
        turn: makes what is held while a page is judged: who shares it takes turns, a page each.

    Returns:
        The result, as JSON.

    Raises:
        GoneError: the site is no more.
        TooMuchError: samples times parts are more than WORK_LIMIT.
        KeyError, ValueError: the rule cannot be understood: it was not validated.
    """
    place = await read_backtest_site(connection, asked.site_id, asked.boxes)
    if place is None:
        raise SiteGoneError(asked.site_id)
    # What has not happened yet is no silence.
    last = min(asked.last, await connection.fetchval("SELECT now()"))
    rules = [_contender(asked, rule, place) for rule in (asked.rule, asked.against) if rule is not None]
    sampled = [rule for rule in rules if isinstance(rule, _Contender)]
    indexed = [rule for rule in rules if isinstance(rule, IndexBacktest)]
    keys = frozenset().union(*(rule.keys for rule in sampled))
    boxes = [facts for facts in place.boxes if facts.key in keys]
    reads = any(rule.columns for rule in sampled)
    progress = BacktestProgress(
        samples_total=None if reads or indexed else 0,
        boxes_total=len(boxes) + sum(len(rule.keys) for rule in indexed),
    )
    if reads:
        limit = WORK_LIMIT // sum(rule.parts for rule in sampled)
        await _count(connection, boxes, (asked.first, last), limit, progress, report)
    began = time.monotonic()
    if asked.first < last:
        # Of a range that is still to come there is nothing to try.
        if boxes:
            together = any(rule.merged for rule in sampled)
            trial = _Trial(connection, sampled, turn)
            for group in [boxes] if together else [[facts] for facts in boxes]:
                await trial.go(group, asked.first, last, progress, report)
        await _try_indices(database, indexed, (asked.first, last), progress, report, turn)
    elapsed_s = time.monotonic() - began
    return await asyncio.to_thread(_result, rules, place, progress, from_datetime(last), elapsed_s)


async def _try_indices(  # noqa: PLR0917 (all of them are what a back-test has at hand)
    database: Database,
    rules: Sequence[IndexBacktest],
    within: tuple[datetime, datetime],
    progress: BacktestProgress,
    report: ReportProgress,
    turn: EvaluationSlot,
) -> None:
    """Try rules on indices: what they look at is counted in periods."""
    first_us, last_us = map(from_datetime, within)
    counts = [await rule.begin(database, first_us, last_us) for rule in rules]
    if (values := sum(value for value, _ in counts)) > INDEX_WORK_LIMIT:
        raise WorkLimitError(values)
    progress.samples_total = (progress.samples_total or 0) + sum(periods for _, periods in counts)

    async def step(periods: int, boxes: int) -> None:
        progress.samples_done += periods
        progress.boxes_done += boxes
        await report(progress)

    for rule in rules:
        await rule.go(database, first_us, last_us, step, turn)


async def _count(  # noqa: PLR0917 (all of them are what a back-test has at hand)
    connection: asyncpg.Connection,
    boxes: Sequence[BoxFacts],
    within: tuple[datetime, datetime],
    limit: int,
    progress: BacktestProgress,
    report: ReportProgress,
) -> None:
    """Count what there is to do; a month at a time, for a box may have sent every second of a year."""
    total = 0
    for facts in boxes:
        first = within[0]
        while first < within[1]:
            until = min(first + _COUNTED, within[1])
            total += await count_samples(connection, facts.key, first, until)
            if total > limit:
                raise WorkLimitError(total)
            await report(progress)
            first = until
    progress.samples_total = total


def _contender(
    asked: BacktestRequest, rule: Mapping[str, Any], place: BacktestSite
) -> "_Contender | IndexBacktest":
    if not count_index_conditions(rule["definition"]):
        return _Contender(asked, rule, place)
    where = SiteLocality(place.timezone, place.latitude)
    return IndexBacktest(_row(asked, rule), where, place.attributes, place.boxes)


def _row(asked: BacktestRequest, rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as `compile_rule` takes it."""
    return {
        "id": UUID(int=0) if rule["id"] is None else UUID(rule["id"]),
        "version": rule["version"] or 1,
        "organisation_id": asked.organisation_id,
        "site_id": asked.site_id,
        "name": rule["name"],
        "definition": rule["definition"],
    }


class _Trial:
    """The rules of a back-test on their way through what was stored."""

    def __init__(
        self, connection: asyncpg.Connection, rules: Sequence[_Contender], turn: EvaluationSlot
    ) -> None:
        self._rules = rules
        self._turn = turn
        self._silences = frozenset().union(*(rule.silences for rule in rules))
        self._reader = SampleReader(
            connection,
            frozenset().union(*(rule.columns for rule in rules)),
            frozenset().union(*(rule.events for rule in rules)),
        )

    async def go(
        self,
        boxes: Sequence[BoxFacts],
        first: datetime,
        last: datetime,
        progress: BacktestProgress,
        report: ReportProgress,
    ) -> None:
        """Try the rules on some boxes, from the beginning of the range to its end."""
        for rule in self._rules:
            rule.begin(boxes)
        keys = [facts.key for facts in boxes]
        before = first - timedelta(microseconds=max(rule.look_back_us for rule in self._rules))
        for key in keys:
            await self._recall(key, before, first)
            await report(progress)
        async for _, runs in self._reader.pages(keys, before, first):
            await self._think(self._warm, runs)
            await report(progress)
        await self._think(self._start, from_datetime(first))
        async for samples, runs in self._reader.pages(keys, first, last):
            await self._think(self._judge, runs)
            progress.samples_done += samples
            await report(progress)
        await self._think(self._finish, from_datetime(last))
        progress.boxes_done += len(boxes)

    async def _recall(self, key: int, before: datetime, first: datetime) -> None:
        """Warm with what a box sent last, where that is older than all that rules look back at else."""
        for column in self._silences:
            run = await self._reader.newest(key, column, first)
            if run is not None and run.times[0] < from_datetime(before):
                self._warm([run])

    async def _think[T](self, work: Callable[[T], None], given: T) -> None:
        """Work in a thread, when it is this back-test's turn."""
        async with self._turn():
            await asyncio.to_thread(work, given)

    def _warm(self, runs: Sequence[SampleRun]) -> None:
        for rule in self._rules:
            rule.warm(runs)

    def _start(self, first_us: int) -> None:
        for rule in self._rules:
            rule.start(first_us)

    def _judge(self, runs: Sequence[SampleRun]) -> None:
        for rule in self._rules:
            rule.feed(runs)

    def _finish(self, until_us: int) -> None:
        for rule in self._rules:
            rule.finish(until_us)


def _result(
    rules: Sequence[_Contender | IndexBacktest],
    place: BacktestSite,
    progress: BacktestProgress,
    until_us: int,
    elapsed_s: float,
) -> dict[str, Any]:
    names = {facts.key: facts.id for facts in place.boxes}
    candidate, *present = rules
    if present:
        compare_alerts(candidate.found.kept, present[0].found.kept, until_us)
    result = _shown(candidate, names, until_us)
    result["summary"] |= {
        "samples": progress.samples_done,
        "boxes": progress.boxes_done,
        "elapsed_s": round(elapsed_s, 3),
        "samples_per_second": round(progress.samples_done / max(elapsed_s, 1e-3)),
    }
    result["against"] = None
    if present:
        kept = candidate.found.kept
        result["against"] = _shown(present[0], names, until_us) | {
            "both": sum(trial.found_in == "both" for trial in kept),
            "only_candidate": sum(trial.found_in == "candidate" for trial in kept),
            "only_present": sum(trial.found_in == "present" for trial in present[0].found.kept),
        }
    return result


def _shown(rule: _Contender | IndexBacktest, names: Mapping[int, str], until_us: int) -> dict[str, Any]:
    found = rule.found
    return {
        "summary": found.summary(),
        "alerts": [trial.shown(names, until_us) for trial in found.kept],
        "truncated": found.count - len(found.kept),
    }
