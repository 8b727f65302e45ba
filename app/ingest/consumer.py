"""Runs the ingest process: takes batches from the source, commits them, and then acknowledges them.

With one broker, one consumer at a time works on a database, chosen by an advisory lock. Another stands by,
and takes over when the connection of the first one ends. With the replicated log, several workers share its
partitions.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import asyncpg

from app.ingest import prometheus_metrics
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.codec.decoded_batch import DecodedBatch
from app.ingest.consumer_input import ConsumerInput
from app.ingest.pipeline.batch_context import Finish
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.batch_tracing import find_typical_time, observe_commit, start_batch_span
from app.ingest.pipeline.quota_cache import QuotaCache
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.ingest.pipeline.transaction_sizing import CommitProgress
from app.ingest.settings import IngestSettings
from app.ingest.sources.message_source import MessageBatch, MessageSource
from app.message_log.positions import FencedError, LogChangedError
from app.notifications.events.outbox import wake_dispatcher
from app.platform.db.database import DATABASE_ERRORS, is_transient
from app.platform.kernel.instants import US_PER_S, from_datetime
from app.platform.observability.metrics_and_logs import find_root_cause, get_logger, redact_error
from app.platform.observability.tracing import use_span
from app.platform.runtime.heartbeat import WAITING
from app.platform.runtime.process_runner import ProcessContext

_log = get_logger(__name__)
_STANDBY_S = 1.0
# One connection of one process: trying costs little, and a promoted standby stores again soon.
_LONGEST_WAIT_S = 2.0
# Expected time of a batch. On a stop request it is abandoned after this time, and redelivered.
_DRAIN_S = 5.0
_WRITE_BACK_S = 2.0
_IDLE_S = 1.0
# The database works: it has refused records that another worker reads now, or the log has changed.
_STATES: Final[Mapping[type[BaseException], str]] = {
    FencedError: "waiting for partitions of the log",
    LogChangedError: "waiting for the changed log",
}
_EVENTS: Final[Mapping[type[BaseException], str]] = {
    FencedError: "partitions_taken_over",
    LogChangedError: "log_changed",
}


class _LostError(Exception):
    """The database connection is lost or in an unknown state, and the consumer's lock with it.

    Attributes:
        batch: log fields of the batch in progress, if there was one.
    """

    batch: Mapping[str, Any] = MappingProxyType({})


class IngestConsumer:
    """Consumes messages while it holds the lock.

    Args:
        process: The process.
        settings: The sizes of batches, and the pauses.
        make_input: Makes the input for each connection to the database.
        samples_per_day: The default quota of an organisation; None: no limit.
    """

    def __init__(
        self,
        process: ProcessContext,
        settings: IngestSettings,
        make_input: Callable[[], ConsumerInput],
        *,
        samples_per_day: int | None,
    ) -> None:
        self._process = process
        self._settings = settings
        self._make_input = make_input
        self._samples_per_day = samples_per_day
        self._reported = dict.fromkeys(("reconnects", "malformed", "poison", "pauses", "stale_acks"), 0)

    async def run(self) -> None:
        """Consume until the process is asked to stop; reconnects with back-off after a lost database."""
        wait = least = self._settings.reconnect_min_s
        while not self._process.stop.is_set():
            began = time.monotonic()
            try:
                await self._hold_and_consume()
            except (_LostError, *DATABASE_ERRORS) as error:
                self._wait_for_database(error.__cause__ or error)
                if time.monotonic() - began > self._settings.reconnect_max_s:
                    wait = least  # it worked for a while: this is a new problem
                self._log_lost_connection(error, wait)
                await self._process.pause(wait * random.uniform(0.8, 1.2))  # noqa: S311 (jitter, not a secret)
                wait = min(wait * 2, self._settings.reconnect_max_s, _LONGEST_WAIT_S)

    def _log_lost_connection(self, error: BaseException, wait: float) -> None:
        why, batch = error.__cause__ or error, error.batch if isinstance(error, _LostError) else {}
        # A batch that timed out ends with an error of its transaction: log the original error too.
        root = find_root_cause(why)
        more = {} if root is why else {"because": redact_error(root)}
        event = _EVENTS.get(type(why), "database_lost")
        _log.warning(event, error=redact_error(why), **more, **batch, again_in_s=round(wait, 2))

    def _wait_for_database(self, why: BaseException | None) -> None:
        """Report in `/readyz` that nothing can be stored now, and why."""
        if why is None:
            self._process.state = WAITING
        else:
            self._process.state = _STATES.get(type(why), f"{WAITING}: {type(why).__name__}")

    async def _hold_and_consume(self) -> None:
        connection = await self._process.database.connect()
        read = self._make_input()
        try:
            while not await read.join(connection):
                self._process.state = "standby"
                await self._process.pause(_STANDBY_S)
                if self._process.stop.is_set():
                    return
            await self._consume(connection, read)
        finally:
            if not connection.is_closed():
                # close() waits for the server, which may hang.
                connection.terminate()

    async def _consume(self, connection: asyncpg.Connection, read: ConsumerInput) -> None:
        # New for each connection, since the database may have been restored from a backup.
        pipeline = IngestPipeline(
            RegistryCache(),
            is_consumer=True,
            owned=read.owned,
            quota_cache=QuotaCache(self._samples_per_day),
        )
        self._reported = dict.fromkeys(self._reported, 0)
        source = await read.open()
        _log.info("consuming", source=type(source).__name__)
        try:
            while not self._process.stop.is_set():
                self._process.mark_progress()
                self._observe(source, read)
                batch = await self._next_batch(source)
                if batch is not None:
                    await self._process_batch(pipeline, connection, read, source, batch)
                elif connection.is_closed():
                    # Without this check two consumers could take the broker's session from each other.
                    raise _LostError
                await self._look_around(pipeline, connection, read, batch)
            # Optional, so it gets a short timeout: the next consumer can compute the states again.
            with suppress(*DATABASE_ERRORS):
                async with asyncio.timeout(_WRITE_BACK_S):
                    await pipeline.write_back(connection)
        finally:
            await read.close()
            prometheus_metrics.INGEST_CONNECTED.set(0)
            # What it had is delivered again: the next consumer counts from its arrival there.
            prometheus_metrics.INGEST_OLDEST.set(0)

    async def _next_batch(self, source: MessageSource) -> MessageBatch | None:
        """Return the next batch; None after a second without one, or on a stop request."""
        incoming = asyncio.create_task(source.next_batch())
        stopping = asyncio.create_task(self._process.stop.wait())
        try:
            await asyncio.wait({incoming, stopping}, timeout=_IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                return None
            if not incoming.done():
                incoming.cancel()
                await asyncio.wait({incoming})
            return None if incoming.cancelled() else incoming.result()
        finally:
            stopping.cancel()
            incoming.cancel()

    async def _process_batch(
        self,
        pipeline: IngestPipeline,
        connection: asyncpg.Connection,
        read: ConsumerInput,
        source: MessageSource,
        batch: MessageBatch,
    ) -> None:
        prometheus_metrics.INGEST_OLDEST.set(batch.received_at)
        span = start_batch_span(
            "ingest batch",
            list(batch.traceparents.values()),
            received_at=batch.received_at,
            messages=len(batch),
        )
        with use_span(span):
            await self._commit_batch(pipeline, connection, read, batch)
            source.acknowledge(batch)
        prometheus_metrics.INGEST_OLDEST.set(0)

    async def _look_around(
        self,
        pipeline: IngestPipeline,
        connection: asyncpg.Connection,
        read: ConsumerInput,
        batch: MessageBatch | None,
    ) -> None:
        """Do what is due between batches. Timers wait while there may be a backlog.

        After a broker outage the backlog comes first: a box whose messages are queued is not silent. On a
        stop request nothing is known of the backlog.
        """
        try:
            await read.tend(connection, pipeline)
            if self._process.stop.is_set() or (batch is not None and read.may_have_more(batch)):
                return
            now = await read.find_timer_time(connection)
            if now is None:
                return
            receipt = await self._finish_in_time(connection, pipeline.run_due_timers(connection, now=now))
        except LogChangedError as error:
            raise _LostError from error
        except DATABASE_ERRORS as error:
            if connection.is_closed() or not isinstance(error, asyncpg.PostgresError):
                raise _LostError from error
            if not is_transient(error):
                raise
            prometheus_metrics.INGEST_RETRIES.labels(type(error).__name__).inc()
            _log.warning("look_tried_again", error=redact_error(error))
            return
        await self._report(connection, read, receipt)

    async def _commit_batch(
        self,
        pipeline: IngestPipeline,
        connection: asyncpg.Connection,
        read: ConsumerInput,
        batch: MessageBatch,
    ) -> None:
        """Commit a batch, in parts if much of it is decoded off the fast path."""
        begin = 0
        while begin < len(batch.topics) or not begin:
            now = datetime.now(UTC)
            intake = self._decode(batch.since(begin), now)
            begin += max(intake.message_count, 1)
            finish = read.finish(batch) if begin >= len(batch.topics) else None
            receipt = await self._commit(pipeline, connection, intake, now, finish)
            await self._report(connection, read, receipt)

    async def _commit(
        self,
        pipeline: IngestPipeline,
        connection: asyncpg.Connection,
        intake: DecodedBatch,
        now: datetime,
        finish: Finish | None,
    ) -> BatchReceipt:
        wait = self._settings.reconnect_min_s
        progress = CommitProgress()
        while True:
            began = time.monotonic()
            self._process.mark_progress()
            try:
                committing = pipeline.commit(connection, intake, now=now, progress=progress, finish=finish)
                receipt = await self._finish_in_time(connection, committing)
                break
            except FencedError as error:
                raise _LostError from error
            except DATABASE_ERRORS as error:
                # After a timeout or a broken stream the state of the connection is unknown.
                if connection.is_closed() or not isinstance(error, asyncpg.PostgresError):
                    lost = _LostError()
                    lost.batch = _batch(intake, began)
                    raise lost from error
                if not is_transient(error):
                    raise
                # A deadlock, a full disk, a slow lock: the connection is usable, so the batch is retried.
                prometheus_metrics.INGEST_RETRIES.labels(type(error).__name__).inc()
                _log.warning("batch_tried_again", error=redact_error(error), **_batch(intake, began))
                self._wait_for_database(error)
                await self._process.pause(wait)
                wait = min(wait * 2, self._settings.reconnect_max_s)
                if self._process.stop.is_set():
                    raise _LostError from error
        self._process.state = "consuming"
        observe_commit(intake, intake.message_count)
        if intake.rows:
            prometheus_metrics.INGEST_MEASURED.set(find_typical_time(intake.rows) / US_PER_S)
        return receipt

    async def _finish_in_time(
        self, connection: asyncpg.Connection, committing: Coroutine[Any, Any, BatchReceipt]
    ) -> BatchReceipt:
        """Wait for a commit, and give up after a timeout when the process is asked to stop.

        Raises:
            _LostError: the wait was given up. The batch may be committed; then its redelivery only finds
                duplicates.
        """
        work = asyncio.create_task(committing)
        stopping = asyncio.create_task(self._process.stop.wait())
        try:
            await asyncio.wait({work, stopping}, timeout=_DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not stopping.done():
                # So that /readyz does not report a consumer as ready while its statement hangs.
                self._wait_for_database(None)
                await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait({work}, timeout=_DRAIN_S)
            if work.done():
                return work.result()
            connection.terminate()
            raise _LostError
        finally:
            stopping.cancel()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    def _decode(self, batch: MessageBatch, now: datetime) -> DecodedBatch:
        intake = decode_batch(
            batch.topics,
            batch.payloads,
            retained=batch.retained,
            poison=batch.poison,
            now_us=from_datetime(now),
            max_future_us=round(self._settings.max_future_s * US_PER_S),
        )
        intake.correlations = batch.correlations
        intake.edges = batch.edges
        intake.traceparents = batch.traceparents
        intake.received_at = batch.received_at
        prometheus_metrics.INGEST_MESSAGES.labels("telemetry").inc(
            intake.message_count - len(intake.events) - len(intake.statuses) - len(intake.configs)
        )
        prometheus_metrics.INGEST_MESSAGES.labels("event").inc(len(intake.events))
        prometheus_metrics.INGEST_MESSAGES.labels("status").inc(len(intake.statuses))
        prometheus_metrics.INGEST_MESSAGES.labels("config").inc(len(intake.configs))
        prometheus_metrics.INGEST_BYTES.inc(sum(map(len, batch.payloads[: intake.message_count])))
        return intake

    async def _report(
        self, connection: asyncpg.Connection, read: ConsumerInput, receipt: BatchReceipt
    ) -> None:
        receipt.count()
        if self._settings.ack_enabled and receipt.acks:
            read.publish_acks(receipt.acks)
        if receipt.transitions:
            # The batch is committed: a failed wake-up only costs the dispatcher's poll interval.
            with suppress(*DATABASE_ERRORS):
                await wake_dispatcher(connection)

    def _observe(self, source: MessageSource, read: ConsumerInput) -> None:
        counters = source.counters
        prometheus_metrics.INGEST_CONNECTED.set(int(source.connected))
        self._process.state = "consuming" if read.waiting_for is None else f"waiting for {read.waiting_for}"
        for name, counter in (
            ("reconnects", prometheus_metrics.INGEST_RECONNECTS),
            ("malformed", prometheus_metrics.INGEST_MALFORMED),
            ("poison", prometheus_metrics.INGEST_POISON),
            ("pauses", prometheus_metrics.INGEST_PAUSES),
            ("stale_acks", prometheus_metrics.INGEST_STALE_ACKS),
        ):
            total = getattr(counters, name)
            counter.inc(total - self._reported[name])
            self._reported[name] = total


def _batch(intake: DecodedBatch, began: float) -> dict[str, Any]:
    """Return the log fields of a batch that failed."""
    return {"batch_ran_s": round(time.monotonic() - began, 2), "messages": len(intake.messages)}
