"""Connections of a pool that were lost while nobody used them.

A ping before each use costs three round trips. Here the connection itself tells: the event loop has seen the
end of one whose server went away. Only one that was idle for long is asked, in case nobody said good-bye.
"""

import time
from typing import Any, Final

import asyncpg
from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

PING_AFTER_S: Final = 30.0
"""An idle connection is asked after so long (s)."""

_SINCE: Final = "vigie.idle_since"


def is_connection_lost(connection: asyncpg.Connection) -> bool:
    """Whether the end of a connection was seen: the server said good-bye, or its machine did for it."""
    return connection.is_closed()


def replace_lost_connections(engine: Engine) -> None:
    """Have connections that were lost replaced when they are taken out of an engine's pool.

    Args:
        engine: one of asyncpg; what is asked is asked in its own way.
    """

    @event.listens_for(engine, "checkin")
    def _laid_down(_: Any, entry: ConnectionPoolEntry) -> None:  # noqa: ANN401 (DBAPI)
        entry.info[_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _taken_up(connection: Any, entry: ConnectionPoolEntry, _: Any) -> None:  # noqa: ANN401 (DBAPI)
        if is_connection_lost(connection.driver_connection):
            raise DisconnectionError
        since = entry.info.pop(_SINCE, None)
        if since is None or time.monotonic() - since < PING_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except (engine.dialect.loaded_dbapi.Error, OSError) as error:
            raise DisconnectionError from error
