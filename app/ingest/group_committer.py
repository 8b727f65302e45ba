"""Commits HTTP ingest calls that arrive together in one transaction (group commit).

The first call is committed at once. Calls that arrive meanwhile form the next groups. After a group of
several calls, the next one waits for a moment for the next calls of the same clients. A group that takes long
does not delay them: after `_PATIENCE_S`, the next group is committed over another connection.

Each call gets its own outcome as soon as it is committed. A caller that goes away, or whose deadline is over,
cancels nothing: its call is left out if its group has not begun, else it is committed with the others.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from app.ingest.codec.decoded_batch import DecodedBatch, join_calls
from app.ingest.fair_call_queue import CallSender, FairCallQueue, estimate_cost_us
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.batch_tracing import observe_commit, start_batch_span
from app.ingest.pipeline.transaction_sizing import CommitProgress, estimate_conditions
from app.ingest.prometheus_metrics import HTTP_GROUP_CALLS, INGEST_RETRIES
from app.notifications.events.outbox import wake_dispatcher
from app.platform.db.database import DATABASE_ERRORS, RawConnection, is_transient
from app.platform.kernel.errors import UnavailableError
from app.platform.observability.metrics_and_logs import find_root_cause, get_logger, redact_error
from app.platform.observability.tracing import current_traceparent, use_span

_log = get_logger(__name__)
_TRIES: Final = 3
_PAUSE_S: Final = 0.05
_ACQUIRE_TIMEOUT_S: Final = 10
_PATIENCE_S: Final = 0.02
# The wait for further calls ends when none arrives within one step, and after `_GATHER_MOST_S` at the latest.
_GATHER_STEP_S: Final = 0.001
_GATHER_MOST_S: Final = 0.01
# Groups after which a worker returns its connection: others may wait for one, and the pool renews old ones.
_GROUPS_KEPT: Final = 32


@dataclass(slots=True, eq=False)
class _PendingCall:
    """A call that waits for its commit."""

    intake: DecodedBatch
    now: datetime
    outcome: asyncio.Future[BatchReceipt]

    @property
    def is_committed(self) -> bool:
        """Whether it has an outcome, and no error."""
        return self.outcome.done() and not self.outcome.cancelled() and self.outcome.exception() is None


class _GroupProgress(CommitProgress):
    """The progress of a group: gives each call its outcome as soon as all of the call is committed."""

    def __init__(self, calls: Sequence[_PendingCall]) -> None:
        super().__init__()
        self._calls = calls
        self._completed = 0

    @property
    def is_over(self) -> bool:
        """Whether no caller waits for an outcome."""
        return all(call.outcome.done() for call in self._calls)

    def add(self, receipt: BatchReceipt, rest: DecodedBatch | None) -> None:
        """Add a committed part, which ends within a call only if that call is large."""
        super().add(receipt, rest)
        end = len(self._calls)
        if rest is not None:
            end = rest.call_numbers[rest.arrivals()[0][0]] if rest.calls else 0
        for number in range(self._completed, end):
            self._complete(number)
        self._completed = max(self._completed, end)

    def add_call(self, number: int, receipt: BatchReceipt) -> None:
        """Add what remained of one call, committed alone."""
        super().add(receipt, self.rest)
        self._complete(number)

    def fail(self, error: BaseException, number: int | None = None) -> None:
        """Fail one call, or all that wait for their outcome."""
        for call in self._calls if number is None else self._calls[number : number + 1]:
            if not call.outcome.done():
                call.outcome.set_exception(error)

    def _complete(self, number: int) -> None:
        call = self._calls[number]
        if self.receipt is not None and not call.outcome.done():
            call.outcome.set_result(self.receipt.find_call(number))


class _WorkerConnection:
    """The connection of a worker. It is kept for several groups, as the pool resets what it gets back.

    Args:
        pool: where it comes from.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._connection: PoolConnectionProxy | None = None

    async def get(self) -> PoolConnectionProxy:
        """Return the connection; takes one from the pool first if there is none."""
        if self._connection is None:
            self._connection = await self._pool.acquire(timeout=_ACQUIRE_TIMEOUT_S)
        return self._connection

    async def release(self) -> None:
        """Return the connection to the pool, which closes it if it cannot be used any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*DATABASE_ERRORS):
                await self._pool.release(connection)


async def wake_dispatcher_if_possible(connection: RawConnection) -> None:
    """Wake the dispatcher after a commit. A failed wake-up only costs the dispatcher's poll interval."""
    with suppress(*DATABASE_ERRORS):
        await wake_dispatcher(connection)


class GroupCommitter:
    """Commits calls in groups.

    Args:
        pipeline: the pipeline of the API process.
        pool: connections of the role that stores samples. A group holds one of them.
    """

    def __init__(self, pipeline: IngestPipeline, pool: asyncpg.Pool) -> None:
        self._pipeline = pipeline
        self._pool = pool
        self._queue: FairCallQueue[_PendingCall] = FairCallQueue()
        self._workers: set[asyncio.Task[None]] = set()
        self._overdue: asyncio.TimerHandle | None = None
        self._arrived = 0

    async def commit(self, intake: DecodedBatch, sender: CallSender, now: datetime) -> BatchReceipt:
        """Commit a call with others, and return its own outcome.

        Args:
            intake: the call.
            sender: its tenant.
            now: the time of its arrival.

        Raises:
            UnavailableError: the database cannot store all of it now.
        """
        intake.received_at = now.timestamp()
        if (traceparent := current_traceparent()) is not None:
            intake.traceparents = dict.fromkeys(range(len(intake.messages)), traceparent)
        outcome: asyncio.Future[BatchReceipt] = asyncio.get_running_loop().create_future()
        conditions = estimate_conditions(intake, self._pipeline.registry.snapshot)
        cost = estimate_cost_us(len(intake), conditions)
        self._queue.add(sender, _PendingCall(intake, now, outcome), cost)
        self._arrived += 1
        if not self._workers:
            self._start_worker()
        elif self._overdue is None:
            self._watch()
        return await outcome

    async def close(self) -> None:
        """Commit all calls that were accepted."""
        while self._workers:
            await asyncio.wait(self._workers)

    def _start_worker(self) -> None:
        # In a context of its own: it works for many callers.
        self._workers.add(asyncio.create_task(self._run_worker(), context=Context()))

    def _watch(self) -> None:
        self._overdue = asyncio.get_running_loop().call_later(_PATIENCE_S, self._help)

    def _help(self) -> None:
        """Start another worker if calls have waited for long, and the pool has a connection."""
        self._overdue = None
        if not len(self._queue):
            return
        if len(self._workers) < self._pool.get_max_size():
            self._start_worker()
        self._watch()

    async def _run_worker(self) -> None:
        connection = _WorkerConnection(self._pool)
        try:
            await self._commit_groups(connection)
        finally:
            # At once, not by a callback: a call that comes next has to start another worker.
            worker = asyncio.current_task()
            if worker is not None:
                self._workers.discard(worker)
            await connection.release()

    async def _commit_groups(self, connection: _WorkerConnection) -> None:
        """Commit groups until no call waits."""
        for number in count(1):
            if not len(self._queue):
                return
            if self._overdue is not None:
                self._overdue.cancel()
                self._overdue = None
            group = [call for call in self._queue.take() if not call.outcome.done()]
            if not group:
                continue
            is_full = len(self._queue) > 0
            if is_full:
                self._watch()
            progress = _GroupProgress(group)
            try:
                await self._commit_group(group, progress, connection)
            except Exception as error:  # noqa: BLE001 (each caller raises it)
                progress.fail(error)
            finally:
                progress.fail(_unavailable())
                if progress.receipt is not None:
                    progress.receipt.count()
            if number % _GROUPS_KEPT == 0:
                await connection.release()
            if len(group) > 1 and not is_full:
                await self._gather(len(group))

    async def _gather(self, answered: int) -> None:
        """Wait for the next calls of the clients that were just answered, so that they are one group.

        What a group costs depends little on its calls. Otherwise the clients would be in two groups by turns,
        each waiting for the other one.

        Args:
            answered: how many they are.
        """
        everyone = self._arrived + answered
        most = time.monotonic() + _GATHER_MOST_S
        before = None
        while before != self._arrived and self._arrived < everyone and time.monotonic() < most:
            before = self._arrived
            await asyncio.sleep(_GATHER_STEP_S)

    async def _commit_group(
        self, group: Sequence[_PendingCall], progress: _GroupProgress, held: _WorkerConnection
    ) -> None:
        """Commit a group, with retries. Calls that cannot be committed now have no outcome afterwards."""
        HTTP_GROUP_CALLS.observe(len(group))
        batch = join_calls([call.intake for call in group])
        callers = [call.intake.traceparents[0] for call in group if call.intake.traceparents]
        with use_span(
            start_batch_span("ingest calls", callers, received_at=batch.received_at, messages=len(group))
        ):
            await self._commit_joined(batch, group, progress, held)
        observe_commit(batch, sum(call.is_committed for call in group))

    async def _commit_joined(
        self,
        batch: DecodedBatch,
        group: Sequence[_PendingCall],
        progress: _GroupProgress,
        held: _WorkerConnection,
    ) -> None:
        now = max(call.now for call in group)
        alone = False
        for left in reversed(range(_TRIES)):
            began = time.monotonic()
            try:
                connection = await held.get()
                if (left and not alone) or not batch.calls:
                    await self._pipeline.commit(connection, batch, now=now, progress=progress)
                else:
                    await self._commit_each(connection, batch, now, progress)
                if progress.receipt is not None and progress.receipt.transitions:
                    await wake_dispatcher_if_possible(connection)
            except DATABASE_ERRORS as error:
                await held.release()
                if progress.is_over:
                    return  # the connection was lost after the commit
                if not is_transient(error):
                    raise
                _record_retry(error, began, len(group), left)
                await asyncio.sleep(_PAUSE_S)
            except Exception:
                await held.release()
                if alone or not left or not batch.calls:
                    raise
                # An unexpected error that one call causes must not fail the calls of others.
                alone = True
            else:
                return

    async def _commit_each(
        self, connection: RawConnection, batch: DecodedBatch, now: datetime, progress: _GroupProgress
    ) -> None:
        """Commit what is left of a group call by call, so that a call which always fails fails alone."""
        rest = batch if progress.receipt is None else progress.rest
        for number, part in () if rest is None else rest.split_calls():
            began = time.monotonic()
            try:
                progress.add_call(number, await self._pipeline.commit(connection, part, now=now))
            except DATABASE_ERRORS as error:
                if not is_transient(error) or connection.is_closed():
                    raise
                _record_retry(error, began, 1, 0)
                progress.fail(_unavailable(), number)
            except Exception as error:  # noqa: BLE001 (its caller raises it)
                progress.fail(error, number)


def _record_retry(error: Exception, began: float, calls: int, left: int) -> None:
    INGEST_RETRIES.labels(type(error).__name__).inc()
    _log.warning(
        "telemetry_tried_again",
        error=redact_error(error),
        because=redact_error(find_root_cause(error)),
        batch_ran_s=round(time.monotonic() - began, 2),
        calls=calls,
        left=left,
    )


def _unavailable() -> UnavailableError:
    return UnavailableError(
        "The database cannot store all samples now. Send the same request again: samples that are already "
        "stored are counted as duplicates."
    )
