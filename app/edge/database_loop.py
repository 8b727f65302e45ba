"""Repeats work on a database connection for as long as the process lives, and reconnects after errors."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.observability.metrics_and_logs import get_logger, redact_error

_CONNECT_TIMEOUT_S: Final = 5.0
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 2.0
_log = get_logger(__name__)


async def repeat_with_database(
    database: Database,
    name: str,
    work: Callable[[asyncpg.Connection], Awaitable[None]],
    *,
    every_s: float,
    timeout_s: float | None = None,
) -> None:
    """Call `work` periodically with a connection of its own, until cancelled.

    After an error of the database, the connection is replaced.

    Args:
        database: Opens the connection.
        name: The name of the work in logs.
        work: The work. Errors other than those of the database end the loop.
        every_s: The pause between two calls, in seconds.
        timeout_s: The longest that a call may take, in seconds; None: as long as its statements.
    """
    wait, is_lost = _FIRST_WAIT_S, False
    connection: asyncpg.Connection | None = None
    try:
        while True:
            try:
                if connection is None or connection.is_closed():
                    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                        connection = await database.connect()
                async with asyncio.timeout(timeout_s):
                    await work(connection)
            except DATABASE_ERRORS as error:
                if not is_lost:  # once, not at each attempt
                    _log.warning("edge_lost_database", work=name, error=redact_error(error))
                is_lost = True
                if connection is not None:
                    connection.terminate()
                    connection = None
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 (jitter, not a secret)
                wait = min(wait * 2, _LONGEST_WAIT_S)
                continue
            wait, is_lost = _FIRST_WAIT_S, False
            await asyncio.sleep(every_s)
    finally:
        if connection is not None:
            connection.terminate()
