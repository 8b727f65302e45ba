"""Works on back-tests beside whatever else its process does: one at a time, on a connection of its own."""

import asyncio
import time
from contextlib import suppress
from typing import Final

import asyncpg

from app.core.database import TRANSIENT, Database, is_transient
from app.core.observability import get_logger
from app.rules import backtest_queue
from app.rules.backtest_queue import Claim
from app.rules.backtest_run import GoneError, Progress, run

_log = get_logger(__name__)
_RENEW_EVERY_S: Final = 1.0
_PRUNE_EVERY_S: Final = 300.0
_STOP_S: Final = 5.0


class _LostError(Exception):
    """The back-test is held no more: it was cancelled, or somebody overtook us."""


class _StoppedError(Exception):
    """The process is to end."""


class BacktestWorker:
    """Call `tick` now and then; `stop` before the process ends."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._pruned_at = -_PRUNE_EVERY_S

    async def tick(self, database: Database, connection: asyncpg.Connection) -> None:
        """See whether a back-test waits, and begin with it. Does not wait for its end.

        Args:
            database: opens the connection that a back-test has for itself.
            connection: for what is done here and now.
        """
        if time.monotonic() - self._pruned_at >= _PRUNE_EVERY_S:
            await backtest_queue.prune(connection)
            self._pruned_at = time.monotonic()
        if self._task is not None and not self._task.done():
            return
        self._stopping = False
        held = await backtest_queue.claim(connection)
        if held is not None:
            self._task = asyncio.create_task(self._work(database, held))

    async def idle(self) -> None:
        """Wait for the end of the back-test under way."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def stop(self) -> None:
        """End soon; a back-test that was begun is left to the next one."""
        if self._task is None:
            return
        self._stopping = True
        _, late = await asyncio.wait({self._task}, timeout=_STOP_S)
        for task in late:
            task.cancel()

    async def _work(self, database: Database, held: Claim) -> None:
        """Try a rule; whatever happens, this ends without an error."""
        try:
            connection = await database.connect()
        except TRANSIENT as error:
            # Its lease runs out, then it is claimed again.
            _log.warning("backtest_interrupted", backtest=str(held.id), error=repr(error))
            return
        try:
            await self._try(connection, held)
        except _LostError:
            _log.info("backtest_given_up", backtest=str(held.id))
        except _StoppedError:
            with suppress(*TRANSIENT):
                await backtest_queue.release(connection, held)
        except TRANSIENT as error:
            _log.warning("backtest_interrupted", backtest=str(held.id), error=repr(error))
        finally:
            connection.terminate()

    async def _try(self, connection: asyncpg.Connection, held: Claim) -> None:
        renewed_at = time.monotonic()
        last = Progress()

        async def report(progress: Progress) -> None:
            nonlocal renewed_at, last
            last = progress
            if self._stopping:
                raise _StoppedError
            if time.monotonic() - renewed_at >= _RENEW_EVERY_S:
                renewed_at = time.monotonic()
                if not await backtest_queue.renew(connection, held, progress):
                    raise _LostError

        try:
            result = await run(connection, held.asked, report)
        except (_LostError, _StoppedError):
            raise
        except GoneError:
            await backtest_queue.finish(connection, held, last, error="site_gone")
        except Exception as error:
            if is_transient(error):
                raise
            _log.exception("backtest_failed", backtest=str(held.id))
            await backtest_queue.finish(connection, held, last, error="internal")
        else:
            await backtest_queue.finish(connection, held, last, result=result)
            _log.info("backtest_done", backtest=str(held.id), **result["summary"])
