"""Notifies organisations that a quota is nearly or fully used, each notice at most once a day.

`quota.warning`: four fifths of the day's samples are used. `quota.exceeded`: a quota is used up, or a request
was refused for it. Ingest and the API count; one process evaluates the counts periodically.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from app.notifications.events.event_types import QUOTA_EXCEEDED, QUOTA_WARNING
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id
from app.registry.quota_service import load_sample_quotas
from app.registry.settings import SAMPLES, Quota, QuotaSettings

_KEEP_DAYS: Final = 35
_WARN_FROM: Final = 0.8
_NOTE: Final = """
INSERT INTO quota_notices (organisation_id, quota, day, type) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
"""
_SENT: Final = "SELECT organisation_id, quota, type FROM quota_notices WHERE day = $1"
_REFUSED: Final = """
SELECT organisation_id, quota, sum(refused)::bigint FROM organisation_usage
WHERE day = $1 GROUP BY 1, 2 HAVING sum(refused) > 0
"""
_STANDING: Final = """
SELECT h.most, vigie_quota_used($1, coalesce(h.tree, false), $2, $4)
FROM (VALUES (1)) AS one LEFT JOIN vigie_quota_holders(ARRAY[$1::uuid], $2, $3) h ON h.holder = $1
"""
_PRUNE: Final = (
    "DELETE FROM organisation_usage WHERE day < $1",
    "DELETE FROM quota_notices WHERE day < $1",
)


class _QuotaUsage(NamedTuple):
    """An organisation's use of a quota (fields of `QuotaData`). Limit None: its integrator's quota."""

    organisation_id: UUID
    quota: Quota
    limit: int | None
    used: int
    refused: int

    def event(self) -> str | None:
        """Return the type of the notice that is due, if any."""
        if self.refused or (self.limit and self.used >= self.limit):
            return QUOTA_EXCEEDED
        return QUOTA_WARNING if self.limit and self.used >= _WARN_FROM * self.limit else None


async def notify_quota_usage(connection: RawConnection, settings: QuotaSettings, now: datetime) -> None:
    """Send the due notices of today and of the end of yesterday that were not sent yet.

    Args:
        connection: Outside a transaction, with access to all organisations.
        settings: The installation's default quotas.
        now: The time, aware.
    """
    notified = False
    for day in (now.date() - timedelta(days=1), now.date()):
        known = {tuple(row) for row in await connection.fetch(_SENT, day)}
        for usage in await _compute_usage(connection, settings, day, known):
            event = usage.event()
            if event is not None and (usage.organisation_id, usage.quota, event) not in known:
                await _notify(connection, usage, event, day, now)
                notified = True
    if notified:
        await wake_dispatcher(connection)


async def _compute_usage(
    connection: RawConnection, settings: QuotaSettings, day: date, known: Collection[tuple[Any, ...]]
) -> list[_QuotaUsage]:
    """Compute the usage of organisations with a quota of samples, or with refused requests."""
    refused: dict[tuple[UUID, Quota], int] = {
        (organisation_id, quota): number
        for organisation_id, quota, number in await connection.fetch(_REFUSED, day)
    }
    used: dict[tuple[UUID, int], int] = {}
    for row in await load_sample_quotas(connection, day, settings.default(SAMPLES)):
        used[row.holder, row.most] = used.get((row.holder, row.most), 0) + row.used
    found = [
        _QuotaUsage(holder, SAMPLES, most, number, refused.pop((holder, SAMPLES), 0))
        for (holder, most), number in used.items()
    ]
    for (organisation_id, quota), number in refused.items():
        if (organisation_id, quota, QUOTA_EXCEEDED) not in known:
            default = settings.default(quota)
            ((most, used_now),) = await connection.fetch(_STANDING, organisation_id, quota, default, day)
            found.append(_QuotaUsage(organisation_id, quota, most, used_now, number))
    return found


async def _notify(
    connection: RawConnection, usage: _QuotaUsage, event: str, day: date, now: datetime
) -> None:
    midnight = datetime.combine(day + timedelta(days=1), time(), UTC)
    payload = {
        **usage._asdict(),
        "day": day,
        "resets_at": midnight if usage.quota == SAMPLES else None,
    }
    async with connection.transaction():
        if event == QUOTA_EXCEEDED and usage.quota == SAMPLES:
            # No warning after the quota is exceeded.
            await connection.execute(_NOTE, usage.organisation_id, usage.quota, day, QUOTA_WARNING)
        await connection.execute(_NOTE, usage.organisation_id, usage.quota, day, event)
        record = OutboxRecord(new_id(), usage.organisation_id, None, event, payload, now)
        await enqueue_events(connection, [record])


async def delete_old_usage(connection: RawConnection, now: datetime) -> None:
    """Delete usage and notices older than the retention."""
    for statement in _PRUNE:
        await connection.execute(statement, now.date() - timedelta(days=_KEEP_DAYS))
