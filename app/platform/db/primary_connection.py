"""Connects to the primary of a database that runs on several hosts.

`postgresql://vigie:…@db1:5432,db2:5432,db3:5432/vigie` names the hosts. One of them is the primary; the
others are standbys, which refuse writes. After a failover another host is the primary.

A former primary whose host hung knows nothing of the failover until it is demoted. Each promotion begins a
timeline with a higher number, so that the connector recognises it.
"""

import asyncio
import re
import socket
import weakref
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from app.platform.db.confirmed_connection import ConfirmedConnection

_AUTHORITY: Final = re.compile(
    r"(?P<before>[^:]+://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*)(?P<after>.*)", re.DOTALL
)
_TRANSPORT: Final = "_transport"  # of asyncpg's connection, which gives no other access to its socket
_HOST_TIMEOUT_S: Final = 3.0  # of a host that does not answer, when there are others
_OTHERS_TIMEOUT_S: Final = 1.0  # of the others, when one has answered as the primary
CONNECT_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Errors of a host to which no connection can be opened."""

# pg_control_checkpoint() would have the timeline only after the first checkpoint that follows a promotion.
_TIMELINE: Final = """
    SELECT (SELECT system_identifier FROM pg_control_system()) AS system,
           ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer AS timeline
"""
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


@dataclass(frozen=True, slots=True)
class _Primary:
    """A connection to a host that is the primary, at the index of its address."""

    index: int
    connection: asyncpg.Connection
    system: int
    timeline: int


class PrimaryConnector:
    """Opens connections to the primary. It tries the host first that was the primary last.

    Of several hosts it takes the primary with the newest timeline, and refuses those with an older one than
    it has seen. When one of its connections has ended, it asks all hosts before it opens the next one.

    Args:
        url: the database's address, with one host or several.
    """

    def __init__(self, url: str) -> None:
        self._urls = split_hosts(url)
        self._last = 0
        self._system = 0
        self._timeline = 0
        self._has_asked_all = False
        # System and timeline of each connection.
        self._opened = weakref.WeakKeyDictionary[asyncpg.Connection, tuple[int, int]]()

    async def connect(self, *_: object, timeout: float = 10.0, **options: Any) -> asyncpg.Connection:  # noqa: ANN401, ASYNC109 (those of asyncpg)
        """Connect; takes the options of `asyncpg.connect`, and may replace it in a pool.

        Raises:
            NoPrimaryError: There are several hosts, and none is the primary.
            asyncpg.InvalidAuthorizationSpecificationError: A host refuses the login.
        """
        options.setdefault("connection_class", ConfirmedConnection)
        if len(self._urls) == 1:
            return keep_alive(await asyncpg.connect(self._urls[0], timeout=timeout, **options))
        reasons: list[str] = []
        for number in range(self._last, self._last + len(self._urls)):
            index = number % len(self._urls)
            primary = await self._try(index, min(timeout, _HOST_TIMEOUT_S), options, reasons)
            if primary is None:
                continue
            if not self._has_asked_all:
                primary = await self._choose_newest(primary, options)
                self._has_asked_all = True
            self._remember(primary)
            self._opened[primary.connection] = primary.system, primary.timeline
            primary.connection.add_termination_listener(self._forget)
            return keep_alive(primary.connection)
        raise NoPrimaryError(f"no host of the database is the primary ({'; '.join(reasons)})")

    async def _try(
        self, index: int, timeout_s: float, options: dict[str, Any], reasons: list[str]
    ) -> _Primary | None:
        """Connect to a host if it is the primary, and not a former one; else add the reason."""
        name = find_host_name(self._urls[index])
        connection: asyncpg.Connection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                connection = await asyncpg.connect(
                    self._urls[index],
                    timeout=timeout_s,
                    target_session_attrs=SessionAttribute.primary,
                    **options,
                )
                system, timeline = await _read_timeline(connection)
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError) or not isinstance(
                error, CONNECT_ERRORS
            ):
                raise
            reasons.append(f"{name}: {_describe(error)}")
            return None
        if system == self._system and timeline < self._timeline:
            connection.terminate()
            reasons.append(f"{name}: former primary (timeline {timeline}, newest {self._timeline})")
            return None
        return _Primary(index, connection, system, timeline)

    async def _choose_newest(self, primary: _Primary, options: dict[str, Any]) -> _Primary:
        """Return the primary with the newest timeline of all hosts that answer soon, and end the others."""
        others = [index for index in range(len(self._urls)) if index != primary.index]
        try:
            answers = await asyncio.gather(
                *(self._try(index, _OTHERS_TIMEOUT_S, options, []) for index in others),
                return_exceptions=True,
            )
        except asyncio.CancelledError:
            primary.connection.terminate()
            raise
        found = [primary, *(answer for answer in answers if isinstance(answer, _Primary))]
        newest = max(found, key=lambda each: each.timeline)
        for each in found:
            if each is not newest:
                each.connection.terminate()
        return newest

    @property
    def has_several_hosts(self) -> bool:
        """Whether the address names several hosts."""
        return len(self._urls) > 1

    def is_to_former_primary(self, connection: asyncpg.Connection) -> bool:
        """Return whether another host was promoted after the one of a connection."""
        system, timeline = self._opened.get(connection, (0, 0))
        return system == self._system and timeline < self._timeline

    async def find_newer_primary(self) -> None:
        """Connect to another host next if it has been promoted since the last connection."""
        others = [index for index in range(len(self._urls)) if index != self._last]
        answers = await asyncio.gather(
            *(self._try(index, _OTHERS_TIMEOUT_S, {}, []) for index in others), return_exceptions=True
        )
        found = [answer for answer in answers if isinstance(answer, _Primary)]
        for each in found:
            each.connection.terminate()
        newest = max(found, key=lambda each: each.timeline, default=None)
        if newest is not None and newest.system == self._system and newest.timeline > self._timeline:
            self._remember(newest)

    def _remember(self, primary: _Primary) -> None:
        # Another system is another database: after a restore from a dump timelines begin anew.
        same = primary.system == self._system
        self._timeline = max(self._timeline, primary.timeline) if same else primary.timeline
        self._last, self._system = primary.index, primary.system

    def _forget(self, _: object) -> None:
        self._has_asked_all = False


async def _read_timeline(connection: asyncpg.Connection) -> tuple[int, int]:
    """Read the identifier of the database system and its timeline; zeros if a provider forbids it."""
    try:
        row = (await connection.fetch(_TIMELINE))[0]
    except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError):
        return 0, 0
    return row["system"], row["timeline"]


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


def keep_alive(connection: asyncpg.Connection) -> asyncpg.Connection:
    """Have the system end a connection whose host does not answer any more."""
    transport: asyncio.Transport = getattr(connection, _TRANSPORT)
    given = transport.get_extra_info("socket")
    if given is not None and given.family in {socket.AF_INET, socket.AF_INET6}:
        # uvloop's own object sets no options: this one has the same connection.
        with socket.fromfd(given.fileno(), given.family, socket.SOCK_STREAM) as same:
            for option in _KEEPALIVE:
                same.setsockopt(*option)
    return connection
