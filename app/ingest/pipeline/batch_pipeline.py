"""Commits a batch of decoded messages in one transaction, step by step.

**Read this file first.**

    decoded messages (app.ingest.codec.batch_decoder, pure)
      └▶ one transaction:
           gate       passes the ingest barrier: boxes and rules cannot be deleted from here on
           refresh    updates the snapshot of boxes, sites and rules if its version changed
           resolve    finds each box; refuses unknown boxes, undeclared purposes and samples that are too old
           quota      refuses samples above the daily quota of their organisation
           statuses   writes online, offline, firmware, battery, signal
           configs    writes the configurations that boxes report
           recall     loads the boxes' states that are not cached (app.ingest.pipeline.storage_steps)
           store      writes samples into the hypertable; finds duplicates and conflicts
           events     writes the events that boxes recognised
           evaluate   evaluates rules on new data (pure; app.ingest.pipeline.evaluate_step)
           remember   updates latest values and rule states
           mark       marks the hours whose roll-ups must be computed again
           commits    lists what was stored in the commit log (app.ingest.pipeline.commit_log_step)
           alerts     writes alerts that changed, with their outbox entries
           quarantine stores refused input that may be stored (app.ingest.pipeline.quarantine_step)
           noted      records the time and code of each box's last refusal
           counted    counts refused input that may not be stored
           totals     counts stored, duplicate, conflicting, refused and late samples, by organisation
      └▶ commit
      └▶ the caller acknowledges to the broker, sends `ack` messages and wakes the dispatcher

MQTT and HTTP ingest both call `IngestPipeline.commit`, which returns a receipt and acknowledges nothing. HTTP
calls that arrive together are one batch; the receipt has the outcome of each. A batch that the database
refuses is halved until the sample at fault is in quarantine and all others are stored. A schema mismatch is
raised instead, since no values could succeed.

Lock order, to avoid deadlocks: the ingest barrier, then rows of `boxes` and `box_configs`, then rows of
`box_states`. All other code that locks several of them must use the same order.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from app.ingest.codec.decoded_batch import DecodedBatch
from app.ingest.pipeline.batch_context import BatchContext, BoxSharer, Finish, UnsharedBoxesError
from app.ingest.pipeline.batch_halving import commit_in_halves, may_be_of_the_data
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.batch_tracing import StepClock
from app.ingest.pipeline.commit_log_step import log_commits
from app.ingest.pipeline.evaluate_step import evaluate_rules
from app.ingest.pipeline.quarantine_step import count_refused, quarantine_refused, record_last_refusals
from app.ingest.pipeline.quota_cache import QuotaCache
from app.ingest.pipeline.quota_step import enforce_quotas
from app.ingest.pipeline.registry_snapshot import RegistryCache, RegistrySnapshot
from app.ingest.pipeline.resolve_step import resolve_boxes
from app.ingest.pipeline.rule_context import HistoryCache, cache_histories, trim_histories
from app.ingest.pipeline.rule_timers import process_due_timers
from app.ingest.pipeline.storage_steps import (
    load_batch_state,
    mark_stale_hours,
    record_alerts,
    store_samples,
    update_box_states,
    write_configs,
    write_events,
    write_statuses,
    write_totals,
)
from app.ingest.pipeline.transaction_sizing import CommitProgress, choose_transaction_size
from app.ingest.prometheus_metrics import INGEST_RETRIES, INGEST_STEP
from app.message_log.partitions import OwnedPartitions
from app.platform.db.database import RawConnection
from app.platform.db.ingest_barrier import pass_ingest_barrier
from app.platform.observability.metrics_and_logs import get_logger, redact_error
from app.timeseries.rollups.stale_marks import sync_marks_epoch
from app.timeseries.storage.box_state_cache import BoxStates

_log = get_logger(__name__)


STEPS: Final[tuple[tuple[str, Callable[[BatchContext], Awaitable[None]]], ...]] = (
    ("resolve", resolve_boxes),
    ("quota", enforce_quotas),
    ("statuses", write_statuses),
    ("configs", write_configs),
    ("recall", load_batch_state),
    ("store", store_samples),
    ("events", write_events),
    ("evaluate", evaluate_rules),
    ("remember", update_box_states),
    ("mark", mark_stale_hours),
    ("commits", log_commits),
    ("alerts", record_alerts),
    ("quarantine", quarantine_refused),
    ("noted", record_last_refusals),
    ("counted", count_refused),
    ("totals", write_totals),
)

_TIMERS: Final = {
    name: INGEST_STEP.labels(name)
    for name in ("gate", "refresh", *(step_name for step_name, _ in STEPS), "commit")
}


def _release(snapshot: RegistrySnapshot | None) -> None:
    if snapshot is not None:
        snapshot.readers -= 1


class IngestPipeline:
    """Commits decoded batches.

    Args:
        registry: this process's copy of boxes, sites and rules.
        is_consumer: whether this pipeline belongs to a consumer, which alone writes to boxes that are not
            shared and caches their states. At most one pipeline per database may be, or per partition of the
            log, one batch at a time.
        owned: the partitions to whose boxes that is limited; None: all boxes. Call `change_ownership` after
            a change.
        quota_cache: this process's cached quotas.
    """

    def __init__(
        self,
        registry: RegistryCache,
        *,
        is_consumer: bool = False,
        owned: OwnedPartitions | None = None,
        quota_cache: QuotaCache | None = None,
    ) -> None:
        self.registry = registry
        self._owned = owned
        self._quota_cache = QuotaCache() if quota_cache is None else quota_cache
        self._is_consumer = is_consumer
        self._states = BoxStates()
        # Boxes whose rules may have changed, and sites that may have lost boxes: their timers are evaluated
        # once, even if none is due. None: all sites.
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
        finish: Finish | None = None,
    ) -> BatchReceipt:
        """Store a batch in one transaction, or in several if its rules are expensive.

        Args:
            connection: a connection that nothing else uses.
            intake: the batch.
            now: the time of its arrival.
            progress: the progress of an earlier attempt at the same batch; committed parts are not stored
                again.
            nested: whether the caller has begun the transaction. Then the batch is not split, and nothing is
                cached.
            finish: done at the end of the last transaction, and committed with it.

        Returns:
            The outcome of the whole batch.

        Raises:
            FencedError: raised by `finish`.
            asyncpg.PostgresError, OSError, TimeoutError: errors that `is_transient` or `is_schema_mismatch`
                accept. Nothing that was not stored is in quarantine, and the batch can be retried.
        """
        progress = CommitProgress() if progress is None else progress
        if progress.receipt is None:
            progress.rest = intake
        while progress.rest is not None:
            await self._commit_part(connection, progress, progress.rest, now, finish, nested=nested)
        return progress.result(intake)

    async def _commit_part(
        self,
        connection: RawConnection,
        progress: CommitProgress,
        rest: DecodedBatch,
        now: datetime,
        finish: Finish | None,
        *,
        nested: bool,
    ) -> None:
        """Store as much of the rest of a batch as one transaction should evaluate; if it is refused, all."""

        async def attempt(part: DecodedBatch, *, is_last: bool) -> tuple[BatchReceipt, DecodedBatch | None]:
            return await self._attempt(connection, part, now, finish if is_last else None, nested=nested)

        try:
            progress.add(*await attempt(rest, is_last=True))
        except Exception as error:
            if not may_be_of_the_data(error):
                raise
            INGEST_RETRIES.labels("bisected").inc()
            _log.warning("batch_refused_by_database", things=len(rest), error=redact_error(error))
            await commit_in_halves(attempt, progress, error)

    async def run_due_timers(self, connection: RawConnection, *, now: datetime) -> BatchReceipt:
        """Process the timers of rules that expire without a sample, such as those of silence.

        Only for the consumer, and only while no messages wait: queued messages happened before.

        Raises:
            asyncpg.PostgresError, OSError, TimeoutError: nothing was changed.
        """
        states = self._states
        snapshot: RegistrySnapshot | None = None
        try:
            async with connection.transaction():
                await pass_ingest_barrier(connection)
                snapshot, _ = await self._refresh_registry(connection, states)
                context = BatchContext(
                    connection,
                    snapshot,
                    DecodedBatch("mqtt", ()),
                    now,
                    states,
                    is_consumer=self._is_consumer,
                    owned=self._owned,
                )
                boxes, sites = await process_due_timers(context, self._boxes_to_check, self._sites_to_check)
                await record_alerts(context)
        except BaseException:
            states.clear()
            raise
        finally:
            _release(snapshot)
        self._boxes_to_check -= boxes
        self._sites_to_check = sites
        if context.event_traces is not None:
            context.event_traces.end()
        trim_histories(states, context.rule_context)
        return context.receipt()

    async def write_back(self, connection: RawConnection) -> None:
        """Write the cached states that are newer than their rows, so that the next consumer starts faster."""
        try:
            async with connection.transaction():
                await pass_ingest_barrier(connection)
                # As for a batch: changes that others made since must not be overwritten.
                _release((await self._refresh_registry(connection, self._states))[0])
                await self._states.save_all(connection)
        except BaseException:
            self._states.clear()
            raise

    async def change_ownership(self, connection: RawConnection, partitions: Collection[int]) -> None:
        """Own other partitions from now on, even after an error. Nothing of the former ones is remembered."""
        try:
            await self.write_back(connection)
        finally:
            if self._owned is not None:
                self._owned.replace(partitions)
            self._states.clear()
            self._check_all(self.registry.snapshot)

    def _check_all(self, snapshot: RegistrySnapshot) -> None:
        """Evaluate the timers of all owned boxes and sites once."""
        self._boxes_to_check = set(snapshot.find_boxes_with_timers(self._owned) if self._is_consumer else ())
        self._sites_to_check = None

    async def _attempt(
        self,
        connection: RawConnection,
        intake: DecodedBatch,
        now: datetime,
        finish: Finish | None,
        *,
        nested: bool,
    ) -> tuple[BatchReceipt, DecodedBatch | None]:
        compare_all, sharer = False, BoxSharer(self.registry)
        while True:
            try:
                return await self._transact(
                    connection, intake, now, finish, compare_all=compare_all, nested=nested
                )
            except UnsharedBoxesError as error:
                INGEST_RETRIES.labels("shared").inc()
                await sharer.share(connection, error, now)
            except asyncpg.UniqueViolationError:
                if compare_all:
                    raise
                # Another process wrote samples to a box that is not shared. The retry compares each sample
                # with the stored ones and uses no cached state.
                INGEST_RETRIES.labels("states_behind").inc()
                _log.error("box_states_behind")
                compare_all = True

    async def _transact(
        self,
        connection: RawConnection,
        intake: DecodedBatch,
        now: datetime,
        finish: Finish | None,
        *,
        compare_all: bool,
        nested: bool,
    ) -> tuple[BatchReceipt, DecodedBatch | None]:
        states = self._states if self._is_consumer else BoxStates()
        clock = StepClock(_TIMERS)
        snapshot: RegistrySnapshot | None = None
        rest: DecodedBatch | None = None
        try:
            async with connection.transaction():
                await pass_ingest_barrier(connection)
                clock.lap("gate")
                snapshot, at_us = await self._refresh_registry(connection, states)
                # A replay may follow a quota that was just raised, so its quotas are read again.
                quotas = await self._quota_cache.refresh(connection, now, force=nested)
                enough, effort = choose_transaction_size(intake, snapshot, states)
                if enough < len(intake) and not nested:
                    # Between calls if possible: each is then split as if it had come alone.
                    enough = max((end for end in intake.list_call_ends() if end <= enough), default=enough)
                    rest = intake.select(range(enough, len(intake)))
                    intake = intake.select(range(enough))
                context = BatchContext(
                    connection,
                    snapshot,
                    intake,
                    now,
                    states,
                    self._expected_columns,
                    self._is_consumer,
                    self._owned,
                    compare_all,
                    effort,
                    None if nested else self._history_cache,
                    quotas,
                )
                # The batch may have waited in a queue: purposes that ended since do not permit it.
                context.policy_time_us = max(context.now_us, at_us)
                clock.lap("refresh")
                for name, step in STEPS:
                    await step(context)
                    clock.lap(name)
                if finish is not None and rest is None:
                    await finish(connection)
            clock.lap("commit")
        except BaseException:
            states.clear()
            raise
        finally:
            _release(snapshot)
        self._update_caches(context, nested=nested)
        clock.trace()
        return context.receipt(), rest

    def _update_caches(self, context: BatchContext, *, nested: bool) -> None:
        """Update the caches of this process after a commit, and end the spans of its events."""
        if context.event_traces is not None:
            context.event_traces.end()
        if not nested:
            stored = {owner: each.stored for owner, each in context.usage.items()}
            self._quota_cache.add_usage(context.quotas, stored)
        if context.batch_samples is not None:
            self._expected_columns = context.batch_samples.block.used
            trim_histories(context.states, context.rule_context)
        if self._history_cache is not None and not nested:
            cache_histories(self._history_cache, context.states, context.rule_context)

    async def _refresh_registry(
        self, connection: RawConnection, states: BoxStates
    ) -> tuple[RegistrySnapshot, int]:
        """Refresh the registry, and drop cached states that its changes may have made outdated.

        Returns:
            The snapshot of this transaction, which the caller must release; and when it was read (µs since
                the epoch).
        """
        changes = await self.registry.refresh(connection)
        snapshot = self.registry.snapshot
        snapshot.readers += 1
        try:
            if changes.everything:
                states.clear()
                self._history_cache = None if self._is_consumer else HistoryCache()
                self._check_all(snapshot)
            elif changes.boxes or changes.sites:
                keys = changes.boxes.union(*(snapshot.by_site.get(site, ()) for site in changes.sites))
                if self._is_consumer:
                    # Before anything can fail: the registry has already moved on.
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
