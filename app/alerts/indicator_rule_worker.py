"""Judges rules on indices when their periods are over: beside whatever else its process does.

Owns that each period is judged once. What came out is computed first, outside of any transaction; then one
transaction locks the states of some rules, sees that nobody has been there, judges, and writes alerts, outbox
and states together: whoever dies in between has done nothing, and two do nothing twice.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import batched
from typing import Final

import asyncpg

from app.alerts.transition_recorder import record_transitions
from app.notifications.events.outbox import wake_dispatcher
from app.platform.db.database import DATABASE_ERRORS, Database, is_transient
from app.platform.db.ingest_barrier import pass_ingest_barrier
from app.platform.kernel.instants import US_PER_S, from_datetime
from app.platform.observability.metrics_and_logs import ALERT_TRANSITIONS, INDEX_PERIODS, get_logger
from app.rules.engine.alert_state_machine import AlertTransition, resolve_removed_rule
from app.rules.indicators.indicator_assignments import RuleAssignment, compile_assignments
from app.rules.indicators.indicator_evaluator import find_newest_period_end
from app.rules.indicators.indicator_schedule import (
    PERIODS_LIMIT,
    ScheduledEvaluation,
    compute_indices,
    evaluate_scheduled,
    find_next_evaluation_us,
    is_evaluation_due,
    schedule_evaluation,
)
from app.rules.indicators.indicator_states import (
    WHOLE_SITE,
    IndexRuleState,
    IndexStateKey,
    delete_states,
    insert_states,
    load_index_sites,
    load_states,
    lock_states,
    read_newest_sample_times,
    read_registry_version,
    write_states,
)
from app.rules.indicators.indicator_values import BoxIndexResults

_log = get_logger(__name__)
_FAILED_US: Final = 300 * US_PER_S
_TOGETHER: Final = 100
# So long a turn goes on with what it has read of rules and boxes, though they are others by now.
_STALE_S: Final = 10.0
_STOP_S: Final = 5.0


class _MovedError(Exception):
    """Rules, boxes or states are others by now: begin anew."""


class IndicatorRuleWorker:
    """Call `tick` now and then; `stop` before the process ends."""

    def __init__(self) -> None:
        self._working: asyncio.Task[None] | None = None
        self._version = -1
        self._concerns: dict[IndexStateKey, RuleAssignment] = {}
        self._states: dict[IndexStateKey, IndexRuleState] = {}
        self._due: dict[IndexStateKey, int] = {}
        self._seen: dict[IndexStateKey, tuple[object, ...]] = {}

    async def tick(self, database: Database, connection: asyncpg.Connection) -> None:
        """See whether periods are over, and begin with them. Does not wait for the end of it.

        Args:
            database: opens the connection on which they are judged.
            connection: for what is done here and now.
        """
        if self._working is not None and not self._working.done():
            return
        if not await self._moved(connection):
            clock_us = from_datetime(await connection.fetchval("SELECT now()"))
            if not self._due_by(clock_us):
                return
        self._working = asyncio.create_task(self._work(database))

    def _due_by(self, clock_us: int) -> list[IndexStateKey]:
        return [key for key in self._concerns if self._due.get(key, 0) <= clock_us]

    async def stop(self) -> None:
        """End soon; what was not committed is done by the next one."""
        if self._working is not None and not self._working.done():
            self._working.cancel()
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._working, _STOP_S)

    async def _work(self, database: Database) -> None:
        """Do what is due; whatever happens, this ends without an error."""
        try:
            connection = await database.connect()
        except DATABASE_ERRORS as error:
            _log.warning("indices_interrupted", error=repr(error))
            return
        try:
            await self.turn(database, connection)
        except DATABASE_ERRORS as error:
            self._version = -1
            _log.warning("indices_interrupted", error=repr(error))
        except Exception:  # noqa: BLE001 (whatever it is, the role goes on)
            self._version = -1
            _log.exception("indices_failed")
        finally:
            connection.terminate()

    async def turn(
        self, database: Database, connection: asyncpg.Connection, now_us: int | None = None
    ) -> int:
        """Judge all that is due.

        Args:
            database: for sessions that read.
            connection: outside of a transaction, and of nobody else's.
            now_us: now; by the database's clock where it is left out.

        Returns:
            How many events were put into the outbox.
        """
        if await self._moved(connection):
            await self._reload(connection)
        if not self._concerns and not self._states:
            return 0
        clock_us = from_datetime(await connection.fetchval("SELECT now()")) if now_us is None else now_us
        try:
            told = await self._end_gone(connection, clock_us)
            began = time.monotonic()
            for keys in batched(self._due_by(clock_us), _TOGETHER):
                told += await self._go(database, connection, keys, clock_us)
                if time.monotonic() - began > _STALE_S and await self._moved(connection):
                    # What is left is due still, by what rules and boxes are now.
                    break
        except _MovedError:
            # What is left is due still.
            self._version = -1
            return 0
        return told

    async def _reload(self, connection: asyncpg.Connection) -> None:
        """Read which rules there are, and how far they are judged."""
        # Before the rest: what changes meanwhile is seen by this number having moved.
        version = await read_registry_version(connection)
        self._concerns = compile_assignments(await load_index_sites(connection))
        self._states = await load_states(connection)
        self._due.clear()
        self._seen.clear()
        self._version = version

    async def _go(
        self, database: Database, connection: asyncpg.Connection, keys: Sequence[IndexStateKey], clock_us: int
    ) -> int:
        """Judge what is due of some rules; of each on its own, where that fails."""
        told = 0
        try:
            while keys:
                looks = await self._looks(connection, keys, clock_us)
                if looks:
                    told += await self._judge(connection, looks, await compute_indices(database, looks))
                # There may be more than is looked at together.
                keys = [each.assignment.key for each in looks if len(each.moments) == PERIODS_LIMIT]
        except Exception as error:
            if isinstance(error, _MovedError) or is_transient(error):
                raise
            for key in keys:
                self._seen.pop(key, None)
            if len(keys) > 1:
                return told + sum([await self._go(database, connection, [key], clock_us) for key in keys])
            self._due[keys[0]] = clock_us + _FAILED_US
            _log.exception("index_rule_failed", rule_id=str(keys[0][0]), box_key=keys[0][1])
        return told

    async def _looks(
        self, connection: asyncpg.Connection, keys: Sequence[IndexStateKey], clock_us: int
    ) -> list[ScheduledEvaluation]:
        """Find out which periods are to be judged."""
        await self._begin(connection, keys, clock_us)
        after: dict[int, int] = {}
        due: list[IndexStateKey] = []
        for key in keys:
            concern, state = self._concerns[key], self._states[key]
            if not is_evaluation_due(concern, state, clock_us):
                self._due[key] = find_next_evaluation_us(concern, state, clock_us)
                continue
            due.append(key)
            for box in concern.boxes:
                after[box] = min(after.get(box, state.judged_us), state.judged_us)
        newest = await read_newest_sample_times(connection, after) if after else {}
        found = []
        for key in due:
            concern, state = self._concerns[key], self._states[key]
            each, self._due[key] = schedule_evaluation(concern, state, newest, clock_us)
            if each is None:
                continue
            # Else nothing was known of it, and nothing came since.
            if self._seen.get(key) != each.seen:
                found.append(each)
            self._seen[key] = each.seen
        return found

    async def _begin(
        self, connection: asyncpg.Connection, keys: Sequence[IndexStateKey], clock_us: int
    ) -> None:
        """Have new rules begin: with the newest period that is over."""
        new = {}
        for key in keys:
            if key not in self._states:
                concern = self._concerns[key]
                new[key] = IndexRuleState(
                    find_newest_period_end(concern.rule.index_queries, clock_us, concern.place) - 1, None
                )
        if not new:
            return
        async with connection.transaction():
            await self._enter(connection)
            await insert_states(connection, new)
            self._states |= await lock_states(connection, new)

    async def _moved(self, connection: asyncpg.Connection) -> bool:
        return await read_registry_version(connection) != self._version

    async def _enter(self, connection: asyncpg.Connection) -> None:
        """Pass the gate: until the transaction ends nobody changes what we rely on (_MovedError: it was)."""
        await pass_ingest_barrier(connection)
        if await self._moved(connection):
            raise _MovedError

    async def _judge(
        self,
        connection: asyncpg.Connection,
        looks: Sequence[ScheduledEvaluation],
        came: Mapping[int, BoxIndexResults],
    ) -> int:
        """Judge in one transaction, and tell."""
        transitions: list[AlertTransition] = []
        states: dict[IndexStateKey, IndexRuleState] = {}
        async with connection.transaction():
            # A rule that asks something else by now, or is not for a box, has no state: whatever else has
            # changed meanwhile counts from the next period on. So whoever registers boxes holds up nobody.
            await pass_ingest_barrier(connection)
            found = await lock_states(connection, [each.assignment.key for each in looks])
            for each in looks:
                if found.get(each.assignment.key) != each.state:
                    raise _MovedError
                outcome = evaluate_scheduled(each, came)
                transitions += outcome.transitions
                states[each.assignment.key] = IndexRuleState(outcome.judged_us, outcome.held)
            transitions.sort(key=lambda step: step.time_us)
            await write_states(connection, {key: each for key, each in states.items() if each != found[key]})
            names = {facts.key: facts.id for each in looks for facts in each.assignment.boxes.values()}
            told = await record_transitions(connection, transitions, boxes=names, now=datetime.now(UTC))
        self._states |= states
        INDEX_PERIODS.inc(sum(len(each.moments) for each in looks))
        await _tell(connection, transitions, told)
        return told

    async def _end_gone(self, connection: asyncpg.Connection, clock_us: int) -> int:
        """End the alerts of rules that are not for a box any more, and forget their states."""
        told = 0
        for keys in batched([key for key in self._states if key not in self._concerns], PERIODS_LIMIT):
            async with connection.transaction():
                await self._enter(connection)
                found = await lock_states(connection, keys)
                ended = [
                    resolve_removed_rule(str(rule), state.held, clock_us, None if box == WHOLE_SITE else box)
                    for (rule, box), state in found.items()
                    if state.held is not None
                ]
                transitions = [step for step in ended if step is not None]
                await delete_states(connection, keys)
                events = await record_transitions(connection, transitions, boxes={}, now=datetime.now(UTC))
            await _tell(connection, transitions, events)
            told += events
            for key in keys:
                del self._states[key]
        return told


async def _tell(connection: asyncpg.Connection, transitions: Sequence[AlertTransition], told: int) -> None:
    """Once it is committed: count, and wake the dispatcher if anything was told."""
    for step in transitions:
        if step.rule is None or not step.rule.dry_run:
            ALERT_TRANSITIONS.labels(step.kind, step.severity or "none").inc()
    if told:
        await wake_dispatcher(connection)
