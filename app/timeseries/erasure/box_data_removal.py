"""Deletes the data of one box in a time range, in the caller's transaction, and counts deleted rows.

Roll-ups that overlap the range are deleted. Hours and days that overlap it partly are scheduled for the
roll-up worker, so that a large number of remaining samples does not delay an erasure. Until then readers use
the samples. Marks of current hours stay, because the consumer has cached them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from app.platform.db.database import RawConnection, parse_row_count
from app.timeseries.retention.expiry_cutoffs import NEVER
from app.timeseries.rollups.rollup_queries import find_local_midnight
from app.timeseries.rollups.rollup_writer import HOUR

_MINUTE: Final = timedelta(minutes=1)
_RANGE: Final = "box_key = $1 AND time >= $2 AND time < $3"
_SAMPLES: Final = f"""
DELETE FROM samples WHERE {_RANGE} AND time IN (
    SELECT time FROM samples WHERE {_RANGE} ORDER BY time LIMIT $4
) RETURNING time
"""  # noqa: S608 (constants)
_EVENTS: Final = f"""
DELETE FROM events WHERE {_RANGE} AND (time, type) IN (
    SELECT time, type FROM events WHERE {_RANGE} ORDER BY time, type LIMIT $4
) RETURNING time, type
"""  # noqa: S608 (constants)
_MARKS: Final = (
    "DELETE FROM rollup_marks WHERE box_key = $1 AND hour >= $2 AND hour + interval '1 hour' <= $3"
)
_DAY_MARKS: Final = "DELETE FROM rollup_day_marks WHERE box_key = $1 AND day >= $2 AND until <= $3"
_WHOLE: Final = """
WITH gone AS (
    DELETE FROM hourly WHERE box_key = $1 AND day >= $2 AND day + interval '1 day' <= $3 RETURNING count
)
SELECT coalesce(sum(cardinality(array_remove(count, NULL))), 0)::bigint FROM gone
"""
# The hours that overlap the range; a row is a day with arrays of 24 hours.
_TOUCHED: Final = "h.day + (n - 1) * interval '1 hour' < $3 AND h.day + n * interval '1 hour' > $2"
_FIELDS: Final = ("count", "mean", "min", "max", "p10", "p50", "p90", "p95")
_PLACES: Final = "FROM unnest(h.{}) WITH ORDINALITY AS u (v, n)"
_LEFT: Final = ", ".join(
    f"{name} = (SELECT array_agg(CASE WHEN {_TOUCHED} THEN NULL ELSE v END ORDER BY n) "
    + _PLACES.format(name)
    + ")"
    for name in _FIELDS
)
_CUT_DAYS: Final = "h.box_key = $1 AND h.day < $3 AND h.day + interval '1 day' > $2"
_COUNT_HOURS: Final = f"""
SELECT count(*) FROM hourly h, unnest(h.count) WITH ORDINALITY AS u (v, n)
WHERE {_CUT_DAYS} AND v IS NOT NULL AND {_TOUCHED}
"""  # noqa: S608 (constants)
_CLEAR_HOURS: Final = f"UPDATE hourly h SET {_LEFT} WHERE {_CUT_DAYS}"  # noqa: S608 (constants)
_EMPTY: Final = f"DELETE FROM hourly h WHERE {_CUT_DAYS} AND array_remove(count, NULL) = '{{}}'"  # noqa: S608 (constants)
# Days from the one in which the range begins, and overlapping days of a former time zone.
_DAILY: Final = """
DELETE FROM daily WHERE box_key = $1 AND day < $3 AND (day >= $5 OR (day AT TIME ZONE $4)::time <> '00:00'
    AND (day AT TIME ZONE $4 + interval '1 day') AT TIME ZONE $4 > $2)
"""
# Backfills the box from one partial hour to the other: all samples in between are erased.
_SCHEDULE_HOURS: Final = """
UPDATE rollup_states SET backfill_from = least(backfill_from, $2), backfill_next = least(backfill_next, $2),
    backfill_until = greatest(backfill_until, $3)
WHERE box_key = $1
"""
_SCHEDULE_DAY: Final = """
INSERT INTO rollup_day_marks (box_key, day, until) VALUES ($1, $2, $3) ON CONFLICT (box_key, day) DO NOTHING
"""
# `app.quarantine` owns this table, but it is above this room. An erasure removes all data of a box in one
# transaction.
_QUARANTINE: Final = """
DELETE FROM quarantine
WHERE box = $1 AND organisation_id = $2 AND received_at >= $3 AND received_at < $4
"""


@dataclass(frozen=True, slots=True)
class ErasureRange:
    """The range of an erasure: from `first` on, before `last`."""

    first: datetime
    last: datetime

    @classmethod
    def of(cls, begins_at: datetime | None, ends_at: datetime) -> "ErasureRange":
        """Return the range of an erasure; without a start it begins before all data."""
        return cls(begins_at or NEVER, ends_at)


async def remove_samples(
    connection: RawConnection, key: int, erased: ErasureRange, most: int
) -> Sequence[tuple[datetime]]:
    """Remove the earliest samples of the range; returns their times, in order.

    Args:
        connection: in a transaction.
        key: the box.
        erased: the range.
        most: the highest number of samples.
    """
    rows = await connection.fetch(_SAMPLES, key, erased.first, erased.last, most)
    return sorted((row["time"],) for row in rows)


async def remove_events(
    connection: RawConnection, key: int, erased: ErasureRange, most: int
) -> Sequence[tuple[datetime, str]]:
    """Remove the earliest events of the range; returns their times and types, in order.

    Args:
        connection: in a transaction.
        key: the box.
        erased: the range.
        most: the highest number of events.
    """
    rows = await connection.fetch(_EVENTS, key, erased.first, erased.last, most)
    return sorted((row["time"], row["type"]) for row in rows)


async def remove_remaining_data(
    connection: RawConnection, key: int, box: str, organisation: object, erased: ErasureRange
) -> dict[str, int]:
    """Remove the rest after samples and events: roll-ups, marks and quarantined messages.

    Args:
        connection: in a transaction.
        key: the box's key.
        box: the box's id.
        organisation: of the box.
        erased: the range.

    Returns:
        The number of removed rows by table; for hours and days that of each metric.
    """
    bounds = key, erased.first, erased.last
    zone = await connection.fetchval("SELECT timezone FROM rollup_states WHERE box_key = $1", key) or "UTC"
    hours = await connection.fetchval(_WHOLE, *bounds) + await connection.fetchval(_COUNT_HOURS, *bounds)
    await connection.execute(_CLEAR_HOURS, *bounds)
    await connection.execute(_EMPTY, *bounds)
    removed = {
        "hourly": int(hours),
        "daily": parse_row_count(
            await connection.execute(
                _DAILY, *bounds, zone, find_local_midnight(erased.first, ZoneInfo(zone), up=False)
            )
        ),
        "rollup_marks": parse_row_count(await connection.execute(_MARKS, *bounds))
        + parse_row_count(await connection.execute(_DAY_MARKS, *bounds)),
        "quarantine": parse_row_count(
            await connection.execute(_QUARANTINE, box, organisation, erased.first, erased.last)
        ),
    }
    await _schedule_rollups(connection, key, erased, ZoneInfo(zone))
    return removed


def find_partial_hours(erased: ErasureRange) -> list[tuple[datetime, datetime]]:
    """Find the hours (UTC) that overlap the range partly: two at most."""
    firsts = {
        edge.replace(minute=0, second=0, microsecond=0)
        for edge in (erased.first.astimezone(UTC), erased.last.astimezone(UTC))
    } - {erased.first, erased.last}
    return [(first, first + HOUR) for first in sorted(firsts)]


def find_partial_days(erased: ErasureRange, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """Find the days of a time zone that overlap the range partly: two at most."""
    days = {
        (find_local_midnight(edge, zone, up=False), find_local_midnight(edge, zone, up=True))
        for edge in (erased.first, erased.last)
    }
    return sorted((first, last) for first, last in days if first != last)


async def _schedule_rollups(
    connection: RawConnection, key: int, erased: ErasureRange, zone: ZoneInfo
) -> None:
    """Schedule partial hours and days that are over; current ones will have marks anyway."""
    before = datetime.now(UTC) - _MINUTE
    hours = [(first, last) for first, last in find_partial_hours(erased) if last < before]
    if hours:
        await connection.execute(_SCHEDULE_HOURS, key, hours[0][0], hours[-1][1])
    days = [
        (first, last) for first, last in find_partial_days(erased, zone) if first > NEVER and last < before
    ]
    if days:
        await connection.executemany(_SCHEDULE_DAY, [(key, first, last) for first, last in days])


async def remove_sample_slice(connection: RawConnection, key: int, limit: int) -> bool:
    """Delete a slice of samples of a deleted box, to hold locks briefly; returns whether it was full."""
    tag = await connection.execute(
        "DELETE FROM samples WHERE box_key = $1 AND time IN "
        "(SELECT time FROM samples WHERE box_key = $1 ORDER BY time LIMIT $2)",
        key,
        limit,
    )
    return parse_row_count(tag) == limit


async def remove_event_slice(connection: RawConnection, key: int, limit: int) -> bool:
    """Delete a slice of events of a deleted box; returns whether it was full."""
    tag = await connection.execute(
        "DELETE FROM events WHERE box_key = $1 AND (time, type) IN "
        "(SELECT time, type FROM events WHERE box_key = $1 ORDER BY time LIMIT $2)",
        key,
        limit,
    )
    return parse_row_count(tag) == limit


async def remove_box_rollups(connection: RawConnection, key: int) -> None:
    """Delete the roll-ups and stale marks of a deleted box."""
    for table in ("rollup_marks", "hourly", "daily"):
        await connection.execute(f"DELETE FROM {table} WHERE box_key = $1", key)  # noqa: S608 (constants)
