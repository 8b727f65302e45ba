"""Finds Alertmanager channels due for a repeat of firing alerts, and deletes their previous repeats."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app.notifications.events.event_types import ALERT_REPEAT
from app.platform.db.database import RawConnection

_CHANNELS: Final = """
SELECT id, organisation_id, site_ids, min_severity, now() AS now FROM webhook_endpoints AS channel
WHERE kind = 'alertmanager' AND enabled AND events && ARRAY['alert.firing', '*'] AND NOT EXISTS (
    SELECT FROM deliveries
    WHERE endpoint_id = channel.id AND id > $3 AND type = $1 AND created_at > now() - $2::interval
)
ORDER BY id
FOR KEY SHARE SKIP LOCKED
"""
# Older repeats are harmless when replayed: the alerts in them have expired at Alertmanager.
_DELETE_PREVIOUS: Final = "DELETE FROM deliveries WHERE endpoint_id = $1 AND type = $2 AND id > $3"


async def lock_due_repeat_channels(
    connection: RawConnection, interval: timedelta, since: UUID
) -> list[asyncpg.Record]:
    """Lock enabled Alertmanager channels without a repeat within an interval.

    Args:
        connection: In a transaction.
        interval: The interval of repeats.
        since: A lower bound of the ids of deliveries to search.

    Returns:
        Their `id`, `organisation_id`, `site_ids`, `min_severity`, and `now` of the database.
    """
    return await connection.fetch(_CHANNELS, ALERT_REPEAT, interval, since)


async def delete_previous_repeats(connection: RawConnection, channel_id: UUID, since: UUID) -> None:
    """Delete the recent repeats of a channel, those with greater ids than `since`."""
    await connection.execute(_DELETE_PREVIOUS, channel_id, ALERT_REPEAT, since)
