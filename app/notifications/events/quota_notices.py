"""Tells organisations of their quotas, by the outbox like everything else: each of them once a day.

Owns what is told and when: `quota.warning` where four fifths of the samples of the day are used, and
`quota.exceeded` where a quota is used up, or something was refused for it. Ingest and the API only count;
what they have counted is looked at here now and then, by one process.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from app.notifications.events.event_types import QUOTA_EXCEEDED, QUOTA_WARNING
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.platform.config.quota_settings import SAMPLES, Quota, QuotaSettings
from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id
from app.registry.quota_service import load_sample_quotas

_KEEP_DAYS: Final = 35
_WARN_FROM: Final = 0.8
_NOTE: Final = """
INSERT INTO quota_notices (organisation_id, quota, day, type) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
"""
_TOLD: Final = "SELECT organisation_id, quota, type FROM quota_notices WHERE day = $1"
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


class _Standing(NamedTuple):
    """How an organisation stands to a quota: what `QuotaData` says. A limit of None is another's."""

    organisation_id: UUID
    quota: Quota
    limit: int | None
    used: int
    refused: int

    def event(self) -> str | None:
        """What there is to tell."""
        if self.refused or (self.limit and self.used >= self.limit):
            return QUOTA_EXCEEDED
        return QUOTA_WARNING if self.limit and self.used >= _WARN_FROM * self.limit else None


async def notify_quota_usage(connection: RawConnection, settings: QuotaSettings, now: datetime) -> None:
    """Tell what was not told yet of today, and of the end of yesterday.

    Args:
        connection: outside a transaction, of a process that works for everybody.
        settings: the installation's defaults.
        now: aware.
    """
    told = False
    for day in (now.date() - timedelta(days=1), now.date()):
        known = {tuple(row) for row in await connection.fetch(_TOLD, day)}
        for standing in await _standings(connection, settings, day, known):
            event = standing.event()
            if event is not None and (standing.organisation_id, standing.quota, event) not in known:
                await _tell(connection, standing, event, day, now)
                told = True
    if told:
        await wake_dispatcher(connection)


async def _standings(
    connection: RawConnection, settings: QuotaSettings, day: date, known: Collection[tuple[Any, ...]]
) -> list[_Standing]:
    """How those stand to a quota who have one of samples, or were refused something."""
    refused: dict[tuple[UUID, Quota], int] = {
        (organisation_id, quota): number
        for organisation_id, quota, number in await connection.fetch(_REFUSED, day)
    }
    used: dict[tuple[UUID, int], int] = {}
    for row in await load_sample_quotas(connection, day, settings.default(SAMPLES)):
        used[row.holder, row.most] = used.get((row.holder, row.most), 0) + row.used
    found = [
        _Standing(holder, SAMPLES, most, number, refused.pop((holder, SAMPLES), 0))
        for (holder, most), number in used.items()
    ]
    for (organisation_id, quota), number in refused.items():
        if (organisation_id, quota, QUOTA_EXCEEDED) not in known:
            default = settings.default(quota)
            ((most, used_now),) = await connection.fetch(_STANDING, organisation_id, quota, default, day)
            found.append(_Standing(organisation_id, quota, most, used_now, number))
    return found


async def _tell(connection: RawConnection, standing: _Standing, event: str, day: date, now: datetime) -> None:
    midnight = datetime.combine(day + timedelta(days=1), time(), UTC)
    payload = {
        **standing._asdict(),
        "day": day,
        "resets_at": midnight if standing.quota == SAMPLES else None,
    }
    async with connection.transaction():
        if event == QUOTA_EXCEEDED and standing.quota == SAMPLES:
            # That it was nearly used up is no news any more.
            await connection.execute(_NOTE, standing.organisation_id, standing.quota, day, QUOTA_WARNING)
        await connection.execute(_NOTE, standing.organisation_id, standing.quota, day, event)
        record = OutboxRecord(new_id(), standing.organisation_id, None, event, payload, now)
        await enqueue_events(connection, [record])


async def delete_old_usage(connection: RawConnection, now: datetime) -> None:
    """Remove what is known of days that are long over."""
    for statement in _PRUNE:
        await connection.execute(statement, now.date() - timedelta(days=_KEEP_DAYS))
