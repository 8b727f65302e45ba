"""Connects to a standby of a database that runs on several hosts."""

import random
import weakref
from typing import Any, Final

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from app.platform.db.primary_connection import CONNECT_ERRORS, find_host_name, keep_alive, split_hosts

_HOST_TIMEOUT_S: Final = 1.0  # of a host that does not answer


class NoStandbyError(ConnectionError):
    """No host is a standby that accepts connections. The text names each host with its reason."""


class StandbyConnector:
    """Opens connections to a standby. It tries the host first that was a standby last.

    Processes begin with different hosts, so that they use all standbys.

    Args:
        url: The database's address, with several hosts.

    Attributes:
        host: Name and port of the standby that was connected to last; None: none yet.
    """

    def __init__(self, url: str) -> None:
        self._urls = split_hosts(url)
        self._first = random.randrange(len(self._urls))  # noqa: S311 (spreads load)
        # The index of the host of each connection, unless that host was left since.
        self._usable = weakref.WeakKeyDictionary[asyncpg.Connection, int]()
        self.host: str | None = None

    async def connect(self, *_: object, timeout: float = 1.0, **options: Any) -> asyncpg.Connection:  # noqa: ANN401, ASYNC109 (those of asyncpg)
        """Connect; takes the options of `asyncpg.connect`, and may replace it in a pool.

        Raises:
            NoStandbyError: No host is a standby, or none accepts the login.
        """
        reasons: list[str] = []
        first = self._first
        for number in range(first, first + len(self._urls)):
            index = number % len(self._urls)
            host = find_host_name(self._urls[index])
            try:
                connection = await asyncpg.connect(
                    self._urls[index],
                    timeout=min(timeout, _HOST_TIMEOUT_S),
                    target_session_attrs=SessionAttribute.standby,
                    **options,
                )
            except CONNECT_ERRORS as error:
                primary = isinstance(error, asyncpg.TargetServerAttributeNotMatched)
                reasons.append(f"{host}: {'primary' if primary else str(error) or type(error).__name__}")
                continue
            if self._first == first:  # Else another host was chosen meanwhile.
                self._first = index
            self.host = host
            self._usable[connection] = index
            return keep_alive(connection)
        raise NoStandbyError(f"no host of the database is a standby ({'; '.join(reasons)})")

    def is_usable(self, connection: asyncpg.Connection) -> bool:
        """Return whether the host of a connection was not left since the connection was opened."""
        return connection in self._usable

    def leave_host(self, connection: asyncpg.Connection) -> None:
        """Try the host of a connection last from now on, and use none of its open connections again."""
        index = self._usable.get(connection)
        if index is None:
            return
        for each, host in list(self._usable.items()):
            if host == index:
                del self._usable[each]
        if self._first == index:
            self._first = (index + 1) % len(self._urls)
