"""Mail servers beside the test: a real one that keeps what it takes, and some that misbehave."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from app.platform.config.platform_settings import SmtpSettings
from tests.integration.notifications.helpers import until

HOST = "127.0.0.1"
ACCOUNT = ("vigie", "pàss word")

type Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Mailbox:
    """A mail server: what it takes, and what it answers.

    Attributes:
        got: The envelopes that it took.
        answers: By verb, or by recipient: what it says in place of yes.
        said: What clients called themselves, the greeting's name after each EHLO.
        seen: Whether each envelope came over TLS, and from which account.
    """

    got: list[Envelope] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    seen: list[tuple[bool, bool]] = field(default_factory=list)
    port: int = 0
    sessions: int = 0
    most: int = 0
    delay_s: float = 0.0

    async def handle_EHLO(  # noqa: N802 (the server's name for it)
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        del server, envelope
        session.host_name = hostname
        self.said.append(hostname)
        return responses

    async def handle_MAIL(  # noqa: N802 (the server's name for it)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        envelope.mail_from = address
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802 (the server's name for it)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 (the server's name for it)
        del server
        self.sessions += 1
        self.most = max(self.most, self.sessions)
        await asyncio.sleep(self.delay_s)
        self.sessions -= 1
        answer = self.answers.get("DATA", "250 2.0.0 queued as 4711")
        if answer.startswith("2"):
            self.got.append(envelope)
            self.seen.append((session.ssl is not None, bool(session.authenticated)))
        return answer

    def mails(self) -> list[EmailMessage]:
        """What it took, read."""
        return [read(envelope) for envelope in self.got]

    async def wait(self, count: int) -> list[EmailMessage]:
        """Wait for so many mails."""

        async def enough() -> bool:
            return len(self.got) >= count

        await until(enough)
        return self.mails()


def read(envelope: Envelope) -> EmailMessage:
    """Read the mail in an envelope."""
    assert isinstance(envelope.content, bytes)
    message = message_from_bytes(envelope.content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def part(message: EmailMessage, kind: str) -> str:
    """The text, or the HTML, of a mail."""
    found = message.get_body((kind,))
    assert found is not None
    content: str = found.get_content()
    return content.replace("\r\n", "\n")


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:  # noqa: ANN401 (the server's)
    """Let one account in."""
    del server, session, envelope, mechanism
    assert isinstance(data, LoginPassword)
    right = (data.login.decode(), data.password.decode()) == ACCOUNT
    return AuthResult(success=right, handled=False)


class Certificates:
    """An authority of the test's own, and a server's certificate that it has signed for 127.0.0.1."""

    def __init__(self, folder: Path, name: str = HOST) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self.context)


@asynccontextmanager
async def mailbox(
    answers: dict[str, str] | None = None,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    login: bool = False,
) -> AsyncIterator[Mailbox]:
    """Run a mail server."""
    kept = Mailbox(answers=answers or {})
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {"hostname": "mail.test", "loop": loop}
    if starttls is not None:
        options |= {"tls_context": starttls, "require_starttls": True}
    if login:
        # Of TLS it knows only where it was begun by STARTTLS.
        offered = {"auth_required": starttls is not None, "auth_require_tls": starttls is not None}
        options |= {"authenticator": authenticate, **offered}
    made: list[SMTP] = []

    def accept() -> SMTP:
        made.append(SMTP(kept, **options))
        return made[-1]

    server = await loop.create_server(accept, HOST, 0, ssl=tls)
    kept.port = server.sockets[0].getsockname()[1]
    try:
        yield kept
    finally:
        server.close()
        for each in made:
            if each.transport is not None:
                each.transport.close()
        await server.wait_closed()


@asynccontextmanager
async def hostile(talk: Talk) -> AsyncIterator[int]:
    """Run a server that does as it likes with each connection; gives its port."""
    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await talk(reader, writer)
        finally:
            talks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await server.wait_closed()


def smtp(port: int, **changes: Any) -> SmtpSettings:  # noqa: ANN401 (whatever a setting holds)
    """Settings for a server beside the test, without TLS unless it is asked for."""
    usual = {
        "host": HOST,
        "port": port,
        "security": "none",
        "sender": "Vigie de la Ville <vigie@ville.example>",
        "timeout_s": 20.0,
    }
    return SmtpSettings.model_validate({**usual, **changes})
