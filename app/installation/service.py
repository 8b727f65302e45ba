"""Sets the mail server and the public address, in the caller's transaction.

Test mails: what is in them, how they are sent, and how many at once.
"""

import time
from collections import deque
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr

from app.installation.models import StoredSetting
from app.installation.schemas import MailSet
from app.notifications.delivery.transport_types import AttemptOutcome, build_message_id
from app.notifications.email.email_transport import EmailTransport
from app.notifications.email.mail_rendering import render_mail
from app.notifications.email.mime_message import DeliveryHeaders, SenderAddress
from app.notifications.events.event_types import TEST_EVENT
from app.notifications.http.ssrf_guard import check_url
from app.platform.config.settings import SmtpSettings
from app.platform.db.database import ReadSession, WriteSession
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError
from app.platform.runtime.stored_settings import MAIL, InstallationSettings, Source
from app.platform.secrets.sealed_columns import INSTALLATION_SECRET
from app.platform.secrets.sealing import SecretSealer, require_encryption_key

MAIL_PORTS: Final = (25, 465, 587, 2525)
"""Of a mail server that is set by the API, unless private addresses are allowed."""

_CODE: Final = "mail_server_not_allowed"
_HINT: Final = "Whoever runs this installation may set VIGIE_SMTP__ALLOW_PRIVATE, or VIGIE_SMTP__HOST."


def check_administrator(principal: Principal) -> None:
    """Refuse who does not administer the platform (ForbiddenError)."""
    if not principal.platform:
        raise ForbiddenError("Only the platform's administrators see and make the installation's settings.")


def check_not_set_by_environment(source: Source, variable: str) -> None:
    """Refuse to set what the environment sets (ConflictError `set_by_environment`)."""
    if source == "environment":
        raise ConflictError(
            f"{variable} sets it, and goes first. Whoever runs this installation can change it there.",
            code="set_by_environment",
        )


async def find_setting(
    session: ReadSession | WriteSession, name: str, *, lock: bool = False
) -> StoredSetting | None:
    """A setting that was made by the API; `lock`: for a change."""
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
    """Store a setting in place of the one there is."""
    row = await find_setting(session, name, lock=True)
    if row is None:
        row = StoredSetting(name=name, organisation_id=principal.organisation_id, created_at=now)
        session.add(row)
    row.value, row.private, row.secret, row.updated_at = value, private, secret, now
    await session.flush()


async def store_mail_server(
    session: WriteSession,
    principal: Principal,
    wanted: MailSet,
    *,
    smtp: SmtpSettings,
    sealer: SecretSealer,
    now: datetime,
) -> None:
    """Store a mail server.

    Args:
        session: The transaction.
        principal: An administrator.
        wanted: The mail server.
        smtp: What the environment says of mails in general.
        sealer: Seals the password.
        now: The time.

    Raises:
        InvalidError: `mail_server_not_allowed`, `invalid_email_address`; `missing_field` where the password
            has to be given again.
        UnavailableError: `encryption_key_missing`.
    """
    _check_server(wanted, allow_private=smtp.allow_private)
    try:
        SenderAddress.of(wanted.sender)
    except InvalidError as error:
        raise error.at("body.sender") from None
    value = {"host": wanted.host, "port": wanted.port, "security": wanted.security}
    private = {"username": wanted.username, "sender": wanted.sender}
    secret = await _secret(session, wanted, value, sealer)
    await store_setting(session, MAIL, principal, now, value=value, private=private, secret=secret)


async def _secret(
    session: WriteSession, wanted: MailSet, value: dict[str, Any], sealer: SecretSealer
) -> str | None:
    """The password, sealed: a stored one goes to no other server or account than it was given for."""
    if wanted.username is None:
        if _plain(wanted.password):
            raise _missing("username", "A password has an account: give `username` too.")
        return None
    if text := _plain(wanted.password):
        require_encryption_key(sealer)
        return INSTALLATION_SECRET.seal(sealer, text, MAIL)
    before = await find_setting(session, MAIL, lock=True)
    same = before is not None and before.value == value
    if not same or before is None or (before.private or {}).get("username") != wanted.username:
        raise _missing("password", "The server or the account is another one: give its password.")
    return before.secret


def _plain(password: SecretStr | None) -> str:
    return "" if password is None else password.get_secret_value()


def _missing(field: str, why: str) -> InvalidError:
    return InvalidError(why, code="missing_field").at(f"body.{field}")


def _check_server(wanted: MailSet, *, allow_private: bool) -> None:
    """Refuse a host, a port or a want of TLS by which the installation's own network could be reached."""
    if refusal := find_host_refusal(wanted.host, allow_private=allow_private):
        raise InvalidError(refusal, code=_CODE).at("body.host")
    if allow_private:
        return
    if wanted.port not in MAIL_PORTS:
        ports = ", ".join(map(str, MAIL_PORTS))
        raise InvalidError(f"Mail servers are at {ports}. {_HINT}", code=_CODE).at("body.port")
    if wanted.security == "none":
        raise InvalidError(
            f"Without TLS the network reads the mails and the password: choose starttls or tls. {_HINT}",
            code=_CODE,
        ).at("body.security")


def find_host_refusal(host: str, *, allow_private: bool) -> str | None:
    """Say why a host cannot be the mail server, and what to set; None where it can. Resolves no name."""
    try:
        check_url(f"https://{_bracketed(host)}/", allow_private=allow_private)
    except InvalidError as error:
        return _refusal(error.detail.partition(": ")[2] or error.detail)
    return None


def explain_address_refusal(host: str, *, allow_private: bool) -> str:
    """Say why no mail goes to a mail server whose address the guard refused.

    Where only the lookup of its name led to that address, the answer does not show it: no client reads from
    it how the installation's network is laid out.
    """
    return find_host_refusal(host, allow_private=allow_private) or _refusal(
        f"{host} resolves to an address that mails must not be sent to, such as a private one."
    )


def _refusal(why: str) -> str:
    return f"This cannot be the mail server: {why} {_HINT}"


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ip_address(host).version == 6 else host  # noqa: PLR2004 (IPv6)
    except ValueError:
        return host


TEST_LIMIT: Final = 5
"""Of a process, within the window."""

TEST_WINDOW_S: Final = 60
"""That window, in seconds."""

_BODY: Final = f'{{"type":"{TEST_EVENT}","data":{{}}}}'.encode()


class TestMailLimiter:
    """Counts the test mails of a process."""

    __test__ = False  # pytest takes classes of this name for tests

    def __init__(self) -> None:
        self._sent: deque[float] = deque()

    def allows(self) -> bool:
        """Count one more; False where there were too many."""
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
    """Send a test mail, and say what came of it."""
    async with EmailTransport(installation.smtp, installation) as mailer:
        body = render_mail(_BODY, "en", {})
        return await mailer.post(body, [to], DeliveryHeaders(build_message_id(identifier), TEST_EVENT), now)
