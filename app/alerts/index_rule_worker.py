"""Evaluates rules on indices, such as air quality, once after each period ends, in the background.

Indices are computed first, outside of any transaction. Then one transaction locks the states of some rules,
checks that no other worker changed them, evaluates, and writes alerts, outbox and states. So the work is
idempotent: after a crash it is repeated, and concurrent workers do no harm.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import batched
from typing import Final

import asyncpg

from app.alerts.prometheus_metrics import ALERT_TRANSITIONS, INDEX_PERIODS
from app.alerts.transition_recorder import record_transitions
from app.notifications.events.outbox import wake_dispatcher
from app.platform.db.database import DATABASE_ERRORS, Database, is_transient
from app.platform.db.ingest_barrier import pass_ingest_barrier
from app.platform.kernel.instants import US_PER_S, from_datetime
from app.platform.observability.metrics_and_logs import get_logger
from app.rules.engine.alert_state_machine import AlertTransition, resolve_removed_rule
from app.rules.index_rules.index_rule_assignments import RuleAssignment, compile_assignments
from app.rules.index_rules.index_rule_evaluator import find_newest_period_end
from app.rules.index_rules.index_rule_repository import (
    WHOLE_SITE,
    IndexRuleState,
    IndexStateKey,
    delete_states,
    insert_states,
    load_index_sites,
    load_states,
    lock_states,
    read_registry_version,
    write_states,
)
from app.rules.index_rules.index_rule_schedule import (
    PERIODS_LIMIT,
    ScheduledEvaluation,
    compute_indices,
    evaluate_scheduled,
    find_next_evaluation_us,
    is_evaluation_due,
    schedule_evaluation,
)
from app.rules.index_rules.index_values import BoxIndexResults
from app.timeseries.storage.newest_samples import read_newest_sample_times

_log = get_logger(__name__)
_RETRY_AFTER_US: Final = 300 * US_PER_S
_BATCH_RULES: Final = 100
# How long a run continues with rules and boxes that have changed since it read them.
_STALE_S: Final = 10.0
_STOP_S: Final = 5.0


class _ConcurrentChangeError(Exception):
    """Rules, boxes or states were changed concurrently: start again."""


class IndexRuleWorker:
    """Evaluates in a background task. Call `tick` periodically, and `stop` before the process ends."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._version = -1
        self._assignments: dict[IndexStateKey, RuleAssignment] = {}
        self._states: dict[IndexStateKey, IndexRuleState] = {}
        self._due: dict[IndexStateKey, int] = {}
        self._seen: dict[IndexStateKey, tuple[object, ...]] = {}

    async def tick(self, database: Database, connection: asyncpg.Connection) -> None:
        """Start the background task if periods have ended. Does not wait for it.

        Args:
            database: opens the connection of the background task.
            connection: reads the database's clock and the registry version.
        """
        if self._task is not None and not self._task.done():
            return
        if not await self._is_registry_changed(connection):
            clock_us = from_datetime(await connection.fetchval("SELECT now()"))
            if not self._due_by(clock_us):
                return
        self._task = asyncio.create_task(self._run(database))

    def _due_by(self, clock_us: int) -> list[IndexStateKey]:
        return [key for key in self._assignments if self._due.get(key, 0) <= clock_us]

    async def stop(self) -> None:
        """Cancel the background task. The next worker repeats uncommitted work."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, _STOP_S)

    async def _run(self, database: Database) -> None:
        """Evaluate due rules once; logs all errors."""
        try:
            connection = await database.connect()
        except DATABASE_ERRORS as error:
            _log.warning("indices_interrupted", error=repr(error))
            return
        try:
            await self.run_once(database, connection)
        except DATABASE_ERRORS as error:
            self._version = -1
            _log.warning("indices_interrupted", error=repr(error))
        except Exception:  # noqa: BLE001 (no error may end the process)
            self._version = -1
            _log.exception("indices_failed")
        finally:
            connection.terminate()

    async def run_once(
        self, database: Database, connection: asyncpg.Connection, now_us: int | None = None
    ) -> int:
        """Evaluate all due rules.

        Args:
            database: for sessions that read.
            connection: outside a transaction, for exclusive use.
            now_us: the current time, µs since the epoch; by default that of the database's clock.

        Returns:
            The number of outbox events.
        """
        if await self._is_registry_changed(connection):
            await self._reload(connection)
        if not self._assignments and not self._states:
            return 0
        clock_us = from_datetime(await connection.fetchval("SELECT now()")) if now_us is None else now_us
        try:
            event_count = await self._resolve_removed(connection, clock_us)
            began = time.monotonic()
            for keys in batched(self._due_by(clock_us), _BATCH_RULES):
                event_count += await self._process(database, connection, keys, clock_us)
                if time.monotonic() - began > _STALE_S and await self._is_registry_changed(connection):
                    # The rest stays due, and is evaluated with the new rules and boxes.
                    break
        except _ConcurrentChangeError:
            # The rest stays due.
            self._version = -1
            return 0
        return event_count

    async def _reload(self, connection: asyncpg.Connection) -> None:
        """Load rules and their states."""
        # The version comes first, so that a concurrent change is detected later.
        version = await read_registry_version(connection)
        self._assignments = compile_assignments(await load_index_sites(connection))
        self._states = await load_states(connection)
        self._due.clear()
        self._seen.clear()
        self._version = version

    async def _process(
        self, database: Database, connection: asyncpg.Connection, keys: Sequence[IndexStateKey], clock_us: int
    ) -> int:
        """Evaluate the due periods of some rules; after an error, of each rule separately."""
        event_count = 0
        try:
            while keys:
                evaluations = await self._schedule(connection, keys, clock_us)
                if evaluations:
                    results = await compute_indices(database, evaluations)
                    event_count += await self._evaluate(connection, evaluations, results)
                # Rules with more due periods than one evaluation takes.
                keys = [each.assignment.key for each in evaluations if len(each.moments) == PERIODS_LIMIT]
        except Exception as error:
            if isinstance(error, _ConcurrentChangeError) or is_transient(error):
                raise
            for key in keys:
                self._seen.pop(key, None)
            if len(keys) > 1:
                return event_count + sum(
                    [await self._process(database, connection, [key], clock_us) for key in keys]
                )
            self._due[keys[0]] = clock_us + _RETRY_AFTER_US
            _log.exception("index_rule_failed", rule_id=str(keys[0][0]), box_key=keys[0][1])
        return event_count

    async def _schedule(
        self, connection: asyncpg.Connection, keys: Sequence[IndexStateKey], clock_us: int
    ) -> list[ScheduledEvaluation]:
        """Find the due periods of rules, and set when each rule is due next."""
        await self._initialize_states(connection, keys, clock_us)
        after: dict[int, int] = {}
        due: list[IndexStateKey] = []
        for key in keys:
            assignment, state = self._assignments[key], self._states[key]
            if not is_evaluation_due(assignment, state, clock_us):
                self._due[key] = find_next_evaluation_us(assignment, state, clock_us)
                continue
            due.append(key)
            for box in assignment.boxes:
                after[box] = min(after.get(box, state.judged_us), state.judged_us)
        newest = await read_newest_sample_times(connection, after) if after else {}
        found = []
        for key in due:
            assignment, state = self._assignments[key], self._states[key]
            each, self._due[key] = schedule_evaluation(assignment, state, newest, clock_us)
            if each is None:
                continue
            # If its input is unchanged, an earlier evaluation without a result would only be repeated.
            if self._seen.get(key) != each.seen:
                found.append(each)
            self._seen[key] = each.seen
        return found

    async def _initialize_states(
        self, connection: asyncpg.Connection, keys: Sequence[IndexStateKey], clock_us: int
    ) -> None:
        """Create the states of new rules, which start with the newest complete period."""
        new = {}
        for key in keys:
            if key not in self._states:
                assignment = self._assignments[key]
                new[key] = IndexRuleState(
                    find_newest_period_end(assignment.rule.index_queries, clock_us, assignment.place) - 1,
                    None,
                )
        if not new:
            return
        async with connection.transaction():
            await self._pass_barrier(connection)
            await insert_states(connection, new)
            self._states |= await lock_states(connection, new)

    async def _is_registry_changed(self, connection: asyncpg.Connection) -> bool:
        return await read_registry_version(connection) != self._version

    async def _pass_barrier(self, connection: asyncpg.Connection) -> None:
        """Pass the ingest barrier, which excludes registry changes until the end of the transaction.

        Raises:
            _ConcurrentChangeError: the registry has changed since it was loaded.
        """
        await pass_ingest_barrier(connection)
        if await self._is_registry_changed(connection):
            raise _ConcurrentChangeError

    async def _evaluate(
        self,
        connection: asyncpg.Connection,
        evaluations: Sequence[ScheduledEvaluation],
        results: Mapping[int, BoxIndexResults],
    ) -> int:
        """Evaluate in one transaction, and write alerts, events and states; returns the number of events."""
        transitions: list[AlertTransition] = []
        states: dict[IndexStateKey, IndexRuleState] = {}
        async with connection.transaction():
            # A changed or unassigned rule has no state any more. Other registry changes apply from the next
            # period on: so frequent registrations of boxes cannot delay evaluation.
            await pass_ingest_barrier(connection)
            found = await lock_states(connection, [each.assignment.key for each in evaluations])
            for each in evaluations:
                if found.get(each.assignment.key) != each.state:
                    raise _ConcurrentChangeError
                outcome = evaluate_scheduled(each, results)
                transitions += outcome.transitions
                states[each.assignment.key] = IndexRuleState(outcome.judged_us, outcome.held)
            transitions.sort(key=lambda step: step.time_us)
            await write_states(connection, {key: each for key, each in states.items() if each != found[key]})
            names = {facts.key: facts.id for each in evaluations for facts in each.assignment.boxes.values()}
            events = await record_transitions(connection, transitions, boxes=names, now=datetime.now(UTC))
        self._states |= states
        INDEX_PERIODS.inc(sum(len(each.moments) for each in evaluations))
        await _count_and_wake(connection, transitions, events)
        return events

    async def _resolve_removed(self, connection: asyncpg.Connection, clock_us: int) -> int:
        """Resolve the alerts of rules that are not assigned to a box any more, and delete their states."""
        event_count = 0
        for keys in batched([key for key in self._states if key not in self._assignments], PERIODS_LIMIT):
            async with connection.transaction():
                await self._pass_barrier(connection)
                found = await lock_states(connection, keys)
                resolved = [
                    resolve_removed_rule(str(rule), state.held, clock_us, None if box == WHOLE_SITE else box)
                    for (rule, box), state in found.items()
                    if state.held is not None
                ]
                transitions = [step for step in resolved if step is not None]
                await delete_states(connection, keys)
                events = await record_transitions(connection, transitions, boxes={}, now=datetime.now(UTC))
            await _count_and_wake(connection, transitions, events)
            event_count += events
            for key in keys:
                del self._states[key]
        return event_count


async def _count_and_wake(
    connection: asyncpg.Connection, transitions: Sequence[AlertTransition], events: int
) -> None:
    """Count committed transitions, and wake the dispatcher if there are events."""
    for step in transitions:
        if step.rule is None or not step.rule.dry_run:
            ALERT_TRANSITIONS.labels(step.kind, step.severity or "none").inc()
    if events:
        await wake_dispatcher(connection)
