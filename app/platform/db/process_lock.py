"""Selects one of several processes by an advisory lock, which a process that hangs loses after ten seconds.

The lock ends with its session, and the session of a suspended process would remain for as long as its host
answers. So the session has nothing else to do than a statement a second, and the server ends it if none
arrives.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg
import structlog

from app.platform.db.database import DATABASE_ERRORS, Database

END_SILENT_SESSION: Final = """
SELECT set_config('idle_session_timeout', '10s', false),
       set_config('idle_in_transaction_session_timeout', '10s', false),
       set_config('tcp_keepalives_idle', '3', false), set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10000', false)
"""
"""Lets the server end the session when it is silent: of a process that was suspended, or a lost machine."""

_EVERY_S: Final = 1.0
_ANSWER_S: Final = 10.0
_log = structlog.get_logger(__name__)


class ProcessLock:
    """An advisory lock in a session of its own.

    Args:
        connection: The session. The lock closes it.
        key: The key of the lock.
        on_lost: Called when the lock is lost: another process may have it.
    """

    def __init__(self, connection: asyncpg.Connection, key: int, on_lost: Callable[[], None]) -> None:
        self._connection = connection
        self._key = key
        self._on_lost = on_lost
        self._keeping: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, database: Database, key: int, on_lost: Callable[[], None]) -> "ProcessLock":
        """Open the session, without the lock."""
        connection = await database.connect()
        try:
            await connection.execute(END_SILENT_SESSION)
        except BaseException:
            connection.terminate()
            raise
        return cls(connection, key, on_lost)

    async def try_acquire(self) -> bool:
        """Return whether this process has the lock now. Call it every second until it does.

        Raises:
            asyncpg.InterfaceError: The session has ended, and the lock with it.
        """
        if self._keeping is None and await self._connection.fetchval(
            "SELECT pg_try_advisory_lock($1)", self._key
        ):
            self._keeping = asyncio.create_task(self._keep())
        if self._connection.is_closed():
            raise asyncpg.InterfaceError("the session of the lock has ended")
        return self._keeping is not None

    async def _keep(self) -> None:
        try:
            while True:
                await asyncio.sleep(_EVERY_S)
                await self._connection.execute("SELECT 1", timeout=_ANSWER_S)
        except DATABASE_ERRORS as error:
            _log.warning("process_lock_lost", key=self._key, error=repr(error))
            self._connection.terminate()
            self._on_lost()

    async def close(self) -> None:
        """Release the lock: end the session."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        self._connection.terminate()
