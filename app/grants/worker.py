"""Writes uses of grants to the audit log when their hour is over, and deletes what is no longer needed."""

from typing import Final

import asyncpg

from app.grants.settings import GrantSettings
from app.platform.db.database import parse_row_count
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
_BATCH: Final = 500
# A trigger writes the entry of each row (migration 0056). Calls that began in the hour have a minute.
_AUDIT: Final = """
UPDATE grant_uses SET audited_at = now() WHERE (grant_id, hour, key_id, kind) IN (
    SELECT grant_id, hour, key_id, kind FROM grant_uses
    WHERE audited_at IS NULL AND hour < date_trunc('hour', now() - interval '1 minute', 'UTC')
    ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""
_DELETE_USES: Final = """
DELETE FROM grant_uses WHERE hour < now() - make_interval(days => $1) AND audited_at IS NOT NULL
"""
_FORGET_CONTACTS: Final = """
UPDATE grants SET contact = NULL, link_hash = NULL WHERE contact IS NOT NULL
    AND least(valid_until, revoked_at) < now() - make_interval(days => $1)
"""
_FORGET_PEOPLE: Final = """
UPDATE grant_acceptances SET name = NULL, address = NULL WHERE (name IS NOT NULL OR address IS NOT NULL)
    AND grant_id IN (SELECT id FROM grants WHERE contact IS NULL)
"""


async def maintain_grants(connection: asyncpg.Connection, settings: GrantSettings) -> bool:
    """Write finished uses to the audit log, and delete old uses and contacts.

    Args:
        connection: A connection of the `maintain` process, outside a transaction.
        settings: The retention.

    Returns:
        Whether more uses wait to be written.
    """
    written = parse_row_count(await connection.execute(_AUDIT, _BATCH))
    await connection.execute(_DELETE_USES, settings.uses_days)
    async with connection.transaction():
        forgotten = parse_row_count(await connection.execute(_FORGET_CONTACTS, settings.contact_days))
        await connection.execute(_FORGET_PEOPLE)
    if forgotten:
        _log.info("grant_contacts_forgotten", number=forgotten)
    return written == _BATCH
