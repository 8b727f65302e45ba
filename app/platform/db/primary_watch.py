"""Ends the connections to a primary that hangs, as soon as another host is the primary.

A host that hangs keeps its connections open: its system still confirms packets. A statement would wait for
its timeout of 30 s, although a standby was promoted long before. A busy primary is no reason to give up: only
a primary with a newer timeline is.
"""

import asyncio
import weakref
from contextlib import suppress
from typing import Final

import asyncpg
import structlog

from app.platform.db.primary_connection import CONNECT_ERRORS, PrimaryConnector

_EVERY_S: Final = 2.0
_ANSWER_S: Final = 3.0  # A primary that does not answer for so long may hang.
_log = structlog.get_logger(__name__)


class PrimaryWatch:
    """Watches the primary of a database with several hosts while there are connections to it.

    It has a connection of its own, and asks it every two seconds. With one host it does nothing.

    Args:
        connector: Opens the connections.
    """

    def __init__(self, connector: PrimaryConnector) -> None:
        self._connector = connector
        self._connections: weakref.WeakSet[asyncpg.Connection] = weakref.WeakSet()
        self._own: asyncpg.Connection | None = None
        self._watching: asyncio.Task[None] | None = None

    def add(self, connection: asyncpg.Connection) -> None:
        """Watch the primary for a connection, until the connection has ended."""
        if not self._connector.has_several_hosts:
            return
        self._connections.add(connection)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        try:
            while any(not each.is_closed() for each in self._connections):
                await asyncio.sleep(_EVERY_S)
                if not await self._is_answering():
                    await self._connector.find_newer_primary()
                # Another connection may have found it first.
                self._end_former_connections()
        finally:
            self._end_own()

    async def _is_answering(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_S):
                if self._own is None or self._own.is_closed():
                    self._own = await self._connector.connect()
                await self._own.execute("SELECT 1")
        except CONNECT_ERRORS:
            self._end_own()
            return False
        return True

    def _end_former_connections(self) -> None:
        """End the connections to hosts that another one has replaced as the primary."""
        former = [
            each
            for each in self._connections
            if not each.is_closed() and self._connector.is_to_former_primary(each)
        ]
        if former:
            _log.warning("primary_replaced", ended_connections=len(former))
        for each in former:
            each.terminate()
        if self._own is not None and self._connector.is_to_former_primary(self._own):
            self._end_own()

    def _end_own(self) -> None:
        if self._own is not None:
            self._own.terminate()
            self._own = None

    async def close(self) -> None:
        """Stop watching."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
