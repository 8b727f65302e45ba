"""Works on back-tests beside whatever else its process does: each on a connection of its own.

Several are under way at once, of different organisations, and take turns a page at a time: a long one keeps
nobody waiting, and together they take no more of the process than one.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

import asyncpg

from app.platform.db.database import DATABASE_ERRORS, Database, is_transient
from app.platform.observability.metrics_and_logs import (
    BACKTESTS_OLDEST,
    BACKTESTS_RUNNING,
    BACKTESTS_WAITING,
    get_logger,
)
from app.rules.backtests import job_leases
from app.rules.backtests.backtest_run import BacktestError, BacktestProgress, run_backtest
from app.rules.backtests.job_leases import BacktestLease

CONCURRENCY_LIMIT: Final = 4
"""So many are under way at once."""

_log = get_logger(__name__)
_RENEW_EVERY_S: Final = 1.0
_PRUNE_EVERY_S: Final = 300.0
_SHOW_EVERY_S: Final = 2.0
_STOP_S: Final = 5.0


class _LostError(Exception):
    """The back-test is held no more: it was cancelled, or somebody overtook us."""


class _StoppedError(Exception):
    """The process is to end."""


class BacktestWorker:
    """Call `tick` now and then; `stop` before the process ends."""

    def __init__(self) -> None:
        self._working: dict[UUID, asyncio.Task[None]] = {}
        self._judging = asyncio.Lock()
        self._stopping = False
        self._pruned_at = -_PRUNE_EVERY_S
        self._shown_at = -_SHOW_EVERY_S

    async def tick(self, database: Database, connection: asyncpg.Connection) -> None:
        """See whether back-tests wait, and begin with them. Does not wait for their ends.

        Args:
            database: opens the connection that each back-test has for itself.
            connection: for what is done here and now.
        """
        if time.monotonic() - self._pruned_at >= _PRUNE_EVERY_S:
            await job_leases.prune_backtests(connection)
            self._pruned_at = time.monotonic()
        self._working = {owner: task for owner, task in self._working.items() if not task.done()}
        self._stopping = False
        while len(self._working) < CONCURRENCY_LIMIT:
            held = await job_leases.lease_backtest(connection, self._working)
            if held is None:
                break
            self._working[held.asked.organisation_id] = asyncio.create_task(self._work(database, held))
        if time.monotonic() - self._shown_at >= _SHOW_EVERY_S:
            found = await job_leases.count_unfinished(connection)
            BACKTESTS_WAITING.set(found.waiting)
            BACKTESTS_RUNNING.set(found.running)
            BACKTESTS_OLDEST.set(found.oldest_s)
            self._shown_at = time.monotonic()

    async def idle(self) -> None:
        """Wait for the ends of the back-tests under way."""
        if self._working:
            await asyncio.wait(self._working.values())

    async def stop(self) -> None:
        """End soon; back-tests that were begun are left to the next one."""
        if not self._working:
            return
        self._stopping = True
        _, late = await asyncio.wait(self._working.values(), timeout=_STOP_S)
        for task in late:
            task.cancel()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the back-tests at a time, in the order in which they came."""
        async with self._judging:
            if self._stopping:
                raise _StoppedError
            yield

    async def _work(self, database: Database, held: BacktestLease) -> None:
        """Try a rule; whatever happens, this ends without an error."""
        try:
            connection = await database.connect()
        except DATABASE_ERRORS as error:
            # Its lease runs out, then it is claimed again.
            _log.warning("backtest_interrupted", backtest=str(held.id), error=repr(error))
            return
        try:
            await self._try(database, connection, held)
        except _LostError:
            _log.info("backtest_given_up", backtest=str(held.id))
        except _StoppedError:
            with suppress(*DATABASE_ERRORS):
                await job_leases.release_lease(connection, held)
        except DATABASE_ERRORS as error:
            _log.warning("backtest_interrupted", backtest=str(held.id), error=repr(error))
        finally:
            connection.terminate()

    async def _try(self, database: Database, connection: asyncpg.Connection, held: BacktestLease) -> None:
        renewed_at = time.monotonic()
        last = BacktestProgress()

        async def report(progress: BacktestProgress) -> None:
            nonlocal renewed_at, last
            last = progress
            if self._stopping:
                raise _StoppedError
            if time.monotonic() - renewed_at >= _RENEW_EVERY_S:
                renewed_at = time.monotonic()
                if not await job_leases.renew_lease(connection, held, progress):
                    raise _LostError

        try:
            result = await run_backtest(connection, database, held.asked, report, self._turn)
        except (_LostError, _StoppedError):
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
