"""Hears the wake-ups of the outbox.

Owns the connection that LISTENs, and its reconnection. Must not read the outbox: whoever is woken does.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg

from app.notifications.events.outbox import CHANNEL
from app.platform.db.database import Database
from app.platform.observability.metrics_and_logs import get_logger

DATABASE_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What a database that is down, restarting or full raises: to be waited out."""

_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
# A connection that is half open says nothing: ask it now and then.
_PROOF_EVERY_S: Final = 30.0
_log = get_logger(__name__)


async def listen_for_wakeups(
    database: Database, heard: Callable[[], None], *, channel: str = CHANNEL
) -> None:
    """Call `heard` at each wake-up, and at each (re)connection: one may have been missed. Ends by cancel."""
    wait = _FIRST_WAIT_S
    while True:
        try:
            connection = await database.connect()
        except DATABASE_ERRORS as error:
            _log.warning("listen_connect_failed", error=str(error) or type(error).__name__)
            await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 (spread, not secrecy)
            wait = min(wait * 2, _LONGEST_WAIT_S)
            continue
        wait = _FIRST_WAIT_S
        try:
            await _hear(connection, heard, channel)
        except DATABASE_ERRORS as error:
            _log.warning("listen_lost", error=str(error) or type(error).__name__)
            await asyncio.sleep(wait)
        finally:
            with suppress(*DATABASE_ERRORS):
                await connection.close(timeout=1)


async def _hear(connection: asyncpg.Connection, heard: Callable[[], None], channel: str) -> None:
    gone = asyncio.Event()
    connection.add_termination_listener(lambda _: gone.set())
    await connection.add_listener(channel, lambda *_: heard())
    heard()
    while not gone.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(_PROOF_EVERY_S):
                await gone.wait()
        if not gone.is_set():
            await connection.execute("SELECT 1", timeout=5)
    raise OSError("the connection was closed")
