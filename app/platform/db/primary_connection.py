"""Connects to the primary of a database that runs on several hosts.

`postgresql://vigie:…@db1:5432,db2:5432,db3:5432/vigie` names the hosts. One of them is the primary; the
others are standbys, which refuse writes. After a failover another host is the primary.
"""

import asyncio
import re
import socket
from typing import Any, Final

import asyncpg
from asyncpg.connect_utils import SessionAttribute

_AUTHORITY: Final = re.compile(
    r"(?P<before>[^:]+://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*)(?P<after>.*)", re.DOTALL
)
_TRANSPORT: Final = "_transport"  # of asyncpg's connection, which gives no other access to its socket
_HOST_TIMEOUT_S: Final = 3.0  # of a host that does not answer, when there are others
# A host that is cut off sends nothing, not even the end of its connections. The system then ends them after
# these times (s, s, number, ms), as the settings of `Database` have the server do.
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000),
)


class NoPrimaryError(ConnectionError):
    """No host is the primary now. The text names each host with its reason, and no secret."""


def split_hosts(url: str) -> list[str]:
    """Return an address for each host of a database address."""
    found = _AUTHORITY.fullmatch(url)
    if found is None or "," not in found["hosts"]:
        return [url]
    return [f"{found['before']}{host}{found['after']}" for host in found["hosts"].split(",") if host]


class PrimaryConnector:
    """Opens connections to the primary. It tries the host first that was the primary last.

    Args:
        url: the database's address, with one host or several.
    """

    def __init__(self, url: str) -> None:
        self._urls = split_hosts(url)
        self._last = 0

    async def connect(self, *_: object, timeout: float = 10.0, **options: Any) -> asyncpg.Connection:  # noqa: ANN401, ASYNC109 (those of asyncpg)
        """Connect; takes the options of `asyncpg.connect`, and may replace it in a pool.

        Raises:
            NoPrimaryError: There are several hosts, and none is the primary.
            asyncpg.InvalidAuthorizationSpecificationError: A host refuses the login.
        """
        if len(self._urls) == 1:
            return _keep_alive(await asyncpg.connect(self._urls[0], timeout=timeout, **options))
        reasons = []
        for number in range(self._last, self._last + len(self._urls)):
            index = number % len(self._urls)
            try:
                connection = await asyncpg.connect(
                    self._urls[index],
                    timeout=min(timeout, _HOST_TIMEOUT_S),
                    target_session_attrs=SessionAttribute.primary,
                    **options,
                )
            except asyncpg.InvalidAuthorizationSpecificationError:
                raise
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
                reasons.append(f"{find_host_name(self._urls[index])}: {_describe(error)}")
                continue
            self._last = index
            return _keep_alive(connection)
        raise NoPrimaryError(f"no host of the database is the primary ({'; '.join(reasons)})")


def _describe(error: BaseException) -> str:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "standby"
    if isinstance(error, TimeoutError):
        return f"no answer within {_HOST_TIMEOUT_S:g} s"
    return str(error) or type(error).__name__


def find_host_name(url: str) -> str:
    """Return host and port of a database address, and no secret; `local` for a socket of this machine."""
    found = _AUTHORITY.fullmatch(url)
    return (found["hosts"] if found else "") or "local"


def _keep_alive(connection: asyncpg.Connection) -> asyncpg.Connection:
    """Have the system end a connection whose host does not answer any more."""
    transport: asyncio.Transport = getattr(connection, _TRANSPORT)
    given = transport.get_extra_info("socket")
    if given is not None and given.family in {socket.AF_INET, socket.AF_INET6}:
        # uvloop's own object sets no options: this one has the same connection.
        with socket.fromfd(given.fileno(), given.family, socket.SOCK_STREAM) as same:
            for option in _KEEPALIVE:
                same.setsockopt(*option)
    return connection
