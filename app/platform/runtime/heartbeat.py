"""What each role says of itself, in the database, so that `/readyz` and operators can see it."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg

from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.observability.metrics_and_logs import get_logger

EVERY_S = 2.0
STALE_S = 10.0
WAITING: Final = "waiting for the database"
"""What a role says while its own work gets no answer, or none that it can use."""
BROKER_MONITOR: Final = "broker"
"""Not a role: under this name the one who watches the broker says how it does; nothing when all is well."""

_BEAT = (
    "INSERT INTO heartbeats (role, instance, state, at) VALUES ($1, $2, $3, now()) "
    "ON CONFLICT (role, instance) DO UPDATE SET state = excluded.state, at = excluded.at"
)
_log = get_logger(__name__)


def instance_name() -> str:
    """A name for this process, unique among those that share a database."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def write_heartbeat(connection: asyncpg.Connection, role: str, state: str) -> None:
    """Write one heartbeat of this process."""
    await connection.execute(_BEAT, role, instance_name(), state, timeout=EVERY_S * 2)


async def run_heartbeat(database: Database, role: str, state: Callable[[], str], stop: asyncio.Event) -> None:
    """Write the role's state every two seconds, on a connection of its own, until `stop`.

    While the database is away nothing is written: that is what its age then shows. Where the connection
    hung, and a new one answers, the role is said to wait for the database for STALE_S more seconds: what
    hung one of its connections may hang the others, which an idle role does not notice.
    """
    instance = instance_name()
    loop = asyncio.get_running_loop()
    connection: asyncpg.Connection | None = None
    doubtful_until = 0.0
    try:
        while not stop.is_set():
            try:
                if connection is None or connection.is_closed():
                    connection = await database.connect()
                await write_heartbeat(connection, role, WAITING if loop.time() < doubtful_until else state())
            except DATABASE_ERRORS as error:
                _log.warning("heartbeat_failed", error=repr(error))
                if isinstance(error, TimeoutError):
                    doubtful_until = loop.time() + STALE_S
                if connection is not None:
                    connection.terminate()
                    connection = None
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S)
    finally:
        if connection is not None and not connection.is_closed():
            with suppress(*DATABASE_ERRORS):
                await connection.execute("DELETE FROM heartbeats WHERE instance = $1", instance, timeout=1)
            connection.terminate()
