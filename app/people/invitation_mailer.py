"""Sends the mails of invitations that are due, records the outcome, and retries with a back-off.

Several processes may run it concurrently. A lease lasts a minute: if the process dies, another one retries
then. The token is stored encrypted, and only until its mail is sent or given up; it is never logged.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from app.notifications.delivery.transport_types import AttemptOutcome, build_message_id
from app.notifications.email.email_transport import EmailTransport
from app.notifications.email.mail_rendering import render_mail_content
from app.notifications.email.mime_message import DeliveryHeaders
from app.people.account_mailer import AccountMailer
from app.people.invitation_mail import build_invitation_mail
from app.people.sign_in_dependencies import WELCOME
from app.platform.db.database import DATABASE_ERRORS, Database, RawConnection
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.stored_settings import InstallationSettings, wait_until_set
from app.platform.secrets.sealed_columns import INVITATION_TOKEN
from app.platform.secrets.sealing import SealingError, SecretSealer
from app.presentation.languages import get_language

SCHEDULE_S: Final = (5, 60, 600, 3600, 4 * 3600, 24 * 3600)
"""The back-off after each failed attempt, in seconds; then the mail is given up."""

_POLL_S: Final = 1.0
_BATCH_SIZE: Final = 4
_FINAL: Final = frozenset({"address_refused"})
_LEASE: Final = """
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
_RETRY: Final = "UPDATE invitations SET mail_reason = $2, mail_due_at = now() + $3::interval WHERE id = $1"
_GIVEN_UP: Final = """
UPDATE invitations SET mail_status = 'failed', mail_reason = coalesce($2, mail_reason), mail_due_at = NULL,
    mail_token = NULL
WHERE id = $1
"""
_TYPE: Final = "invitation"
_ENDED: Final = "invitation_ended"  # accepted, revoked or expired before the mail was sent
_log = get_logger(__name__)


async def run_invitation_mailer(
    database: Database, installation: InstallationSettings, sealer: SecretSealer, stop: asyncio.Event
) -> None:
    """Send due invitations, and mails about accounts, until stopped.

    Args:
        database: The database, with the role of `vigie deliver`.
        installation: The mail server, and the base URL of links.
        sealer: Decrypts tokens.
        stop: Ends the loop when it is set.
    """
    async with EmailTransport(installation.smtp, installation) as mailer:
        accounts = AccountMailer(mailer, installation)
        while not await wait_until_set(stop, _POLL_S):
            try:
                await mail_due_invitations(database, mailer, installation, sealer)
                await accounts.mail_due(database)
            except DATABASE_ERRORS as error:
                _log.warning("invitations_not_mailed", error=repr(error))


async def mail_due_invitations(
    database: Database, mailer: EmailTransport, installation: InstallationSettings, sealer: SecretSealer
) -> int:
    """Send a batch of due invitations.

    Args:
        database: The database.
        mailer: The transport of mails.
        installation: The base URL of links.
        sealer: Decrypts tokens.

    Returns:
        The number of invitations in the batch.
    """
    connection = await database.connect()
    try:
        rows = await connection.fetch(_LEASE, _BATCH_SIZE)
        for row in rows:
            await _record_outcome(connection, row, await _attempt(row, mailer, installation, sealer))
    finally:
        await connection.close()
    return len(rows)


async def _attempt(
    row: Any,  # noqa: ANN401 (a row)
    mailer: EmailTransport,
    installation: InstallationSettings,
    sealer: SecretSealer,
) -> AttemptOutcome | None:
    """Send an invitation; None if it is no longer open."""
    if not row["open"] or row["mail_token"] is None:
        return None
    try:
        token = INVITATION_TOKEN.open(sealer, row["mail_token"], row["id"])
    except SealingError as error:
        _log.warning("invitation_not_opened", invitation_id=str(row["id"]), error=str(error))
        return AttemptOutcome("not_configured", None, None, 0.0)
    language = get_language(row["language"])
    page = build_invitation_mail(
        language,
        organisation=row["organisation"],
        inviter=row["invited_by_name"],
        role=row["role"],
        expires_at=row["expires_at"],
        link=f"{installation.base_url}{WELCOME}#{token}",
    )
    mail = render_mail_content(page, language)
    sent = DeliveryHeaders(build_message_id(row["id"]), _TYPE)
    return await mailer.post(msgspec.json.encode(mail), [row["email"]], sent, datetime.now(UTC))


async def _record_outcome(
    connection: RawConnection,
    row: Any,  # noqa: ANN401 (a row)
    outcome: AttemptOutcome | None,
) -> None:
    """Record the outcome of an attempt."""
    if outcome is None:
        await connection.execute(_GIVEN_UP, row["id"], _ENDED)
    elif outcome.delivered:
        await connection.execute(_SENT, row["id"])
    elif outcome.reason in _FINAL or row["mail_attempts"] > len(SCHEDULE_S):
        await connection.execute(_GIVEN_UP, row["id"], outcome.reason)
    else:
        wait = timedelta(seconds=SCHEDULE_S[row["mail_attempts"] - 1])
        await connection.execute(_RETRY, row["id"], outcome.reason, wait)
    if outcome is not None:
        _log.info(
            "invitation_mailed",
            invitation_id=str(row["id"]),
            reason=outcome.reason,
            status=outcome.status,
            number=row["mail_attempts"],
        )
