"""One exchange with the mail server, and what its ends are called.

Where TLS is asked for, nothing is said without it: a server that offers no STARTTLS gets neither the account
nor the mail. A connection serves one mail: with grouping there are few of them, and none is lost to a
connection that went stale. Each answer has its own time, and all of them together have one.
Memory is bounded by aiosmtplib, which takes at most 32 KiB for an answer.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, Literal, NamedTuple

import aiosmtplib
from pydantic import SecretStr

from app.notifications.http.guarded_resolver import resolve_host
from app.notifications.http.ssrf_guard import find_address_refusal

_QUIT_S: Final = 0.5
_TEMPORARY: Final = range(400, 500)
_FINAL: Final = range(500, 600)
_LOGIN_FIRST: Final = frozenset({530, 534, 535, 538})  # RFC 4954: answers to who has not logged in


class SmtpServer(NamedTuple):
    """The mail server.

    Attributes:
        host, port: Where it is.
        security: TLS after STARTTLS, from the first byte on, or none.
        context: How its certificate is checked; None without TLS.
        username, password: The account; None: without logging in.
        timeout_s: Longest wait for each answer, in seconds.
        greeting: What we call ourselves: a domain.
        allow_private: Whether it may be at a private address, where that is guarded; None: it may be
            anywhere, for whoever runs the machine has set it.
    """

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    context: ssl.SSLContext | None
    username: str | None
    password: SecretStr
    timeout_s: float
    greeting: str
    allow_private: bool | None = None


class SmtpAttemptError(Exception):
    """The attempt ends here.

    Attributes:
        reason: One of `app.notifications.delivery.transport_types.REASONS`.
        status: The server's code, where there is one.
        answer: What the server said of the mail, or what is wrong with it.
        inside: What is for this installation's log alone: it tells of its network, or of its account.
    """

    def __init__(
        self,
        reason: str,
        status: int | None = None,
        answer: str | None = None,
        *,
        inside: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.answer = answer
        self.inside = inside


async def send_smtp_message(
    server: SmtpServer, sender: str, to: Sequence[str], message: bytes, deadline: float
) -> tuple[int, str]:
    """Hand a message over to the server.

    Args:
        server: Where it goes.
        sender: The envelope's sender.
        to: The envelope's recipients, at least one.
        message: As it goes over the wire.
        deadline: Until when it must be taken, by the event loop's clock.

    Returns:
        The code and the answer with which the server took it, for at least one recipient; the answer names
        those that it refused.

    Raises:
        StoppedError: It was not taken.
    """
    client = aiosmtplib.SMTP(
        hostname=server.host,
        local_hostname=server.greeting,
        timeout=server.timeout_s,
        use_tls=server.security == "tls",
        start_tls=False,
        tls_context=server.context,
    )
    try:
        async with asyncio.timeout_at(deadline):
            opened = await _connect(server)
    except TimeoutError as error:
        raise SmtpAttemptError("connect_timeout") from error
    try:
        async with asyncio.timeout_at(deadline):
            await _greet(client, server, opened)
            answer = await _hand_over(client, sender, to, message)
        # The message is taken: how the server says good-bye changes nothing, not even when time is up.
        with suppress(aiosmtplib.SMTPException, OSError):
            await client.quit(timeout=_QUIT_S)
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise _stopped_by(error) from error
    finally:
        # What is still to be written to a server that reads nothing must not be kept for ever. The socket is
        # the client's to close.
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
        client.close()
    return answer


async def _connect(server: SmtpServer) -> socket.socket:
    """Open a connection to the first of the server's addresses that answers in its share of the time."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(server.timeout_s):
            found = await resolve_host(server.host, server.port, socket.AF_UNSPEC)
    except OSError as error:  # TimeoutError is one
        raise SmtpAttemptError("name_unresolved", inside=str(error)) from error
    _check_addresses(server, [address for _, address in found])
    stop = SmtpAttemptError("name_unresolved")
    for family, address in found:
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setblocking(False)
            async with asyncio.timeout(server.timeout_s / len(found)):
                await loop.sock_connect(opened, (address, server.port))
        except TimeoutError:
            opened.close()
            stop = SmtpAttemptError("connect_timeout")
        except OSError as error:
            opened.close()
            stop = SmtpAttemptError("connect_failed", inside=str(error))
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise stop


def _check_addresses(server: SmtpServer, addresses: Sequence[str]) -> None:
    """Refuse a server that is guarded at an address that nothing may be sent to."""
    if server.allow_private is None:
        return
    for address in addresses:
        why = find_address_refusal(ip_address(address), allow_private=server.allow_private)
        if why is not None:
            raise SmtpAttemptError("address_refused", inside=f"{server.host} is at {address}, which {why}")


async def _greet(client: aiosmtplib.SMTP, server: SmtpServer, opened: socket.socket) -> None:
    """Get as far as the server's readiness to take a message from this account."""
    await client.connect(sock=opened)
    if server.security == "starttls":
        await client.ehlo()
        if not client.supports_extension("starttls"):
            raise SmtpAttemptError("tls_failed", inside="The server offers no STARTTLS.")
        try:
            await client.starttls()
        except aiosmtplib.SMTPResponseException as error:
            raise SmtpAttemptError("tls_failed", _status(error.code), inside=error.message) from error
    if server.username is None:
        return
    await client.ehlo()
    if not client.supported_auth_methods:
        raise SmtpAttemptError(
            "login_refused", inside="The server offers no way of logging in that is known."
        )
    try:
        await client.login(server.username, server.password.get_secret_value())
    except aiosmtplib.SMTPAuthenticationError as error:
        reason = "mail_deferred" if error.code in _TEMPORARY else "login_refused"
        raise SmtpAttemptError(reason, _status(error.code), inside=error.message) from error


async def _hand_over(
    client: aiosmtplib.SMTP, sender: str, to: Sequence[str], message: bytes
) -> tuple[int, str]:
    """Name sender and recipients, and give the message for those that the server takes."""
    await client.mail(sender)
    refused: list[aiosmtplib.SMTPRecipientRefused] = []
    for address in to:
        try:
            await client.rcpt(address)
        except aiosmtplib.SMTPRecipientRefused as error:
            refused.append(error)
            if not client.is_connected:  # 421: it closes, whomever it took before
                raise
    refusals = "".join(f"\n{error.recipient}: {error.code} {error.message}" for error in refused)
    if len(refused) == len(to):
        # One that may be taken later is worth another attempt.
        first = next((error for error in refused if error.code in _TEMPORARY), refused[0])
        raise _refused_with(first.code, refusals.strip())
    response = await client.data(message)
    return response.code, response.message + refusals


def _stopped_by(error: Exception) -> SmtpAttemptError:
    """Name what went wrong on the way."""
    cause = error.__cause__ if isinstance(error, aiosmtplib.SMTPConnectError) and error.__cause__ else error
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _refused_with(error.code, error.message)
    if isinstance(cause, ssl.SSLError):
        return SmtpAttemptError("tls_failed", inside=str(cause))
    # A handshake that lasts too long ends as a connection that was aborted.
    if isinstance(cause, TimeoutError | ConnectionAbortedError):
        return SmtpAttemptError("timeout")
    return SmtpAttemptError("response_broken", inside=str(error))


def _refused_with(code: int, said: str) -> SmtpAttemptError:
    """What an answer of the server's comes to; what it says to our account is not for clients."""
    reason = _reason_of(code)
    if reason == "login_refused":
        return SmtpAttemptError(reason, _status(code), inside=said)
    return SmtpAttemptError(reason, _status(code), said)


def _reason_of(code: int) -> str:
    if code in _LOGIN_FIRST:
        return "login_refused"
    if code in _TEMPORARY:
        return "mail_deferred"
    return "mail_refused" if code in _FINAL else "response_broken"


def _status(code: int) -> int | None:
    """A reply code; None for what the client calls an answer that is none."""
    return code if code > 0 else None
