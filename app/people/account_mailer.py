"""Sends the mails about changes of second factors that are due, and retries with a back-off.

Several processes may run it concurrently. A lease lasts a minute: if the process dies, another one retries
then. A mail is deleted when it was sent or is given up.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from app.notifications.delivery.transport_types import AttemptOutcome, build_message_id
from app.notifications.email.email_transport import EmailTransport
from app.notifications.email.mail_quota import HourlyMailQuota, MailQuotaExceededError
from app.notifications.email.mail_rendering import render_mail_content
from app.notifications.email.mime_message import DeliveryHeaders
from app.people.account_mail import build_account_mail
from app.platform.db.database import Database, RawConnection
from app.platform.identity.session_cookie import CONSOLE_PATH
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.stored_settings import InstallationSettings
from app.presentation.languages import get_language
from app.presentation.mail_layout import MailContent

SCHEDULE_S: Final = (5, 60, 600, 3600, 4 * 3600, 24 * 3600)
"""The back-off after each failed attempt, in seconds; then the mail is given up."""
MAILS_PER_HOUR: Final = 20
"""The most mails to a person in an hour; others wait. An account may have another person's address."""

_BATCH_SIZE: Final = 4
_FINAL: Final = frozenset({"address_refused"})
_LEASE: Final = """
UPDATE account_mails AS taken SET due_at = now() + interval '1 minute', attempts = attempts + 1
FROM (
    SELECT id FROM account_mails WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
) AS due
WHERE taken.id = due.id
RETURNING taken.id, taken.user_id, taken.kind, taken.email, taken.language, taken.created_at, taken.attempts
"""
_DELETE: Final = "DELETE FROM account_mails WHERE id = $1"
_RETRY: Final = "UPDATE account_mails SET due_at = now() + $2::interval WHERE id = $1"
_WAIT: Final = """
UPDATE account_mails SET due_at = now() + $2::interval, attempts = attempts - 1 WHERE id = $1
"""
_TYPE: Final = "account"
_log = get_logger(__name__)


class AccountMailer:
    """Sends the mails of one process.

    Args:
        mailer: The open transport of mails.
        installation: The base URL of links.
    """

    def __init__(self, mailer: EmailTransport, installation: InstallationSettings) -> None:
        self._mailer = mailer
        self._installation = installation
        self._quota = HourlyMailQuota(MAILS_PER_HOUR)

    async def mail_due(self, database: Database) -> int:
        """Send a batch of due mails; return their number."""
        connection = await database.connect()
        try:
            rows = await connection.fetch(_LEASE, _BATCH_SIZE)
            for row in rows:
                await self._mail(connection, row)
        finally:
            await connection.close()
        return len(rows)

    async def _mail(self, connection: RawConnection, row: Any) -> None:  # noqa: ANN401 (a row)
        language = get_language(row["language"])
        page = build_account_mail(
            language,
            row["kind"],
            email=row["email"],
            changed_at=row["created_at"],
            link=f"{self._installation.base_url}{CONSOLE_PATH}/account",
        )
        try:
            with self._quota.reserve(row["user_id"], 1, time.monotonic()) as reservation:
                outcome = await self._send(row, page)
                reservation.is_sent = outcome.delivered
        except MailQuotaExceededError as full:
            await connection.execute(_WAIT, row["id"], timedelta(seconds=full.retry_after_s))
            return
        number = row["attempts"]
        if outcome.delivered or outcome.reason in _FINAL or number > len(SCHEDULE_S):
            await connection.execute(_DELETE, row["id"])
        else:
            await connection.execute(_RETRY, row["id"], timedelta(seconds=SCHEDULE_S[number - 1]))
        _log.info(
            "account_mailed",
            user_id=str(row["user_id"]),
            kind=row["kind"],
            reason=outcome.reason,
            status=outcome.status,
            number=number,
        )

    async def _send(self, row: Any, page: MailContent) -> AttemptOutcome:  # noqa: ANN401 (a row)
        body = msgspec.json.encode(render_mail_content(page, get_language(row["language"])))
        sent = DeliveryHeaders(build_message_id(row["id"]), _TYPE)
        return await self._mailer.post(body, [row["email"]], sent, datetime.now(UTC))
