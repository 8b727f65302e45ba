"""Runs queued back-tests concurrently, each on a database connection of its own.

Back-tests of different organisations run at the same time and take turns page by page. So a long one does not
block the others, and together they use no more CPU time than one.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

import asyncpg

from app.platform.db.database import DATABASE_ERRORS, Database, is_transient
from app.platform.observability.metrics_and_logs import get_logger
from app.rules.backtests import job_leases
from app.rules.backtests.backtest_run import BacktestError, BacktestProgress, run_backtest
from app.rules.backtests.job_leases import BacktestLease
from app.rules.backtests.prometheus_metrics import (
    BACKTESTS_OLDEST,
    BACKTESTS_RUNNING,
    BACKTESTS_WAITING,
)

CONCURRENCY_LIMIT: Final = 4
"""The number of back-tests that run concurrently."""

_log = get_logger(__name__)
_RENEW_INTERVAL_S: Final = 1.0
_PRUNE_INTERVAL_S: Final = 300.0
_METRICS_INTERVAL_S: Final = 2.0
_STOP_S: Final = 5.0


class _LeaseLostError(Exception):
    """The lease was lost: the back-test was cancelled, or the lease expired."""


class _StoppedError(Exception):
    """The process is shutting down."""


class BacktestWorker:
    """Starts leased back-tests as tasks. Call `tick` regularly, and `stop` before the process exits."""

    def __init__(self) -> None:
        self._working: dict[UUID, asyncio.Task[None]] = {}
        self._evaluation_lock = asyncio.Lock()
        self._stopping = False
        self._pruned_at = -_PRUNE_INTERVAL_S
        self._shown_at = -_METRICS_INTERVAL_S

    async def tick(self, database: Database, connection: asyncpg.Connection) -> None:
        """Lease queued back-tests and start them, without waiting for their ends.

        Args:
            database: opens a connection for each back-test.
            connection: for the leases and the clean-up.
        """
        if time.monotonic() - self._pruned_at >= _PRUNE_INTERVAL_S:
            await job_leases.prune_backtests(connection)
            self._pruned_at = time.monotonic()
        self._working = {owner: task for owner, task in self._working.items() if not task.done()}
        self._stopping = False
        while len(self._working) < CONCURRENCY_LIMIT:
            held = await job_leases.lease_backtest(connection, self._working)
            if held is None:
                break
            self._working[held.request.organisation_id] = asyncio.create_task(self._work(database, held))
        if time.monotonic() - self._shown_at >= _METRICS_INTERVAL_S:
            found = await job_leases.count_unfinished(connection)
            BACKTESTS_WAITING.set(found.waiting)
            BACKTESTS_RUNNING.set(found.running)
            BACKTESTS_OLDEST.set(found.oldest_s)
            self._shown_at = time.monotonic()

    async def idle(self) -> None:
        """Wait until all running back-tests have finished."""
        if self._working:
            await asyncio.wait(self._working.values())

    async def stop(self) -> None:
        """Stop within a few seconds. Unfinished back-tests go back into the queue."""
        if not self._working:
            return
        self._stopping = True
        _, late = await asyncio.wait(self._working.values(), timeout=_STOP_S)
        for task in late:
            task.cancel()

    @asynccontextmanager
    async def _acquire_slot(self) -> AsyncIterator[None]:
        """Let one back-test evaluate at a time, in the order of requests (the lock is fair)."""
        async with self._evaluation_lock:
            if self._stopping:
                raise _StoppedError
            yield

    async def _work(self, database: Database, held: BacktestLease) -> None:
        """Run a leased back-test. Errors are logged, never raised."""
        try:
            connection = await database.connect()
        except DATABASE_ERRORS as error:
            # The lease expires, then another attempt follows.
            _log.warning("backtest_interrupted", backtest=str(held.id), error=repr(error))
            return
        try:
            await self._run(database, connection, held)
        except _LeaseLostError:
            _log.info("backtest_given_up", backtest=str(held.id))
        except _StoppedError:
            with suppress(*DATABASE_ERRORS):
                await job_leases.release_lease(connection, held)
        except DATABASE_ERRORS as error:
            _log.warning("backtest_interrupted", backtest=str(held.id), error=repr(error))
        finally:
            connection.terminate()

    async def _run(self, database: Database, connection: asyncpg.Connection, held: BacktestLease) -> None:
        renewed_at = time.monotonic()
        last = BacktestProgress()

        async def report(progress: BacktestProgress) -> None:
            nonlocal renewed_at, last
            last = progress
            if self._stopping:
                raise _StoppedError
            if time.monotonic() - renewed_at >= _RENEW_INTERVAL_S:
                renewed_at = time.monotonic()
                if not await job_leases.renew_lease(connection, held, progress):
                    raise _LeaseLostError

        try:
            result = await run_backtest(connection, database, held.request, report, self._acquire_slot)
        except (_LeaseLostError, _StoppedError):
            raise
        except BacktestError as error:
            await job_leases.finish_backtest(connection, held, last, error=error.code)
        except Exception as error:
            if is_transient(error):
                raise
            _log.exception("backtest_failed", backtest=str(held.id))
            await job_leases.finish_backtest(connection, held, last, error="internal")
        else:
            await job_leases.finish_backtest(connection, held, last, result=result)
            _log.info("backtest_done", backtest=str(held.id), **result["summary"])
