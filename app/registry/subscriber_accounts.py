"""Accounts at the broker that are no box's: those of the clients who read their alerts by MQTT.

Owns their names and passwords: an organisation has one at most, called `@` and its id, which no box's id can
be. Works inside the caller's transaction; the broker learns of it by `app.registry.broker_password_file`,
after the commit.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from app.platform.broker.mosquitto_hash import hash_mosquitto_password
from app.platform.db.database import WriteSession
from app.registry.models import BrokerAccount
from app.registry.service import generate_box_password

MARK: Final = "@"
"""What the name of such an account, and so its level in topics, begins with."""


def make_account_username(organisation_id: UUID) -> str:
    """The name of an organisation's account."""
    return f"{MARK}{organisation_id}"


async def issue_account(session: WriteSession, organisation_id: UUID, now: datetime) -> str:
    """Make an organisation's account, or give it a new password: the former one no longer works.

    Args:
        session: The transaction.
        organisation_id: Whose it is; it exists.
        now: When it is made.

    Returns:
        The only copy of its password.
    """
    password = generate_box_password()
    hashed = hash_mosquitto_password(password)
    values = {"username": make_account_username(organisation_id), "organisation_id": organisation_id}
    statement = insert(BrokerAccount).values(**values, password_hash=hashed, created_at=now)
    await session.execute(
        statement.on_conflict_do_update(index_elements=["username"], set_={"password_hash": hashed})
    )
    return password


async def delete_account(session: WriteSession, organisation_id: UUID) -> None:
    """Remove an organisation's account; nothing happens where it has none."""
    await session.execute(delete(BrokerAccount).where(BrokerAccount.organisation_id == organisation_id))
