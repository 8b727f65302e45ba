"""Stores the settings of the mail server and the public URL, and sends test mails."""

import time
from collections import deque
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr

from app.installation_settings.schemas import MailSet
from app.notifications.delivery.transport_types import AttemptOutcome, build_message_id
from app.notifications.email.email_transport import EmailTransport
from app.notifications.email.mail_rendering import render_mail
from app.notifications.email.mime_message import DeliveryHeaders, SenderAddress
from app.notifications.events.event_types import TEST_EVENT
from app.notifications.http.ssrf_guard import check_url
from app.platform.config.platform_settings import SmtpSettings
from app.platform.db.database import ReadSession, WriteSession
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError
from app.platform.runtime.models import StoredSetting
from app.platform.runtime.stored_settings import MAIL, InstallationSettings, Source
from app.platform.secrets.sealed_columns import INSTALLATION_SECRET
from app.platform.secrets.sealing import SecretSealer, require_encryption_key

MAIL_PORTS: Final = (25, 465, 587, 2525)
"""The allowed ports of a mail server that is set by the API, unless private addresses are allowed."""

_CODE: Final = "mail_server_not_allowed"
_HINT: Final = "The operator of this installation can set VIGIE_SMTP__ALLOW_PRIVATE or VIGIE_SMTP__HOST."


def check_administrator(principal: Principal) -> None:
    """Refuse callers that are not administrators of the platform (ForbiddenError)."""
    if not principal.platform:
        raise ForbiddenError("Only administrators of the platform can read and change these settings.")


def check_not_set_by_environment(source: Source, variable: str) -> None:
    """Refuse to change a setting that the environment sets (ConflictError `set_by_environment`)."""
    if source == "environment":
        raise ConflictError(
            f"{variable} in the environment sets this, with precedence. The operator of this installation "
            "can change it there.",
            code="set_by_environment",
        )


async def find_setting(
    session: ReadSession | WriteSession, name: str, *, lock: bool = False
) -> StoredSetting | None:
    """Find a setting that was set by the API; `lock` locks the row for a change."""
    return await session.get(StoredSetting, name, with_for_update=lock or None)


async def store_setting(
    session: WriteSession,
    name: str,
    principal: Principal,
    now: datetime,
    *,
    value: dict[str, Any],
    private: dict[str, Any] | None = None,
    secret: str | None = None,
) -> None:
    """Store a setting, and replace an earlier one.

    Args:
        session: The transaction.
        name: The name of the setting.
        principal: The caller, whose organisation owns a new row.
        now: The time of the change.
        value: The part that the audit log may show.
        private: The personal data.
        secret: The encrypted secret.
    """
    row = await find_setting(session, name, lock=True)
    if row is None:
        row = StoredSetting(name=name, organisation_id=principal.organisation_id, created_at=now)
        session.add(row)
    row.value, row.private, row.secret, row.updated_at = value, private, secret, now
    await session.flush()


async def store_mail_server(
    session: WriteSession,
    principal: Principal,
    mail_server: MailSet,
    *,
    smtp: SmtpSettings,
    sealer: SecretSealer,
    now: datetime,
) -> None:
    """Store a mail server.

    Args:
        session: The transaction.
        principal: An administrator of the platform.
        mail_server: The mail server.
        smtp: The settings of the environment.
        sealer: Encrypts the password.
        now: The time.

    Raises:
        InvalidError: `mail_server_not_allowed`, `invalid_email_address`; `missing_field`: the password must
            be given again.
        UnavailableError: `encryption_key_missing`.
    """
    _check_server(mail_server, allow_private=smtp.allow_private)
    try:
        SenderAddress.of(mail_server.sender)
    except InvalidError as error:
        raise error.at("body.sender") from None
    value = {"host": mail_server.host, "port": mail_server.port, "security": mail_server.security}
    private = {"username": mail_server.username, "sender": mail_server.sender}
    secret = await _secret(session, mail_server, value, sealer)
    await store_setting(session, MAIL, principal, now, value=value, private=private, secret=secret)


async def _secret(
    session: WriteSession, mail_server: MailSet, value: dict[str, Any], sealer: SecretSealer
) -> str | None:
    """Encrypt the password, or reuse the stored one, which is never sent to another server or account."""
    if mail_server.username is None:
        if _plain(mail_server.password):
            raise _missing("username", "A password needs an account. Give `username` too.")
        return None
    if text := _plain(mail_server.password):
        require_encryption_key(sealer)
        return INSTALLATION_SECRET.seal(sealer, text, MAIL)
    before = await find_setting(session, MAIL, lock=True)
    same = before is not None and before.value == value
    if not same or before is None or (before.private or {}).get("username") != mail_server.username:
        raise _missing("password", "The server or the account has changed. Give its password.")
    return before.secret


def _plain(password: SecretStr | None) -> str:
    return "" if password is None else password.get_secret_value()


def _missing(field: str, why: str) -> InvalidError:
    return InvalidError(why, code="missing_field").at(f"body.{field}")


def _check_server(mail_server: MailSet, *, allow_private: bool) -> None:
    """Refuse hosts and ports of the installation's own network (SSRF), and servers without TLS."""
    if refusal := find_host_refusal(mail_server.host, allow_private=allow_private):
        raise InvalidError(refusal, code=_CODE).at("body.host")
    if allow_private:
        return
    if mail_server.port not in MAIL_PORTS:
        ports = ", ".join(map(str, MAIL_PORTS))
        raise InvalidError(f"The port must be one of {ports}. {_HINT}", code=_CODE).at("body.port")
    if mail_server.security == "none":
        raise InvalidError(
            f"Without TLS, others on the network can read mails and the password. Choose starttls or tls. "
            f"{_HINT}",
            code=_CODE,
        ).at("body.security")


def find_host_refusal(host: str, *, allow_private: bool) -> str | None:
    """Explain why a host cannot be the mail server; None if it can. Names are not resolved."""
    try:
        check_url(f"https://{_bracketed(host)}/", allow_private=allow_private)
    except InvalidError as error:
        return _refusal(error.detail.partition(": ")[2] or error.detail)
    return None


def explain_address_refusal(host: str, *, allow_private: bool) -> str:
    """Explain why the SSRF guard refused the address of a mail server.

    The text does not show an address that came from a DNS lookup: a client could explore the installation's
    network by it.
    """
    return find_host_refusal(host, allow_private=allow_private) or _refusal(
        f"{host} resolves to an address that is not allowed, such as a private one."
    )


def _refusal(why: str) -> str:
    return f"This cannot be the mail server: {why} {_HINT}"


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ip_address(host).version == 6 else host  # noqa: PLR2004 (IPv6)
    except ValueError:
        return host


TEST_LIMIT: Final = 5
"""The rate limit of test mails: the number within the window, for each process."""

TEST_WINDOW_S: Final = 60
"""The window of the rate limit, in seconds."""

_BODY: Final = f'{{"type":"{TEST_EVENT}","data":{{}}}}'.encode()


class TestMailLimiter:
    """A rate limit of the test mails of a process (sliding window)."""

    __test__ = False  # pytest collects classes of this name as tests

    def __init__(self) -> None:
        self._sent: deque[float] = deque()

    def allows(self) -> bool:
        """Count one more test mail. False if the limit is reached."""
        now = time.monotonic()
        while self._sent and self._sent[0] <= now - TEST_WINDOW_S:
            self._sent.popleft()
        if len(self._sent) >= TEST_LIMIT:
            return False
        self._sent.append(now)
        return True


async def send_test_mail(
    installation: InstallationSettings, to: str, identifier: UUID, now: datetime
) -> AttemptOutcome:
    """Send a test mail.

    Args:
        installation: The mail server.
        to: The recipient.
        identifier: The id of the message.
        now: The time, for the `Date` header.

    Returns:
        The outcome of the attempt.
    """
    async with EmailTransport(installation.smtp, installation) as mailer:
        body = render_mail(_BODY, "en", {})
        return await mailer.post(body, [to], DeliveryHeaders(build_message_id(identifier), TEST_EVENT), now)
