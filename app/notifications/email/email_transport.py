"""Sends deliveries as mails, with limits on duration, concurrency, and recipients of a mail and of an hour.

`smtp_exchange` speaks SMTP. Clients may read the server's response to a mail, but neither the server's
address nor its response to the login.
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
from app.notifications.email.mime_message import (
    DeliveryHeaders,
    MailAttachment,
    SenderAddress,
    build_mime_message,
)
from app.notifications.email.smtp_client import SmtpAttemptError, SmtpServer, send_smtp_message
from app.platform.config.platform_settings import SmtpSettings
from app.platform.kernel.email_addresses import normalise_email_address
from app.platform.kernel.errors import InvalidError
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.stored_settings import InstallationSettings, StoredSmtpSettings

CONNECTIONS: Final = 4
"""Concurrent connections of a process to the mail server: servers allow a client few of them."""

ANSWER_LIMIT: Final = 1000
"""The characters of a response that are stored."""

_LONGEST_S: Final = 25.0
_OF_LEASE: Final = 0.75  # the rest is for QUIT, and for recording the outcome
_log = get_logger(__name__)


class _SettingError(Exception):
    """A setting is invalid."""

    def __init__(self, variable: str, why: str) -> None:
        super().__init__(f"{variable}: {why}")
        self.variable = variable
        self.why = why


class EmailTransport:
    """Sends mails. Open with `async with`.

    Args:
        settings: The mail server and the allowed recipients.
        installation: The settings that administrators change by the API; read before each mail.
    """

    def __init__(self, settings: SmtpSettings, installation: InstallationSettings | None = None) -> None:
        self._settings = settings if installation is None else installation.smtp
        self._installation = installation
        self._server: SmtpServer | None = None
        self._sender: SenderAddress | None = None
        # `slot_scheduler` begins no more attempts than this, so they do not wait here.
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._quota = HourlyMailQuota(settings.mails_per_hour)

    async def __aenter__(self) -> Self:
        # In a thread, because it reads files.
        await asyncio.to_thread(self._prepare)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server = None

    def _prepare(self) -> None:
        """Prepare server and sender from the settings. An error must not stop other transports."""
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

    async def _refresh_settings(self) -> None:
        """Switch to another mail server if the settings have changed."""
        if self._installation is None or self._installation.smtp is self._settings:
            return
        self._settings = self._installation.smtp
        await asyncio.to_thread(self._prepare)
        _log.info("mail_server_changed", host=self._settings.host)

    async def send(self, claimed: LeasedDelivery, now: datetime) -> AttemptOutcome:
        """Send one mail to all recipients of a channel and return the outcome. Raises nothing.

        `delivered` means that the server accepted it for at least one recipient; the response names the
        refused ones.
        """
        begun = time.perf_counter()
        try:
            await self._refresh_settings()
            to = self._allowed_recipients((claimed.target or {}).get("to") or [])
            with self._quota.reserve(claimed.organisation_id, len(to), time.monotonic()) as reservation:
                code, answer = await self._attempt(claimed, to, now)
                reservation.is_sent = True
            outcome = AttemptOutcome(DELIVERED, code, _to_storable_text(answer), 0.0)
        except MailQuotaExceededError as full:
            most = self._settings.mails_per_hour
            detail = (
                f"This organisation may send mails to {most} recipients in an hour. The mail waits for room."
            )
            outcome = AttemptOutcome("quota_exceeded", None, detail, 0.0, full.retry_after_s)
        except SmtpAttemptError as stop:
            if stop.inside:
                _log.warning(
                    "mail_server_trouble",
                    reason=stop.reason,
                    status=stop.status,
                    error=_to_storable_text(stop.inside),
                    delivery_id=str(claimed.id),
                )
            outcome = AttemptOutcome(stop.reason, stop.status, _to_storable_text(stop.answer), 0.0)
        return outcome._replace(duration_ms=(time.perf_counter() - begun) * 1000)

    def _timeout_s(self, claimed: LeasedDelivery, now: datetime) -> float:
        """Return the timeout of an attempt, with the wait for a connection: less than its lease."""
        lease_s = (claimed.leased_until - now).total_seconds()
        return min(2 * self._settings.timeout_s, _LONGEST_S, max(0.0, lease_s * _OF_LEASE))

    async def _attempt(self, claimed: LeasedDelivery, to: Sequence[str], now: datetime) -> tuple[int, str]:
        sent = DeliveryHeaders(claimed.message_id, claimed.type, claimed.id, claimed.endpoint_id)
        return await self._hand_over(claimed.body, to, sent, now, self._timeout_s(claimed, now))

    async def post(
        self,
        body: bytes,
        to: Sequence[str],
        sent: DeliveryHeaders,
        now: datetime,
        *,
        attachments: Sequence[MailAttachment] = (),
    ) -> AttemptOutcome:
        """Send a mail that is not a channel's delivery and return the outcome. Raises nothing.

        Args:
            body: A `RenderedMail` as JSON.
            to: The recipients.
            sent: The values of its headers.
            now: The time for `Date`, aware.
            attachments: The files of the mail.
        """
        begun = time.perf_counter()
        try:
            await self._refresh_settings()
            timeout_s = min(2 * self._settings.timeout_s, _LONGEST_S)
            allowed = self._allowed_recipients(to)
            code, answer = await self._hand_over(body, allowed, sent, now, timeout_s, attachments=attachments)
            outcome = AttemptOutcome(DELIVERED, code, _to_storable_text(answer), 0.0)
        except SmtpAttemptError as stop:
            if stop.inside:
                _log.warning(
                    "mail_server_trouble",
                    reason=stop.reason,
                    status=stop.status,
                    error=_to_storable_text(stop.inside),
                )
            outcome = AttemptOutcome(stop.reason, stop.status, _to_storable_text(stop.answer), 0.0)
        return outcome._replace(duration_ms=(time.perf_counter() - begun) * 1000)

    async def _hand_over(
        self,
        body: bytes,
        to: Sequence[str],
        sent: DeliveryHeaders,
        now: datetime,
        timeout_s: float,
        *,
        attachments: Sequence[MailAttachment] = (),
    ) -> tuple[int, str]:
        if self._server is None or self._sender is None:
            raise SmtpAttemptError("not_configured")
        try:
            message = build_mime_message(body, self._sender, to, sent, now, attachments=attachments)
        except (msgspec.DecodeError, ValueError) as error:
            _log.exception("mail_not_made", message_id=sent.message_id)
            raise SmtpAttemptError("internal_error") from error
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                await self._connections.acquire()
        except TimeoutError as error:
            raise SmtpAttemptError("timeout") from error
        try:
            return await send_smtp_message(self._server, self._sender.address, to, message, deadline)
        finally:
            self._connections.release()

    def _allowed_recipients(self, given: Sequence[str]) -> list[str]:
        """Return the recipients that are still allowed: the setting may have changed since."""
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
                "address_refused", answer="This installation does not send mail to these domains."
            )
        return to


def find_smtp_fault(settings: SmtpSettings) -> tuple[str, str] | None:
    """Return the invalid setting of the mail server with the reason, or None; contacts no server."""
    try:
        _read(settings)
    except _SettingError as error:
        return error.variable, error.why
    return None


def _read(settings: SmtpSettings) -> tuple[SenderAddress, ssl.SSLContext | None]:
    """Read the sender, and the TLS context of the server (`_SettingError`)."""
    try:
        sender = SenderAddress.of(settings.sender)
        if settings.security == "none":
            return sender, None
        return sender, ssl.create_default_context(cafile=settings.ca_file)
    except InvalidError as error:
        raise _SettingError("VIGIE_SMTP__SENDER", error.detail) from error
    except OSError as error:  # ssl.SSLError is one
        raise _SettingError("VIGIE_SMTP__CA_FILE", str(error)) from error


def _to_storable_text(answer: str | None) -> str | None:
    """Convert a server's response to valid PostgreSQL text, and truncate it."""
    if not answer:
        return None
    # Bytes that are not UTF-8 arrive as surrogates.
    text = answer.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text[:ANSWER_LIMIT].replace("\0", "\ufffd")
