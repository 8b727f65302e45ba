"""Writes each process's heartbeat to the database, for `/readyz` and operators."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import asyncpg

from app.platform.db.database import DATABASE_ERRORS, Database, RawConnection
from app.platform.observability.metrics_and_logs import get_logger

EVERY_S = 2.0
STALE_S = 10.0
WAITING: Final = "waiting for the database"
"""State of a process while its own work gets no usable response from the database."""
BROKER_MONITOR: Final = "broker"
"""Pseudo-role under which the broker's monitor reports a problem; the state is empty when all is well."""

_BEAT = (
    "INSERT INTO heartbeats (role, instance, state, at) VALUES ($1, $2, $3, now()) "
    "ON CONFLICT (role, instance) DO UPDATE SET state = excluded.state, at = excluded.at"
)
# Both times are from the server's clock.
LIST_HEARTBEATS: Final = (
    "SELECT role, instance, state, extract(epoch FROM now() - at)::float8 FROM heartbeats ORDER BY at DESC"
)
_log = get_logger(__name__)


class HeartbeatRow(NamedTuple):
    """A row of `heartbeats`, with its age in seconds by the server's clock."""

    role: str
    instance: str
    state: str
    age_s: float

    @property
    def fresh(self) -> bool:
        """Whether it is recent enough to be valid."""
        return self.age_s <= STALE_S


async def list_heartbeats(connection: RawConnection) -> list[HeartbeatRow]:
    """List the heartbeats of all processes, the newest first."""
    return [HeartbeatRow(*row) for row in await connection.fetch(LIST_HEARTBEATS)]


def instance_name() -> str:
    """Return a name for this process, unique among those that share a database."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def write_heartbeat(connection: asyncpg.Connection, role: str, state: str) -> None:
    """Write one heartbeat of this process.

    Args:
        connection: a connection to the database.
        role: the process role.
        state: its state.
    """
    await connection.execute(_BEAT, role, instance_name(), state, timeout=EVERY_S * 2)


async def delete_old_heartbeats(connection: asyncpg.Connection) -> None:
    """Delete the heartbeats of processes that stopped writing them five minutes ago."""
    await connection.execute("DELETE FROM heartbeats WHERE at < now() - interval '5 minutes'")


async def run_heartbeat(database: Database, role: str, state: Callable[[], str], stop: asyncio.Event) -> None:
    """Write a process's state every two seconds, on a separate connection, until `stop`.

    While the database is unavailable nothing is written, and the heartbeat's age shows it. If the connection
    hung and a new one responds, the process reports that it waits for the database for STALE_S more seconds:
    its other connections may hang too, which an idle process does not notice.

    Args:
        database: Opens the connection.
        role: The process role.
        state: Returns the current state.
        stop: Ends the heartbeat, and deletes it.
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
