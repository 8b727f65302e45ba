"""Publishes an event for each overdue privacy request, and deletes closed ones after their retention."""

from datetime import UTC, datetime
from typing import Final

import asyncpg

from app.notifications.events.event_types import RIGHTS_OVERDUE
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.platform.db.database import parse_row_count
from app.platform.kernel.ids import new_id
from app.platform.observability.metrics_and_logs import get_logger
from app.privacy_requests.settings import RightsSettings

_BATCH_SIZE: Final = 500
_OVERDUE: Final = """
UPDATE rights_requests SET overdue_told_at = now() WHERE id IN (
    SELECT id FROM rights_requests WHERE closed_at IS NULL AND due_at < now() AND overdue_told_at IS NULL
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
RETURNING id AS request_id, reference, organisation_id, site_id, kind, state, received_at, due_at
"""
_DELETE_EXPIRED: Final = "DELETE FROM rights_requests WHERE closed_at < now() - make_interval(days => $1)"
_log = get_logger(__name__)


async def process_overdue_requests(connection: asyncpg.Connection, settings: RightsSettings) -> None:
    """Publish an event once per overdue request, and remove expired requests.

    Args:
        connection: A connection of the `maintain` process, outside a transaction.
        settings: The retention of closed requests.
    """
    now = datetime.now(UTC)
    async with connection.transaction():
        rows = await connection.fetch(_OVERDUE, _BATCH_SIZE)
        await enqueue_events(
            connection,
            [
                OutboxRecord(new_id(), row["organisation_id"], row["site_id"], RIGHTS_OVERDUE, dict(row), now)
                for row in rows
            ],
        )
    if rows:
        await wake_dispatcher(connection)
    removed = await connection.execute(_DELETE_EXPIRED, settings.keep_days)
    if removed != "DELETE 0":
        _log.info("rights_requests_forgotten", number=parse_row_count(removed))
