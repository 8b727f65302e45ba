"""Sends one mail over SMTP, and maps errors to the reasons recorded with the delivery attempt.

If TLS is configured, nothing is sent without it: a server without STARTTLS gets neither the account nor the
mail. Each connection sends one mail: with grouping there are few of them, and no connection gets stale. Each
response has a timeout, and so has the whole exchange. aiosmtplib bounds memory: at most 32 KiB a response.
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
_LOGIN_FIRST: Final = frozenset({530, 534, 535, 538})  # RFC 4954: authentication required or failed


class SmtpServer(NamedTuple):
    """The mail server.

    Attributes:
        host, port: The server's address.
        security: STARTTLS, TLS from the first byte, or none.
        context: The TLS context, which verifies the certificate; None without TLS.
        username, password: The account; None: no login.
        timeout_s: The timeout of each response, in seconds.
        greeting: The domain in EHLO.
        allow_private: Whether private addresses are allowed, if the SSRF guard applies; None: any address,
            because the machine's operator has configured the server.
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
    """The attempt failed.

    Attributes:
        reason: One of `app.notifications.delivery.transport_types.REASONS`.
        status: The server's reply code, if there was one.
        answer: The server's response to the mail, or what is wrong with the mail.
        inside: A detail for this installation's log only: it may reveal its network or its account.
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
    """Send a message.

    Args:
        server: The mail server.
        sender: The envelope's sender.
        to: The envelope's recipients, at least one.
        message: The MIME message.
        deadline: The end of the exchange, by the event loop's clock.

    Returns:
        The reply code and the response with which the server accepted it for at least one recipient; the
        response names the refused ones.

    Raises:
        SmtpAttemptError: The server did not accept it.
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
        # The message is accepted: an error or a timeout of QUIT changes nothing.
        with suppress(aiosmtplib.SMTPException, OSError):
            await client.quit(timeout=_QUIT_S)
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise _stopped_by(error) from error
    finally:
        # Unsent bytes for a server that reads nothing must not stay in memory. The client closes the socket.
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
        client.close()
    return answer


async def _connect(server: SmtpServer) -> socket.socket:
    """Connect to the first address of the server that answers within its share of the timeout."""
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
    """Refuse a server with a forbidden address, if the SSRF guard applies to it."""
    if server.allow_private is None:
        return
    for address in addresses:
        why = find_address_refusal(ip_address(address), allow_private=server.allow_private)
        if why is not None:
            raise SmtpAttemptError("address_refused", inside=f"{server.host} is at {address}, which {why}")


async def _greet(client: aiosmtplib.SMTP, server: SmtpServer, opened: socket.socket) -> None:
    """Say EHLO, start TLS and log in."""
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
    """Send the envelope, and the message for the recipients that the server accepts."""
    await client.mail(sender)
    refused: list[aiosmtplib.SMTPRecipientRefused] = []
    for address in to:
        try:
            await client.rcpt(address)
        except aiosmtplib.SMTPRecipientRefused as error:
            refused.append(error)
            if not client.is_connected:  # 421: the server closes, also after it accepted recipients
                raise
    refusals = "".join(f"\n{error.recipient}: {error.code} {error.message}" for error in refused)
    if len(refused) == len(to):
        # If one of them may be accepted later, retry.
        first = next((error for error in refused if error.code in _TEMPORARY), refused[0])
        raise _refused_with(first.code, refusals.strip())
    response = await client.data(message)
    return response.code, response.message + refusals


def _stopped_by(error: Exception) -> SmtpAttemptError:
    """Map an error of the exchange to a reason."""
    cause = error.__cause__ if isinstance(error, aiosmtplib.SMTPConnectError) and error.__cause__ else error
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _refused_with(error.code, error.message)
    if isinstance(cause, ssl.SSLError):
        return SmtpAttemptError("tls_failed", inside=str(cause))
    # A handshake that times out ends with an aborted connection.
    if isinstance(cause, TimeoutError | ConnectionAbortedError):
        return SmtpAttemptError("timeout")
    return SmtpAttemptError("response_broken", inside=str(error))


def _refused_with(code: int, said: str) -> SmtpAttemptError:
    """Map a reply code to a reason; the response to a login is not shown to clients."""
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
    """Return a reply code; None if aiosmtplib reports an invalid response."""
    return code if code > 0 else None
