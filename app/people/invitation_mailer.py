"""Mails invitations: takes those that are due, sends them, and writes down what came of it.

Owns when a mail that was not taken is tried again. Several processes may do so at once: whoever takes an
invitation puts it off for a minute first, and a process that dies meanwhile leaves it to the next one. The
token is in the database sealed, and only until its mail is sent or given up; it is in no log.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from app.notifications.delivery.transport_types import AttemptOutcome, build_message_id
from app.notifications.email.email_transport import EmailTransport
from app.notifications.email.mail_formats import get_mail_texts
from app.notifications.email.mail_layout import render_html, render_plain_text
from app.notifications.email.mail_rendering import RenderedMail
from app.notifications.email.mime_message import DeliveryHeaders
from app.people.context import WELCOME
from app.people.invitation_texts import build_invitation_page
from app.platform.db.database import DATABASE_ERRORS, Database, RawConnection
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.stored_settings import InstallationSettings, wait_until_set
from app.platform.secrets.sealed_columns import INVITATION_TOKEN
from app.platform.secrets.sealing import SealingError, SecretSealer

SCHEDULE_S: Final = (5, 60, 600, 3600, 4 * 3600, 24 * 3600)
"""The waits after attempts that failed, in seconds; then a mail is given up."""

_EVERY_S: Final = 1.0
_AT_ONCE: Final = 4
_FINAL: Final = frozenset({"address_refused"})
_TAKE: Final = """
UPDATE invitations AS taken SET mail_due_at = now() + interval '1 minute', mail_attempts = mail_attempts + 1
FROM (
    SELECT id FROM invitations WHERE mail_status = 'pending' AND mail_due_at <= now()
    ORDER BY mail_due_at LIMIT $1 FOR UPDATE SKIP LOCKED
) AS due, organisations AS organisation
WHERE taken.id = due.id AND organisation.id = taken.organisation_id
RETURNING taken.id, taken.email, taken.role, taken.language, taken.invited_by_name, taken.expires_at,
    taken.mail_attempts, taken.mail_token, organisation.name AS organisation,
    taken.accepted_at IS NULL AND taken.revoked_at IS NULL AND taken.expires_at > now() AS open
"""
_SENT: Final = """
UPDATE invitations SET mail_status = 'sent', mail_reason = NULL, mailed_at = now(), mail_due_at = NULL,
    mail_token = NULL
WHERE id = $1
"""
_PUT_OFF: Final = "UPDATE invitations SET mail_reason = $2, mail_due_at = now() + $3::interval WHERE id = $1"
_GIVEN_UP: Final = """
UPDATE invitations SET mail_status = 'failed', mail_reason = coalesce($2, mail_reason), mail_due_at = NULL,
    mail_token = NULL
WHERE id = $1
"""
_TYPE: Final = "invitation"
_ENDED: Final = "invitation_ended"  # accepted, replaced or over before the mail went
_log = get_logger(__name__)


async def run_invitation_mailer(
    database: Database, installation: InstallationSettings, sealer: SecretSealer, stop: asyncio.Event
) -> None:
    """Mail what is due, again and again.

    Args:
        database: Under the role that delivers.
        installation: Knows the mail server, and where links begin.
        sealer: Opens tokens.
        stop: Set when it is to end.
    """
    async with EmailTransport(installation.smtp, installation) as mailer:
        while not await wait_until_set(stop, _EVERY_S):
            try:
                await mail_due_invitations(database, mailer, installation, sealer)
            except DATABASE_ERRORS as error:
                _log.warning("invitations_not_mailed", error=repr(error))


async def mail_due_invitations(
    database: Database, mailer: EmailTransport, installation: InstallationSettings, sealer: SecretSealer
) -> int:
    """Mail the invitations that are due; how many these were."""
    connection = await database.connect()
    try:
        rows = await connection.fetch(_TAKE, _AT_ONCE)
        for row in rows:
            await _settle(connection, row, await _attempt(row, mailer, installation, sealer))
    finally:
        await connection.close()
    return len(rows)


async def _attempt(
    row: Any,  # noqa: ANN401 (a row)
    mailer: EmailTransport,
    installation: InstallationSettings,
    sealer: SecretSealer,
) -> AttemptOutcome | None:
    """Mail an invitation; None where there is nothing to mail any more."""
    if not row["open"] or row["mail_token"] is None:
        return None
    try:
        token = INVITATION_TOKEN.open(sealer, row["mail_token"], row["id"])
    except SealingError as error:
        _log.warning("invitation_not_opened", invitation_id=str(row["id"]), error=str(error))
        return AttemptOutcome("not_configured", None, None, 0.0)
    texts = get_mail_texts(row["language"])
    page = build_invitation_page(
        texts.language,
        organisation=row["organisation"],
        inviter=row["invited_by_name"],
        role=row["role"],
        expires_at=row["expires_at"],
        link=f"{installation.base_url}{WELCOME}#{token}",
    )
    mail = RenderedMail(
        page.subject, render_plain_text(page, texts), render_html(page, texts), texts.language
    )
    sent = DeliveryHeaders(build_message_id(row["id"]), _TYPE)
    return await mailer.post(msgspec.json.encode(mail), [row["email"]], sent, datetime.now(UTC))


async def _settle(connection: RawConnection, row: Any, outcome: AttemptOutcome | None) -> None:  # noqa: ANN401 (a row)
    """Write down what came of an attempt."""
    if outcome is None:
        await connection.execute(_GIVEN_UP, row["id"], _ENDED)
    elif outcome.delivered:
        await connection.execute(_SENT, row["id"])
    elif outcome.reason in _FINAL or row["mail_attempts"] > len(SCHEDULE_S):
        await connection.execute(_GIVEN_UP, row["id"], outcome.reason)
    else:
        wait = timedelta(seconds=SCHEDULE_S[row["mail_attempts"] - 1])
        await connection.execute(_PUT_OFF, row["id"], outcome.reason, wait)
    if outcome is not None:
        _log.info(
            "invitation_mailed",
            invitation_id=str(row["id"]),
            reason=outcome.reason,
            status=outcome.status,
            number=row["mail_attempts"],
        )
