"""Listens for notifications of the database (LISTEN), and reconnects when the connection is lost."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg

from app.platform.db.database import Database
from app.platform.observability.metrics_and_logs import get_logger

LISTEN_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""The errors of a database that is down, restarting or full: callers retry with a back-off."""

_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
# Detects a half-open connection, on which no error arrives.
_KEEPALIVE_S: Final = 30.0
_log = get_logger(__name__)


async def wait_for_event(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event until a timeout (seconds)."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


async def listen_for_wakeups(
    database: Database,
    on_wakeup: Callable[[], None],
    *,
    channel: str,
    on_lost: Callable[[], object] | None = None,
) -> None:
    """Call `on_wakeup` at each notification, and at each connection: one may have been missed.

    Runs until cancelled.

    Args:
        database: Opens the connection.
        on_wakeup: Called at each notification, and once a connection listens.
        channel: The channel.
        on_lost: Called when the connection is lost: notifications are missed until the next `on_wakeup`.
    """
    wait = _FIRST_WAIT_S
    while True:
        try:
            connection = await database.connect()
        except LISTEN_ERRORS as error:
            _log.warning("listen_connect_failed", error=str(error) or type(error).__name__)
            await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 (spread, not secrecy)
            wait = min(wait * 2, _LONGEST_WAIT_S)
            continue
        wait = _FIRST_WAIT_S
        try:
            await _listen(connection, on_wakeup, channel)
        except LISTEN_ERRORS as error:
            _log.warning("listen_lost", error=str(error) or type(error).__name__)
            if on_lost is not None:
                on_lost()
            await asyncio.sleep(wait)
        finally:
            with suppress(*LISTEN_ERRORS):
                await connection.close(timeout=1)


async def _listen(connection: asyncpg.Connection, on_wakeup: Callable[[], None], channel: str) -> None:
    gone = asyncio.Event()
    connection.add_termination_listener(lambda _: gone.set())
    await connection.add_listener(channel, lambda *_: on_wakeup())
    on_wakeup()
    while not gone.is_set():
        await wait_for_event(gone, _KEEPALIVE_S)
        if not gone.is_set():
            await connection.execute("SELECT 1", timeout=5)
    raise OSError("the connection was closed")
