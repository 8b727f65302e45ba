"""Opens connections of sinks only to addresses that the SSRF guard allows.

Clients of databases and brokers resolve names themselves. So the name is resolved and checked here, and the
client connects to the address; the certificate is still verified for the name.

Clients of databases and brokers read messages of any length that a server announces. So the bytes of a
connection are counted where they are decrypted, and a connection that exceeds its limit is broken off.
"""

import asyncio
import socket
import ssl
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from app.notifications.http.guarded_resolver import AddressRefusedError, GuardedResolver
from app.notifications.http.ssrf_guard import find_address_refusal

MOST_ANSWER_BYTES: Final = 16 * 2**20
"""The most that a server may send during an attempt: RabbitMQ returns messages that no queue takes."""

ANSWER_TOO_LARGE: Final = f"the server sent more than {MOST_ANSWER_BYTES // 2**20} MB in an attempt"


class ServerAddress(NamedTuple):
    """A server as a client names it."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "ServerAddress":
        """Parse `host:port`; an IPv6 address is in brackets (ValueError)."""
        host, mark, port = text.rpartition(":")
        if not mark or not host:
            raise ValueError("not host:port")
        return cls(host.strip("[]"), int(port))


async def resolve_allowed_addresses(server: ServerAddress, *, allow_private: bool) -> list[str]:
    """Resolve a server to the addresses to which a sink may connect, in the order of the resolver.

    Args:
        server: The server.
        allow_private: Whether loopback and private addresses are allowed.

    Raises:
        AddressRefusedError: At least one of its addresses is forbidden.
        OSError: It has no address.
    """
    try:
        address = ip_address(server.host)
    except ValueError:
        found = await GuardedResolver(allow_private=allow_private).resolve(
            server.host, server.port, socket.AF_UNSPEC
        )
        return [each["host"] for each in found]
    refusal = find_address_refusal(address, allow_private=allow_private)
    if refusal is not None:
        raise AddressRefusedError(f"{address} {refusal}")
    return [str(address)]


class AnswerLimit:
    """Limits what a server may send during an attempt, and until the next one.

    Attributes:
        is_exceeded: Whether the server has sent more.
    """

    def __init__(self) -> None:
        self.is_exceeded = False
        self._left = MOST_ANSWER_BYTES
        self._deadline: asyncio.Timeout | None = None

    def begin(self, deadline: asyncio.Timeout) -> None:
        """Begin an attempt, which ends at once if the server sends too much: not every library notices."""
        self.is_exceeded = False
        self._left = MOST_ANSWER_BYTES
        self._deadline = deadline

    def end(self) -> None:
        """End the attempt. Later bytes still count until the next one."""
        self._deadline = None

    def take(self, count: int) -> None:
        """Count received bytes.

        Raises:
            AnswerTooLargeError: They are more than the limit. It breaks the connection off.
        """
        self._left -= count
        if self._left < 0:
            self.is_exceeded = True
            if self._deadline is not None:
                self._deadline.reschedule(0)
            raise AnswerTooLargeError(ANSWER_TOO_LARGE)


class AnswerTooLargeError(OSError):
    """A server has sent more than an attempt allows."""


class _LimitedTls(ssl.SSLObject):
    """One TLS connection, whose decrypted bytes are counted."""

    limit: AnswerLimit

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002, ANN401 (as in the base class)
        """Read, and count what was read: a number with a buffer, else the bytes."""
        found: Any = super().read(len, buffer)
        self.limit.take(found if isinstance(found, int) else memoryview(found).nbytes)
        return found


class NamedTlsContext(ssl.SSLContext):
    """A TLS context that verifies the certificate for a name, whatever address is connected to.

    Attributes:
        name: the name.
        limit: of what the server may send.
    """

    name: str
    limit: AnswerLimit
    sslobject_class = _LimitedTls

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 (as in the base class)
        server_hostname: str | bytes | None = None,  # noqa: ARG002 (replaced)
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Wrap a connection, with the name instead of the address."""
        wrapped = super().wrap_bio(incoming, outgoing, server_side, self.name, session)
        if isinstance(wrapped, _LimitedTls):
            wrapped.limit = self.limit
        return wrapped


def make_tls_context(server: ServerAddress, limit: AnswerLimit, ca: str | None = None) -> ssl.SSLContext:
    """Make the TLS context of a connection to a server.

    Args:
        server: The server, whose name its certificate must have.
        limit: Of what the server may send.
        ca: Certificates of the authorities to trust (PEM); None: those of this machine.
    """
    context = NamedTlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.name, context.limit = server.host, limit
    if ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=ca)
    return context
