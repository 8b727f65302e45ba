"""What each role says of itself, in the database, so that `/readyz` and operators can see it."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

import asyncpg

from app.core.database import TRANSIENT, Database
from app.core.observability import get_logger

EVERY_S = 2.0
STALE_S = 10.0
_BEAT = (
    "INSERT INTO heartbeats (role, instance, state, at) VALUES ($1, $2, $3, now()) "
    "ON CONFLICT (role, instance) DO UPDATE SET state = excluded.state, at = excluded.at"
)
_log = get_logger(__name__)


def instance_name() -> str:
    """A name for this process, unique among those that share a database."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def beat(database: Database, role: str, state: Callable[[], str], stop: asyncio.Event) -> None:
    """Write the role's state every two seconds, on a connection of its own, until `stop`.

    While the database is away nothing is written: that is what its age then shows.
    """
    instance = instance_name()
    connection: asyncpg.Connection | None = None
    try:
        while not stop.is_set():
            try:
                if connection is None or connection.is_closed():
                    connection = await database.connect()
                await connection.execute(
                    _BEAT,
                    role,
                    instance,
                    state(),
                    timeout=EVERY_S * 2,
                )
            except TRANSIENT as error:
                _log.warning("heartbeat_failed", error=repr(error))
                if connection is not None:
                    connection.terminate()
                    connection = None
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S)
    finally:
        if connection is not None and not connection.is_closed():
            with suppress(*TRANSIENT):
                await connection.execute(
                    "DELETE FROM heartbeats WHERE role = $1 AND instance = $2", role, instance, timeout=1
                )
            connection.terminate()
