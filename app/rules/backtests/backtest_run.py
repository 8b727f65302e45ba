"""Runs one back-test: replays stored samples through the evaluator and returns the alerts as JSON.

Rules on single boxes run box by box. If a rule is on a whole site, samples of all boxes are merged in time
order. Evaluation runs in a thread, one page at a time, so that the event loop stays responsive.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

import asyncpg

from app.platform.db.database import Database
from app.platform.kernel.instants import from_datetime
from app.rules.backtests.backtest_alerts import compare_alerts
from app.rules.backtests.index_backtest import INDEX_WORK_LIMIT, EvaluationSlot, IndexBacktest
from app.rules.backtests.sample_backtest import SampleBacktest
from app.rules.backtests.sample_reader import (
    BacktestSite,
    SampleReader,
    SampleRun,
    read_backtest_site,
)
from app.rules.definitions.definition_changes import count_index_conditions
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.index_rules.index_selection import SiteLocality
from app.timeseries.storage.sample_pages import count_samples

WORK_LIMIT: Final = 200_000_000
"""Samples times the parts of the rules that are evaluated on each of them: about ten minutes of work."""

# A box may have sent one sample a second for a year: counting a month at a time keeps each query short.
_COUNT_STEP: Final = timedelta(days=31)


class BacktestError(Exception):
    """The back-test cannot run; `code` is the error code that clients see."""

    code: ClassVar[str]


class SiteGoneError(BacktestError):
    """The site was deleted."""

    code = "site_gone"


class WorkLimitError(BacktestError):
    """The back-test exceeds WORK_LIMIT or INDEX_WORK_LIMIT."""

    code = "too_much_work"


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """The parameters of a back-test.

    Attributes:
        organisation_id, site_id: the tenant and the site.
        rule: `id`, `version`, `name` and `definition` of the candidate rule; `id` may be null.
        against: the same fields of the rule to compare it with, if any.
        boxes: only these boxes; None for all boxes in the rule's scope.
        first, last: the time range; `last` is excluded.
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
    """The progress of a back-test; totals are None until they are counted."""

    samples_total: int | None = None
    samples_done: int = 0
    boxes_total: int | None = None
    boxes_done: int = 0


type ReportProgress = Callable[[BacktestProgress], Awaitable[None]]
"""Called after each page. An exception that it raises ends the back-test."""


async def run_backtest(
    connection: asyncpg.Connection,
    database: Database,
    request: BacktestRequest,
    report: ReportProgress,
    acquire_slot: EvaluationSlot,
) -> dict[str, Any]:
    """Run a back-test of one rule, or of two rules that are compared.

    Args:
        connection: used by this back-test alone, outside of a transaction.
        database: opens read sessions for rules on indices.
        request: the rules, the site and the time range.
        report: called with the progress after each page.
        acquire_slot: opens a context in which one page is evaluated; back-tests share the slot in turn.

    Returns:
        The result, as JSON.

    Raises:
        SiteGoneError: the site was deleted.
        WorkLimitError: samples times parts exceed WORK_LIMIT.
        KeyError, ValueError: the rule is malformed: it was not validated.
    """
    site = await read_backtest_site(connection, request.site_id, request.boxes)
    if site is None:
        raise SiteGoneError(request.site_id)
    # Without this bound the future would count as silence.
    last = min(request.last, await connection.fetchval("SELECT now()"))
    rules = [
        _make_backtest(request, rule, site) for rule in (request.rule, request.against) if rule is not None
    ]
    sampled = [rule for rule in rules if isinstance(rule, SampleBacktest)]
    indexed = [rule for rule in rules if isinstance(rule, IndexBacktest)]
    keys = frozenset().union(*(rule.keys for rule in sampled))
    boxes = [facts for facts in site.boxes if facts.key in keys]
    reads = any(rule.columns for rule in sampled)
    progress = BacktestProgress(
        samples_total=None if reads or indexed else 0,
        boxes_total=len(boxes) + sum(len(rule.keys) for rule in indexed),
    )
    if reads:
        limit = WORK_LIMIT // sum(rule.parts for rule in sampled)
        await _count_samples(connection, boxes, (request.first, last), limit, progress, report)
    began = time.monotonic()
    if request.first < last:
        if boxes:
            merged = any(rule.merged for rule in sampled)
            replay = _SampleReplay(connection, sampled, acquire_slot)
            for group in [boxes] if merged else [[facts] for facts in boxes]:
                await replay.run(group, request.first, last, progress, report)
        await _run_index_backtests(database, indexed, (request.first, last), progress, report, acquire_slot)
    elapsed_s = time.monotonic() - began
    within_us = from_datetime(request.first), from_datetime(last)
    return await asyncio.to_thread(_make_result, rules, site, progress, within_us, elapsed_s)


async def _run_index_backtests(  # noqa: PLR0917 (the state of a back-test)
    database: Database,
    rules: Sequence[IndexBacktest],
    within: tuple[datetime, datetime],
    progress: BacktestProgress,
    report: ReportProgress,
    acquire_slot: EvaluationSlot,
) -> None:
    """Run the back-tests of rules on indices; their progress is counted in periods."""
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
        await rule.run(database, first_us, last_us, step, acquire_slot)


async def _count_samples(  # noqa: PLR0917 (the state of a back-test)
    connection: asyncpg.Connection,
    boxes: Sequence[BoxFacts],
    within: tuple[datetime, datetime],
    limit: int,
    progress: BacktestProgress,
    report: ReportProgress,
) -> None:
    """Count the samples in the range, and refuse the back-test above `limit`."""
    total = 0
    for facts in boxes:
        first = within[0]
        while first < within[1]:
            until = min(first + _COUNT_STEP, within[1])
            total += await count_samples(connection, facts.key, first, until)
            if total > limit:
                raise WorkLimitError(total)
            await report(progress)
            first = until
    progress.samples_total = total


def _make_backtest(
    request: BacktestRequest, rule: Mapping[str, Any], site: BacktestSite
) -> SampleBacktest | IndexBacktest:
    row = {
        "id": UUID(int=0) if rule["id"] is None else UUID(rule["id"]),
        "version": rule["version"] or 1,
        "organisation_id": request.organisation_id,
        "site_id": request.site_id,
        "name": rule["name"],
        "definition": rule["definition"],
    }
    if not count_index_conditions(rule["definition"]):
        return SampleBacktest(row, site)
    return IndexBacktest(row, SiteLocality(site.timezone, site.latitude), site.attributes, site.boxes)


class _SampleReplay:
    """Replays stored samples through the rules of a back-test."""

    def __init__(
        self, connection: asyncpg.Connection, rules: Sequence[SampleBacktest], acquire_slot: EvaluationSlot
    ) -> None:
        self._rules = rules
        self._acquire_slot = acquire_slot
        self._silences = frozenset().union(*(rule.silences for rule in rules))
        self._reader = SampleReader(
            connection,
            frozenset().union(*(rule.columns for rule in rules)),
            frozenset().union(*(rule.events for rule in rules)),
        )

    async def run(
        self,
        boxes: Sequence[BoxFacts],
        first: datetime,
        last: datetime,
        progress: BacktestProgress,
        report: ReportProgress,
    ) -> None:
        """Replay the whole time range of some boxes."""
        for rule in self._rules:
            rule.begin(boxes)
        keys = [facts.key for facts in boxes]
        before = first - timedelta(microseconds=max(rule.look_back_us for rule in self._rules))
        for key in keys:
            await self._warm_silences(key, before, first)
            await report(progress)
        async for _, runs in self._reader.pages(keys, before, first):
            await self._run_in_thread(self._warm, runs)
            await report(progress)
        await self._run_in_thread(self._start, from_datetime(first))
        async for samples, runs in self._reader.pages(keys, first, last):
            await self._run_in_thread(self._feed, runs)
            progress.samples_done += samples
            await report(progress)
        await self._run_in_thread(self._finish, from_datetime(last))
        progress.boxes_done += len(boxes)

    async def _warm_silences(self, key: int, before: datetime, first: datetime) -> None:
        """Load the last sample of a box if it precedes the look-back: a silence may have begun with it."""
        for column in self._silences:
            run = await self._reader.newest(key, column, first)
            if run is not None and run.times[0] < from_datetime(before):
                self._warm([run])

    async def _run_in_thread[T](self, work: Callable[[T], None], given: T) -> None:
        """Run a function in a thread while this back-test has the evaluation slot."""
        async with self._acquire_slot():
            await asyncio.to_thread(work, given)

    def _warm(self, runs: Sequence[SampleRun]) -> None:
        for rule in self._rules:
            rule.warm(runs)

    def _start(self, first_us: int) -> None:
        for rule in self._rules:
            rule.start(first_us)

    def _feed(self, runs: Sequence[SampleRun]) -> None:
        for rule in self._rules:
            rule.feed(runs)

    def _finish(self, until_us: int) -> None:
        for rule in self._rules:
            rule.finish(until_us)


def _make_result(
    rules: Sequence[SampleBacktest | IndexBacktest],
    site: BacktestSite,
    progress: BacktestProgress,
    within_us: tuple[int, int],
    elapsed_s: float,
) -> dict[str, Any]:
    first_us, until_us = within_us
    names = {facts.key: facts.id for facts in site.boxes}
    candidate, *present = rules
    if present:
        compare_alerts(candidate.found.alerts, present[0].found.alerts, until_us)
    result = _render_rule(candidate, names, until_us)
    result["coverage"] = (
        None
        if candidate.coverage is None
        else candidate.coverage.render(candidate.keys, max(1, until_us - first_us), candidate.thresholds)
    )
    result["summary"] |= {
        "samples": progress.samples_done,
        "boxes": progress.boxes_done,
        "elapsed_s": round(elapsed_s, 3),
        "samples_per_second": round(progress.samples_done / max(elapsed_s, 1e-3)),
    }
    result["against"] = None
    if present:
        listed = candidate.found.alerts
        result["against"] = _render_rule(present[0], names, until_us) | {
            "both": sum(alert.found_in == "both" for alert in listed),
            "only_candidate": sum(alert.found_in == "candidate" for alert in listed),
            "only_present": sum(alert.found_in == "present" for alert in present[0].found.alerts),
        }
    return result


def _render_rule(
    rule: SampleBacktest | IndexBacktest, names: Mapping[int, str], until_us: int
) -> dict[str, Any]:
    found = rule.found
    return {
        "summary": found.summary(),
        "alerts": [alert.shown(names, until_us) for alert in found.alerts],
        "truncated": found.count - len(found.alerts),
    }
