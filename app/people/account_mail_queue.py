"""Queues the mails about changes of a person's second factors, in the transaction of the change."""

from datetime import datetime

from app.people.models import AccountMail, AccountMailKind, User
from app.platform.db.database import WriteSession
from app.platform.kernel.ids import new_id
from app.platform.runtime.stored_settings import InstallationSettings


def queue_account_mail(
    session: WriteSession,
    installation: InstallationSettings,
    user: User,
    kind: AccountMailKind,
    now: datetime,
) -> None:
    """Queue a mail to a person, which `app.people.account_mailer` sends; do nothing without a mail server.

    Args:
        session: The transaction, with the full tenant scope or that of the person.
        installation: The mail server.
        user: The person.
        kind: What happened.
        now: The time.
    """
    if installation.smtp.host is None:
        return
    session.add(
        AccountMail(
            id=new_id(),
            user_id=user.id,
            kind=kind,
            email=user.email,
            language=user.locale,
            created_at=now,
            due_at=now,
            attempts=0,
        )
    )
