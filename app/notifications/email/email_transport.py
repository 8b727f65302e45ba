"""The way out of e-mail: from a claimed delivery to its outcome, in bounded time and memory.

Owns how long an attempt may last, how many there are at once and in an hour, whom they may go to, and what of
the server's words a client may read: not where the server is, nor what it said to our account. Must not touch
the database, nor decide about retries. What is said to the mail server is in
`app.notifications.email.smtp_exchange`.
"""

import asyncio
import ssl
import time
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import msgspec

from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome, LeasedDelivery
from app.notifications.email.allowed_recipients import (
    MAX_RECIPIENTS,
    is_allowed_recipient,
    is_public_recipient,
)
from app.notifications.email.mail_quota import HourlyMailQuota, MailQuotaExceededError
from app.notifications.email.mime_message import DeliveryHeaders, SenderAddress, build_mime_message
from app.notifications.email.smtp_exchange import SmtpAttemptError, SmtpServer, send_smtp_message
from app.platform.config.settings import SmtpSettings
from app.platform.kernel.email_addresses import normalise_email_address
from app.platform.kernel.errors import InvalidError
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.stored_settings import InstallationSettings, StoredSmtpSettings

CONNECTIONS: Final = 4
"""To the mail server at once, of a process: servers allow one client few of them."""

ANSWER_LIMIT: Final = 1000
"""How many characters of an answer are kept."""

_LONGEST_S: Final = 25.0
_OF_LEASE: Final = 0.75  # the rest is for a good-bye, and for recording what came of it
_log = get_logger(__name__)


class _SettingError(Exception):
    """A setting is not valid."""

    def __init__(self, variable: str, why: str) -> None:
        super().__init__(f"{variable}: {why}")
        self.variable = variable
        self.why = why


class EmailTransport:
    """Sends mails. Open with `async with`.

    Args:
        settings: The mail server, and whom mails may go to.
        installation: Where the mail server is asked for before each mail: it may change.
    """

    def __init__(self, settings: SmtpSettings, installation: InstallationSettings | None = None) -> None:
        self._settings = settings if installation is None else installation.smtp
        self._installation = installation
        self._server: SmtpServer | None = None
        self._sender: SenderAddress | None = None
        # Nobody waits for one where no more attempts are begun (`app.notifications.delivery.delivery_slots`).
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._quota = HourlyMailQuota(settings.mails_per_hour)

    async def __aenter__(self) -> Self:
        # In a thread: files are read.
        await asyncio.to_thread(self._prepare)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server = None

    def _prepare(self) -> None:
        """Read what the settings name. A mistake in them must not keep webhooks from being sent."""
        settings = self._settings
        self._server = self._sender = None
        if settings.host is None:
            return
        try:
            self._sender, context = _read(settings)
        except _SettingError as error:
            _log.error("mail_not_configured", setting=error.variable, error=error.why)
        else:
            self._server = SmtpServer(
                settings.host,
                settings.port,
                settings.security,
                context,
                settings.username,
                settings.password,
                settings.timeout_s,
                self._sender.domain,
                settings.allow_private if isinstance(settings, StoredSmtpSettings) else None,
            )

    async def _follow(self) -> None:
        """Take the mail server that counts now, where it is another one."""
        if self._installation is None or self._installation.smtp is self._settings:
            return
        self._settings = self._installation.smtp
        await asyncio.to_thread(self._prepare)
        _log.info("mail_server_changed", host=self._settings.host)

    async def send(self, claimed: LeasedDelivery, now: datetime) -> AttemptOutcome:
        """Send one mail to all recipients of a channel, and say what came of it. Raises nothing.

        Delivered means that the server took it for at least one of them; the answer names those that it
        refused.
        """
        begun = time.perf_counter()
        try:
            with self._quota.place(claimed.organisation_id, time.monotonic()) as place:
                code, answer = await self._attempt(claimed, now)
                place.taken = True
            outcome = AttemptOutcome(DELIVERED, code, _fit(answer), 0.0)
        except MailQuotaExceededError as full:
            most = self._settings.mails_per_hour
            told = f"This organisation has sent {most} mails in an hour."
            outcome = AttemptOutcome("quota_exceeded", None, told, 0.0, full.retry_after_s)
        except SmtpAttemptError as stop:
            if stop.inside:
                _log.warning(
                    "mail_server_trouble",
                    reason=stop.reason,
                    status=stop.status,
                    error=_fit(stop.inside),
                    delivery_id=str(claimed.id),
                )
            outcome = AttemptOutcome(stop.reason, stop.status, _fit(stop.answer), 0.0)
        return outcome._replace(duration_ms=(time.perf_counter() - begun) * 1000)

    def _patience(self, claimed: LeasedDelivery, now: datetime) -> float:
        """How long an attempt may last, the wait for a connection's place included: less than its lease."""
        lease_s = (claimed.leased_until - now).total_seconds()
        return min(2 * self._settings.timeout_s, _LONGEST_S, max(0.0, lease_s * _OF_LEASE))

    async def _attempt(self, claimed: LeasedDelivery, now: datetime) -> tuple[int, str]:
        await self._follow()
        to = self._allowed((claimed.target or {}).get("to") or [])
        sent = DeliveryHeaders(claimed.message_id, claimed.type, claimed.id, claimed.endpoint_id)
        return await self._hand_over(claimed.body, to, sent, now, self._patience(claimed, now))

    async def post(
        self, body: bytes, to: Sequence[str], sent: DeliveryHeaders, now: datetime
    ) -> AttemptOutcome:
        """Send a mail that is no delivery of a channel's, and say what came of it. Raises nothing.

        Args:
            body: A Mail as JSON.
            to: Whom it goes to.
            sent: What its headers say.
            now: For `Date`, aware.
        """
        begun = time.perf_counter()
        try:
            await self._follow()
            patience_s = min(2 * self._settings.timeout_s, _LONGEST_S)
            code, answer = await self._hand_over(body, self._allowed(to), sent, now, patience_s)
            outcome = AttemptOutcome(DELIVERED, code, _fit(answer), 0.0)
        except SmtpAttemptError as stop:
            if stop.inside:
                _log.warning(
                    "mail_server_trouble", reason=stop.reason, status=stop.status, error=_fit(stop.inside)
                )
            outcome = AttemptOutcome(stop.reason, stop.status, _fit(stop.answer), 0.0)
        return outcome._replace(duration_ms=(time.perf_counter() - begun) * 1000)

    async def _hand_over(
        self, body: bytes, to: Sequence[str], sent: DeliveryHeaders, now: datetime, patience_s: float
    ) -> tuple[int, str]:
        if self._server is None or self._sender is None:
            raise SmtpAttemptError("not_configured")
        try:
            message = build_mime_message(body, self._sender, to, sent, now)
        except (msgspec.DecodeError, ValueError) as error:
            _log.exception("mail_not_made", message_id=sent.message_id)
            raise SmtpAttemptError("internal_error") from error
        deadline = asyncio.get_running_loop().time() + patience_s
        try:
            async with asyncio.timeout_at(deadline):
                await self._places.acquire()
        except TimeoutError as error:
            raise SmtpAttemptError("timeout") from error
        try:
            return await send_smtp_message(self._server, self._sender.address, to, message, deadline)
        finally:
            self._places.release()

    def _allowed(self, given: Sequence[str]) -> list[str]:
        """Those that mails may still go to: the setting may have changed since they were given."""
        if self._server is None:
            raise SmtpAttemptError("not_configured")
        try:
            checked = [normalise_email_address(str(address)) for address in given][:MAX_RECIPIENTS]
        except InvalidError as error:
            raise SmtpAttemptError("not_configured", answer=error.detail) from error
        if not checked:
            raise SmtpAttemptError("not_configured", answer="There are no recipients.")
        domains = self._settings.recipient_domains
        to = [
            each
            for each in checked
            if is_allowed_recipient(each, domains) and is_public_recipient(each, domains)
        ]
        if not to:
            raise SmtpAttemptError(
                "address_refused", answer="This installation sends no mail to these domains."
            )
        return to


def find_smtp_fault(settings: SmtpSettings) -> tuple[str, str] | None:
    """Which variable keeps mails from being sent, and why; None: none does. Asks no server."""
    try:
        _read(settings)
    except _SettingError as error:
        return error.variable, error.why
    return None


def _read(settings: SmtpSettings) -> tuple[SenderAddress, ssl.SSLContext | None]:
    """Read who mails come from, and what the server's certificate is checked against (`_SettingError`)."""
    try:
        sender = SenderAddress.of(settings.sender)
        if settings.security == "none":
            return sender, None
        return sender, ssl.create_default_context(cafile=settings.ca_file)
    except InvalidError as error:
        raise _SettingError("VIGIE_SMTP__SENDER", error.detail) from error
    except OSError as error:  # ssl.SSLError is one
        raise _SettingError("VIGIE_SMTP__CA_FILE", str(error)) from error


def _fit(answer: str | None) -> str | None:
    """Make a server's answer fit for PostgreSQL's text, and cut it."""
    if not answer:
        return None
    # What is not UTF-8 comes as halves of characters.
    text = answer.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text[:ANSWER_LIMIT].replace("\0", "\ufffd")
