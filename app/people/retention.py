"""What is forgotten of people: what has ended, and who belongs nowhere any more."""

from typing import Final

import asyncpg

from app.platform.config.sign_in_settings import SessionSettings
from app.platform.observability.metrics_and_logs import get_logger

KEEP_DAYS: Final = 30
"""How long an invitation can be seen after it ended."""

_SESSIONS: Final = """
DELETE FROM user_sessions WHERE revoked_at IS NOT NULL OR expires_at < now()
    OR last_used_at < now() - make_interval(secs => $1)
"""
_RESETS: Final = "DELETE FROM password_resets WHERE used_at IS NOT NULL OR expires_at < now()"
_INVITATIONS: Final = """
DELETE FROM invitations
WHERE coalesce(accepted_at, revoked_at, expires_at) < now() - make_interval(days => $1)
"""
# Made together with their first membership: who has none lost the last one.
_USERS: Final = "DELETE FROM users u WHERE NOT EXISTS (SELECT FROM memberships m WHERE m.user_id = u.id)"
_log = get_logger(__name__)


async def purge_people_data(connection: asyncpg.Connection, settings: SessionSettings) -> None:
    """Remove what has ended."""
    await connection.execute(_SESSIONS, settings.idle_s)
    await connection.execute(_RESETS)
    await connection.execute(_INVITATIONS, KEEP_DAYS)
    try:
        removed = await connection.execute(_USERS)
    except asyncpg.ForeignKeyViolationError:
        # One of them was taken into an organisation meanwhile: the others go the next time.
        return
    if removed != "DELETE 0":
        _log.info("people_forgotten", number=int(removed.rpartition(" ")[2]))
