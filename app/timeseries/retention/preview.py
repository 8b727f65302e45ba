"""Counts the data that a site would lose with given settings, and reads the progress of removal.

Counting uses the same conditions as removal (`expiry_sql`). It stops at a limit, and reports that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.purposes import EVENT_PURPOSES, PURPOSE_BY_EVENT_TYPE, PURPOSE_BY_METRIC, SAMPLE_PURPOSES
from app.timeseries.retention import expired_data_repository
from app.timeseries.retention.expired_data_repository import ExpiredCounts, PurposeExtent
from app.timeseries.retention.expiry_cutoffs import (
    EXPIRY_CATEGORIES,
    EXPIRY_EVENT_TYPES,
    NEVER,
    ExpiryLimits,
)

SAMPLES_LIMIT: Final = 2_000_000
"""The most samples that are counted, and the most events."""
_GROUP: Final = 50

# Counting begins at the first day that has not been cleaned: before it, nothing has expired.
_BOXES: Final = text("""
SELECT b.key, min(coalesce(s.next_from, CAST(:never AS timestamptz))) AS first
FROM registry_boxes b
CROSS JOIN unnest(CAST(:names AS text[]), CAST(:limits AS timestamptz[])) AS p (name, until)
LEFT JOIN retention_states s ON s.box_key = b.key AND s.purpose = p.name
WHERE b.site_id = :site AND b.deleted_at IS NULL
    AND p.until > coalesce(s.next_from, CAST(:never AS timestamptz))
GROUP BY b.key ORDER BY b.key
""")
_LIMITS: Final = "CAST(:limits AS timestamptz[])"
_COUNT: Final = text(f"""
SELECT {expired_data_repository.expired_counts_sql(_LIMITS)} FROM (
    SELECT n.* FROM unnest(CAST(:keys AS integer[]), CAST(:firsts AS timestamptz[])) AS k (key, first),
    LATERAL (
        SELECT * FROM tenant_samples t
        WHERE t.box_key = k.key AND t.time >= k.first AND t.time >= :earliest AND t.time < :last OFFSET 0
    ) n LIMIT :room
) s
""")  # noqa: S608 (catalogue names)
_EVENTS: Final = text("""
SELECT e.type, count(*) AS events, min(e.time) AS first, max(e.time) AS last FROM (
    SELECT e.type, e.time FROM registry_boxes b JOIN events e ON e.box_key = b.key
    LEFT JOIN unnest(CAST(:types AS text[]), CAST(:limits AS timestamptz[])) AS m (type, before)
        ON m.type = e.type
    WHERE b.site_id = :site AND b.deleted_at IS NULL AND e.time < coalesce(m.before, :others) LIMIT :room
) e GROUP BY e.type
""")
_SUMMARIES: Final = """
SELECT metric, count(*) AS count FROM tenant_{table}
WHERE box_key IN (SELECT b.key FROM registry_boxes b WHERE b.site_id = :site AND b.deleted_at IS NULL)
    AND day < :last GROUP BY metric
"""
_PROGRESS: Final = text("""
SELECT count(*) AS total, count(*) FILTER (WHERE NOT EXISTS (
    SELECT FROM unnest(CAST(:names AS text[]), CAST(:limits AS timestamptz[])) AS p (name, until)
    LEFT JOIN retention_states s ON s.box_key = b.key AND s.purpose = p.name
    WHERE p.until > coalesce(s.next_from, CAST(:never AS timestamptz))
)) AS done
FROM registry_boxes b WHERE b.site_id = :site AND b.deleted_at IS NULL
""")
_REMOVED: Final = text("SELECT * FROM removals WHERE site_id = :site")


@dataclass(slots=True)
class ExpiryPreview:
    """The data that would be removed.

    Attributes:
        limits: the age limits.
        complete: whether everything was counted; otherwise there is more.
        samples: samples and their values.
        events: events, by purpose.
        hourly, daily: rows of roll-ups, by purpose.
    """

    limits: ExpiryLimits
    complete: bool = True
    samples: ExpiredCounts = field(default_factory=ExpiredCounts)
    events: dict[str, PurposeExtent] = field(
        default_factory=lambda: {purpose.name: PurposeExtent() for purpose in EVENT_PURPOSES}
    )
    hourly: dict[str, int] = field(default_factory=dict)
    daily: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemovalProgress:
    """Progress of removal: boxes cleaned up to the current limits, and the data removed so far."""

    boxes: int
    done: int
    samples: int = 0
    values: int = 0
    events: int = 0
    hourly: int = 0
    daily: int = 0
    updated_at: datetime | None = None


async def count_expired_data(session: AsyncSession, site_id: UUID, limits: ExpiryLimits) -> ExpiryPreview:
    """Count the expired data of a site."""
    found = ExpiryPreview(limits)
    await _samples(session, site_id, found)
    if any(limit != NEVER for limit in limits.events.values()):
        await _events(session, site_id, found)
    for table, limit in (("hourly", limits.hourly), ("daily", limits.daily)):
        if limit == NEVER:
            continue
        counts = getattr(found, table)
        rows = await session.execute(text(_SUMMARIES.format(table=table)), {"site": site_id, "last": limit})
        for row in rows:
            purpose = PURPOSE_BY_METRIC[row.metric]
            counts[purpose] = counts.get(purpose, 0) + row[1]
    return found


async def _events(session: AsyncSession, site_id: UUID, found: ExpiryPreview) -> None:
    limits = found.limits
    values = {
        "site": site_id,
        "types": list(EXPIRY_EVENT_TYPES),
        "limits": limits.of_types,
        "room": SAMPLES_LIMIT,
    }
    total = 0
    for row in await session.execute(_EVENTS, {**values, "others": limits.of_other_types}):
        purpose = PURPOSE_BY_EVENT_TYPE.get(row.type, "acoustic_safety")
        found.events[purpose].add(PurposeExtent(row.events, row.first, row.last))
        total += row.events
    found.complete &= total < SAMPLES_LIMIT


async def _samples(session: AsyncSession, site_id: UUID, found: ExpiryPreview) -> None:
    limits = found.limits
    names = [purpose.name for purpose in SAMPLE_PURPOSES]
    values = {"site": site_id, "names": names, "limits": limits.of_samples, "never": NEVER}
    boxes = (await session.execute(_BOXES, values)).all()
    room = SAMPLES_LIMIT
    for place in range(0, len(boxes), _GROUP):
        group = boxes[place : place + _GROUP]
        counted = await _count(
            session, [box.key for box in group], [box.first for box in group], limits, room
        )
        found.samples.add(counted)
        room -= counted.rows
        if room <= 0:
            found.complete = False
            return


async def _count(
    session: AsyncSession, keys: Sequence[int], firsts: Sequence[datetime], limits: ExpiryLimits, room: int
) -> ExpiredCounts:
    values = {
        "keys": list(keys),
        "firsts": list(firsts),
        "earliest": min(firsts),
        "last": limits.newest,
        "limits": limits.of_samples,
        "room": room,
    }
    return ExpiredCounts.of((await session.execute(_COUNT, values)).mappings().one())


async def read_removal_progress(
    session: AsyncSession, site_id: UUID, limits: ExpiryLimits
) -> RemovalProgress:
    """Read the progress of removal at a site."""
    values = {"site": site_id, "names": list(EXPIRY_CATEGORIES), "limits": limits.listed, "never": NEVER}
    boxes = (await session.execute(_PROGRESS, values)).one()
    removed = (await session.execute(_REMOVED, {"site": site_id})).one_or_none()
    if removed is None:
        return RemovalProgress(boxes.total, boxes.done)
    return RemovalProgress(
        boxes.total,
        boxes.done,
        removed.samples,
        removed.measured,
        removed.events,
        removed.hourly,
        removed.daily,
        removed.updated_at,
    )
