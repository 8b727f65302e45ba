"""Enqueues `incident.updated` events, settles incidents without new events, and dismisses erased ones."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from app.notifications.events.outbox import enqueue_events
from app.platform.db.database import RawConnection
from app.sound_incidents.clustering_queries import decode_incident
from app.sound_incidents.incident_values import find_changes, summarise_incident
from app.sound_incidents.incident_writer import IncidentHistoryEntry, write_history
from app.sound_incidents.settings import IncidentSettings
from app.sound_incidents.sound_event_windows import SILENCE_US

_BATCH: Final = 200
_PENDING_UPDATES: Final = """
SELECT *, clock_timestamp() AS clock FROM incidents
WHERE untold AND (told_at IS NULL OR told_at <= clock_timestamp() - $1::interval)
ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_MARK_PUBLISHED: Final = """
UPDATE incidents SET told = $2::text::jsonb, told_at = $3, untold = false, sequence = sequence + $4,
    updated_at = $3
WHERE id = $1
"""
_SETTLE: Final = """
UPDATE incidents SET settled_at = now()
WHERE settled_at IS NULL AND last_heard_at IS NOT NULL AND last_heard_at < now() - $1::interval
"""
_EMPTIED: Final = """
UPDATE incidents i SET state = 'dismissed', outcome = 'erased', reviewed_kind = 'system',
    reviewed_at = date_trunc('day', now(), 'UTC'), sequence = sequence + 1, updated_at = now()
WHERE i.erased_at IS NOT NULL AND i.state = 'open'
    AND NOT EXISTS (SELECT FROM incident_events e WHERE e.incident_id = i.id)
RETURNING i.*, now() AS clock
"""
_DUE: Final = """
SELECT EXISTS (SELECT FROM incident_marks)
    OR EXISTS (SELECT FROM incidents WHERE untold)
    OR EXISTS (SELECT FROM incidents WHERE erased_at IS NOT NULL AND state = 'open')
    OR EXISTS (SELECT FROM incidents WHERE settled_at IS NULL AND last_heard_at IS NOT NULL
        AND last_heard_at < now() - $1::interval)
"""


def _settling_time(settings: IncidentSettings) -> timedelta:
    return timedelta(seconds=settings.settle_s) + timedelta(microseconds=SILENCE_US)


async def has_due_work(connection: RawConnection, settings: IncidentSettings) -> bool:
    """Return whether any mark, update, erasure or settling is due."""
    return bool(await connection.fetchval(_DUE, _settling_time(settings)))


async def enqueue_updates(connection: RawConnection, settings: IncidentSettings) -> int:
    """Enqueue `incident.updated` for changed incidents, at most one per interval each.

    Returns:
        The number of events.
    """
    every = timedelta(seconds=settings.update_every_s)
    async with connection.transaction():
        entries = []
        for found in await connection.fetch(_PENDING_UPDATES, every, _BATCH):
            row = decode_incident(found)
            now: datetime = row["clock"]
            summary = summarise_incident(row)
            published = row["told"]
            # The change may have been reverted since.
            changes = find_changes(published, summary, settings.moved_m) if row["state"] == "open" else []
            row["sequence"] += bool(changes)
            encoded = msgspec.json.encode(summary if changes else published or summary).decode()
            at = now if changes else row["told_at"] or now
            await connection.execute(_MARK_PUBLISHED, row["id"], encoded, at, int(bool(changes)))
            if changes:
                entries.append(IncidentHistoryEntry("updated", row, now, changes))
        await write_history(connection, entries)
        await enqueue_events(connection, [entry.to_outbox_record() for entry in entries])
    return len(entries)


async def settle_incidents(connection: RawConnection, settings: IncidentSettings) -> int:
    """Settle incidents that expect no more events, and dismiss those without any events left.

    Returns:
        The number of outbox events.
    """
    await connection.execute(_SETTLE, _settling_time(settings))
    async with connection.transaction():
        rows = [decode_incident(row) for row in await connection.fetch(_EMPTIED)]
        entries = [IncidentHistoryEntry("dismissed", row, row["clock"]) for row in rows]
        await enqueue_events(connection, [entry.to_outbox_record() for entry in entries])
    return len(entries)
