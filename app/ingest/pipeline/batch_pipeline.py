"""The way of a batch, from messages to a commit: **read this file first**.

    sorted messages (app.ingest.codec.message_intake, pure)
      └▶ one transaction:
           gate       nobody takes away a box or a rule from here on (app.platform.db.ingest_barrier)
           refresh    the registry of boxes, sites and rules, if its version has moved
           resolve    whose are these? unknown boxes, what has no purpose and too old samples are refused
           quota      samples above what their organisation may store today are refused
           statuses   online, offline, firmware, battery, signal
           configs    what boxes say that they are configured to
           recall     the boxes' states, where they are not in memory (app.ingest.pipeline.sample_steps)
           store      samples into the hypertable; repeats and conflicts are told apart
           events     what boxes recognised themselves
           evaluate   the rules of each box's site over what is new (pure; app.ingest.pipeline.evaluate_step)
           remember   latest values and rule states
           mark       the hours whose roll-ups are to be made anew
           alerts     what fired, changed and resolved, with its outbox entries
           quarantine what was refused, with its reason, where it may be kept
           (app.ingest.pipeline.quarantine_step) noted      when something of a box was last refused, and why
           counted    what was refused and may be kept nowhere: how much of what
           totals     how much was stored, repeated, contradicted, refused, late; and by organisation
      └▶ commit
      └▶ the caller: acknowledges the broker, tells the boxes, wakes the dispatcher

Both doors, MQTT and HTTP, call `IngestPipeline.commit`. It returns what happened; nothing is acknowledged
here. A batch that the database refuses is halved until the sample at fault is found: that one goes to
quarantine, and all others are stored. A batch that no values could have saved (the schema is another one) is
not touched.

The gate comes before all rows; rows of `boxes` and `box_configs` before those of `box_states`. Whoever else
takes several of them keeps that order.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app.alerts.transition_recorder import record_transitions
from app.ingest.codec.message_intake import DecodedBatch
from app.ingest.pipeline.batch_context import BatchContext, UnsharedBoxesError
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.batch_splitter import CommitProgress, choose_transaction_size
from app.ingest.pipeline.evaluate_step import evaluate_rules
from app.ingest.pipeline.history_cache import HistoryCache
from app.ingest.pipeline.quarantine_step import count_refused, quarantine_refused, record_last_refusals
from app.ingest.pipeline.quota_cache import QuotaCache
from app.ingest.pipeline.quota_step import count_quota_usage, enforce_quotas
from app.ingest.pipeline.registry_snapshot import RegistryCache, RegistrySnapshot
from app.ingest.pipeline.resolve_step import resolve_boxes
from app.ingest.pipeline.rule_context import cache_histories, trim_histories
from app.ingest.pipeline.rule_timers import process_due_timers
from app.ingest.pipeline.sample_steps import (
    load_batch_state,
    mark_stale_hours,
    store_samples,
    update_box_states,
)
from app.platform.db.database import RawConnection, is_schema_mismatch, is_transient
from app.platform.db.ingest_barrier import pass_ingest_barrier
from app.platform.observability.metrics_and_logs import INGEST_RETRIES, INGEST_STEP, get_logger, redact_error
from app.registry.box_configurations import store_reported_configs
from app.registry.box_status import store_statuses
from app.timeseries.rollups.stale_marks import sync_marks_epoch
from app.timeseries.storage.box_states import BoxStates
from app.timeseries.storage.event_writer import EventRow, store_events
from app.timeseries.storage.ingest_totals import BatchTotals, add_totals

_log = get_logger(__name__)


async def _alerts(context: BatchContext) -> None:
    if context.transitions:
        await record_transitions(
            context.connection, context.transitions, boxes=_names(context), now=context.now
        )


def _names(context: BatchContext) -> dict[int, str]:
    """The ids of the boxes that transitions name."""
    keys = {step.box_key for step in context.transitions}
    keys |= {key for step in context.transitions if step.cause is not None for key in step.cause.boxes}
    found = ((key, context.registry.box(key)) for key in keys if key is not None)
    return {key: box.id for key, box in found if box is not None}


async def _events(context: BatchContext) -> None:
    rows = [
        EventRow(
            box.key,
            box.organisation_id,
            event.time_us,
            event.type,
            event.seq,
            event.candidates,
            event.level_db,
            event.clock_error_ms,
            event.spectrum,
            event.count,
            event.state,
        )
        for box, event, _ in context.events
    ]
    context.new_events = await store_events(context.connection, rows, now=context.now)


async def _statuses(context: BatchContext) -> None:
    await store_statuses(context.connection, context.statuses, now=context.now)


async def _configs(context: BatchContext) -> None:
    await store_reported_configs(context.connection, context.configs, now=context.now)


async def _totals(context: BatchContext) -> None:
    outcome = context.outcome
    totals = BatchTotals(
        outcome.stored, len(outcome.duplicates), len(outcome.conflicts), len(context.rejections), context.late
    )
    context.usage = count_quota_usage(context)
    await add_totals(context.connection, totals, context.usage, door=context.intake.door, now=context.now)


STEPS: Final[tuple[tuple[str, Callable[[BatchContext], Awaitable[None]]], ...]] = (
    ("resolve", resolve_boxes),
    ("quota", enforce_quotas),
    ("statuses", _statuses),
    ("configs", _configs),
    ("recall", load_batch_state),
    ("store", store_samples),
    ("events", _events),
    ("evaluate", evaluate_rules),
    ("remember", update_box_states),
    ("mark", mark_stale_hours),
    ("alerts", _alerts),
    ("quarantine", quarantine_refused),
    ("noted", record_last_refusals),
    ("counted", count_refused),
    ("totals", _totals),
)

_TIMERS: Final = {
    name: INGEST_STEP.labels(name)
    for name in ("gate", "refresh", *(step_name for step_name, _ in STEPS), "commit")
}
# Longer than the consumer could need: a box that goes on sending by HTTP is shared anew long before the end.
_SHARED_FOR: Final = timedelta(days=1)


def _release(snapshot: RegistrySnapshot | None) -> None:
    if snapshot is not None:
        snapshot.readers -= 1


class IngestPipeline:
    """The second part of the way: takes a sorted batch, and commits it.

    Args:
        registry: the process's copy of boxes, sites and rules.
        sole: whether this is the consumer, which alone writes to boxes that are not shared, and keeps their
            states in memory. At most one pipeline of a database may be so, one batch at a time.
        allowances: the process's knowledge of quotas.
    """

    def __init__(
        self, registry: RegistryCache, *, is_consumer: bool = False, quota_cache: QuotaCache | None = None
    ) -> None:
        self.registry = registry
        self._quota_cache = QuotaCache() if quota_cache is None else quota_cache
        self._sole = is_consumer
        self._states = BoxStates()
        # Boxes whose rules may have changed, and sites that may have lost boxes: they are looked at once,
        # whenever they are due. None: all.
        self._boxes_to_check: set[int] = set()
        self._sites_to_check: set[UUID] | None = None
        self._expected_columns: tuple[int, ...] = ()
        self._history_cache = None if is_consumer else HistoryCache()

    async def commit(
        self,
        connection: RawConnection,
        intake: DecodedBatch,
        *,
        now: datetime,
        progress: CommitProgress | None = None,
        nested: bool = False,
    ) -> BatchReceipt:
        """Store a batch in one transaction, or in several where its rules are many; say what became of it.

        Args:
            connection: nothing else uses it.
            intake: the batch.
            now: when it came in.
            so_far: where to go on, for who tries the same batch again; what is committed is not done twice.
            whole: this is part of a larger transaction: nothing is cut, and nothing kept of it.

        Raises:
            asyncpg.PostgresError, OSError, TimeoutError: only such as `is_transient` or `is_schema_mismatch`
            accepts;
                nothing that was not stored is in quarantine, and the batch can be given again.
        """
        progress = CommitProgress() if progress is None else progress
        if progress.receipt is None:
            progress.rest = intake
        while progress.rest is not None:
            progress.add(*await self._some(connection, progress.rest, now, nested=nested))
        return progress.result(intake)

    async def _some(
        self, connection: RawConnection, intake: DecodedBatch, now: datetime, *, nested: bool
    ) -> tuple[BatchReceipt, DecodedBatch | None]:
        """Store as much of a batch as one transaction should judge; returns what is left of it as well."""
        try:
            return await self._attempt(connection, intake, now, nested=nested)
        except Exception as error:
            if is_transient(error) or is_schema_mismatch(error):
                raise
            INGEST_RETRIES.labels("bisected").inc()
            _log.warning("batch_refused_by_database", things=len(intake), error=redact_error(error))
            return await self._bisect(connection, intake, now, error, nested=nested), None

    async def run_due_timers(self, connection: RawConnection, *, now: datetime) -> BatchReceipt:
        """Do what is due although nothing came: silence, active hours, events that leave their window.

        For the consumer alone, and only while no messages wait: what is in the broker's queue has happened.

        Raises:
            asyncpg.PostgresError, OSError, TimeoutError: nothing was done.
        """
        states = self._states
        snapshot: RegistrySnapshot | None = None
        try:
            async with connection.transaction():
                await pass_ingest_barrier(connection)
                snapshot, _ = await self._forget_changed(connection, states)
                context = BatchContext(
                    connection, snapshot, DecodedBatch("mqtt", ()), now, states, is_consumer=self._sole
                )
                boxes, sites = await process_due_timers(context, self._boxes_to_check, self._sites_to_check)
                await _alerts(context)
        except BaseException:
            states.clear()
            raise
        finally:
            _release(snapshot)
        # Only now: what was rolled back has to be looked at again.
        self._boxes_to_check -= boxes
        self._sites_to_check = sites
        trim_histories(states, context.rule_context)
        return context.receipt()

    async def write_back(self, connection: RawConnection) -> None:
        """Write what the states in memory are ahead of their rows: before this process ends, that is kind."""
        try:
            async with connection.transaction():
                await pass_ingest_barrier(connection)
                # As for a batch: what others have changed since the last one is not to be undone.
                _release((await self._forget_changed(connection, self._states))[0])
                await self._states.save_all(connection)
        except BaseException:
            self._states.clear()
            raise

    async def _attempt(
        self, connection: RawConnection, intake: DecodedBatch, now: datetime, *, nested: bool
    ) -> tuple[BatchReceipt, DecodedBatch | None]:
        compare_all = False
        while True:
            try:
                return await self._transact(connection, intake, now, compare_all=compare_all, nested=nested)
            except UnsharedBoxesError as error:
                INGEST_RETRIES.labels("shared").inc()
                await connection.execute("SELECT share_boxes($1, $2)", error.keys, now + _SHARED_FOR)
            except asyncpg.UniqueViolationError:
                if compare_all:
                    raise
                # Somebody wrote samples behind our back. They are compared one by one then, and no state that
                # was kept is trusted.
                INGEST_RETRIES.labels("states_behind").inc()
                _log.error("box_states_behind")
                compare_all = True

    async def _transact(
        self,
        connection: RawConnection,
        intake: DecodedBatch,
        now: datetime,
        *,
        compare_all: bool,
        nested: bool,
    ) -> tuple[BatchReceipt, DecodedBatch | None]:
        states = self._states if self._sole else BoxStates()
        clock = time.perf_counter
        began = clock()
        snapshot: RegistrySnapshot | None = None
        rest: DecodedBatch | None = None
        try:
            async with connection.transaction():
                await pass_ingest_barrier(connection)
                _TIMERS["gate"].observe(clock() - began)
                began = clock()
                snapshot, at_us = await self._forget_changed(connection, states)
                # A replay is for what a quota has refused, too: it may just have been raised.
                quotas = await self._quota_cache.refresh(connection, now, force=nested)
                enough, effort = choose_transaction_size(intake, snapshot, states)
                if enough < len(intake) and not nested:
                    rest = intake.select(range(enough, len(intake)))
                    intake = intake.select(range(enough))
                context = BatchContext(
                    connection,
                    snapshot,
                    intake,
                    now,
                    states,
                    self._expected_columns,
                    self._sole,
                    compare_all,
                    effort,
                    None if nested else self._history_cache,
                    quotas,
                )
                # A batch may have waited since it came in: what was ended meanwhile has ended for it.
                context.policy_time_us = max(context.now_us, at_us)
                _TIMERS["refresh"].observe(clock() - began)
                for name, step in STEPS:
                    began = clock()
                    await step(context)
                    _TIMERS[name].observe(clock() - began)
                began = clock()
            _TIMERS["commit"].observe(clock() - began)
        except BaseException:
            states.clear()
            raise
        finally:
            _release(snapshot)
        if not nested:
            self._quota_cache.add_usage(quotas, {owner: each.stored for owner, each in context.usage.items()})
        if context.batch_samples is not None:
            self._expected_columns = context.batch_samples.block.used
            trim_histories(states, context.rule_context)
        if self._history_cache is not None and not nested:
            cache_histories(self._history_cache, states, context.rule_context)
        return context.receipt(), rest

    async def _forget_changed(
        self, connection: RawConnection, states: BoxStates
    ) -> tuple[RegistrySnapshot, int]:
        """Refresh the registry, and forget the states that whoever changed it may have changed too.

        Returns:
            What this transaction works on, to be released; and when it was so (µs since the epoch).
        """
        changes = await self.registry.refresh(connection)
        snapshot = self.registry.snapshot
        snapshot.readers += 1
        try:
            if changes.everything:
                states.clear()
                self._history_cache = None if self._sole else HistoryCache()
                self._boxes_to_check = set(snapshot.find_boxes_with_timers()) if self._sole else set()
                self._sites_to_check = None
            elif changes.boxes or changes.sites:
                keys = changes.boxes.union(*(snapshot.by_site.get(site, ()) for site in changes.sites))
                if self._sole:
                    # First: what fails after it is not done, but the registry has moved on.
                    self._boxes_to_check |= keys
                    if self._sites_to_check is not None:
                        self._sites_to_check |= changes.touched | changes.sites
                if self._history_cache is not None:
                    self._history_cache.forget(keys)
                await states.drop(connection, keys)
            sync_marks_epoch(states, changes.epoch)
        except BaseException:
            _release(snapshot)
            raise
        return snapshot, changes.at_us

    async def _bisect(
        self,
        connection: RawConnection,
        intake: DecodedBatch,
        now: datetime,
        cause: Exception,
        *,
        nested: bool,
    ) -> BatchReceipt:
        """Store what can be stored of a batch that was refused as a whole, and quarantine what cannot."""
        total = len(intake)
        if total <= 1:
            refused = (
                intake.as_storage_refusal(f"The database refuses it: {redact_error(cause)}")
                if total
                else intake
            )
            return (await self._attempt(connection, refused, now, nested=nested))[0]
        middle = total // 2
        receipt = await self._half(connection, intake.select(range(middle)), now, nested=nested)
        receipt.add(await self._half(connection, intake.select(range(middle, total)), now, nested=nested))
        return receipt

    async def _half(
        self, connection: RawConnection, intake: DecodedBatch, now: datetime, *, nested: bool
    ) -> BatchReceipt:
        progress = CommitProgress(intake)
        again = len(intake) == 1
        while progress.rest is not None:
            try:
                progress.add(*await self._attempt(connection, progress.rest, now, nested=nested))
            except Exception as error:
                if is_transient(error) or is_schema_mismatch(error):
                    raise
                # What the database did not refuse may be a fault of the moment, and no sample's.
                if again and not isinstance(error, asyncpg.PostgresError):
                    again = False
                    continue
                progress.add(await self._bisect(connection, progress.rest, now, error, nested=nested), None)
        return progress.result(intake)
