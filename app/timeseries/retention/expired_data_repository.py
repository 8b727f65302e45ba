"""Counts expired samples and values, removes expired latest values, and records the removal's progress.

The preview and the worker share the conditions. A row has values of several purposes: values whose purpose
has expired are removed, and the row with its last value. Limits are an array, in the order of the purposes
that have metrics.

Latest values expire if a box fell silent or stopped sending a metric. The consumer caches them, so their
removal closes the ingest barrier and changes the boxes in the registry. Upon that the consumer drops their
states and reads them again.

`retention_states` records the progress; only `vigie maintain` writes it. A row per box and purpose has the
day at which the next check begins, and the end of all that was ever removed. Late samples in a cleaned range
reset that day: the worker that summarises their hours calls `rewind_cleaning_progress`, in the transaction
that removes their marks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from app.catalogue.purposes import PURPOSE_BY_METRIC, SAMPLE_PURPOSES
from app.platform.db.database import RawConnection
from app.platform.db.ingest_barrier import close_ingest_barrier_unqueued
from app.platform.kernel.instants import from_datetime
from app.registry.cross_tenant_repository import touch_boxes
from app.timeseries.retention.expiry_cutoffs import ExpiryLimits
from app.timeseries.rollups.rollup_writer import BoxSpans


def _values(place: int) -> str:
    return f"num_nonnulls({', '.join(f's."{name}"' for name in SAMPLE_PURPOSES[place].metrics)})"


def _before(place: int, limits: str) -> str:
    return f"s.time < ({limits})[{place + 1}]"


_PLACES: Final = range(len(SAMPLE_PURPOSES))


def expired_row_sql(limits: str) -> str:
    """SQL: whether all values of row `s` have expired. `limits` is the SQL of a timestamptz[]."""
    return " AND ".join(f"({_before(place, limits)} OR {_values(place)} = 0)" for place in _PLACES)


def expired_counts_sql(limits: str) -> str:
    """SQL: a select list over rows `s`, for `ExpiredCounts.of`."""
    parts = ["count(*) AS rows", f"count(*) FILTER (WHERE {expired_row_sql(limits)}) AS samples"]
    for place in _PLACES:
        old = f"FILTER (WHERE {_before(place, limits)} AND {_values(place)} > 0)"
        parts += [
            f"coalesce(sum({_values(place)}) {old}, 0)::bigint AS values_{place}",
            f"min(s.time) {old} AS first_{place}",
            f"max(s.time) {old} AS last_{place}",
        ]
    return ", ".join(parts)


@dataclass(slots=True)
class PurposeExtent:
    """The values of one purpose: their number, and the times of the first and the last sample with some."""

    values: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, other: "PurposeExtent") -> None:
        """Add another extent."""
        self.values += other.values
        if other.first is not None and other.last is not None:
            self.first = other.first if self.first is None else min(self.first, other.first)
            self.last = other.last if self.last is None else max(self.last, other.last)


@dataclass(slots=True)
class ExpiredCounts:
    """The expired data among some samples.

    Attributes:
        rows: number of samples that were examined.
        samples: number of samples whose values have all expired.
        purposes: by name, the expired values of each purpose, those of such samples included.
    """

    rows: int = 0
    samples: int = 0
    purposes: dict[str, PurposeExtent] = field(
        default_factory=lambda: {purpose.name: PurposeExtent() for purpose in SAMPLE_PURPOSES}
    )

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> "ExpiredCounts":
        """Convert a row of `expired_counts_sql`."""
        found: dict[str, PurposeExtent] = {
            purpose.name: PurposeExtent(row[f"values_{place}"], row[f"first_{place}"], row[f"last_{place}"])
            for place, purpose in enumerate(SAMPLE_PURPOSES)
        }
        return cls(row["rows"], row["samples"], found)

    @property
    def values(self) -> int:
        """The number of expired values."""
        return sum(extent.values for extent in self.purposes.values())

    def add(self, other: "ExpiredCounts") -> None:
        """Add other counts."""
        self.rows += other.rows
        self.samples += other.samples
        for name, extent in other.purposes.items():
            self.purposes[name].add(extent)


_OLD: Final = "unnest($2::text[], $3::bigint[]) AS m (metric, before)"
_STALE: Final = f"""
SELECT s.box_key FROM box_states s WHERE s.box_key = ANY ($1::int[]) AND EXISTS (
    SELECT FROM jsonb_each(s.latest) AS l JOIN {_OLD} ON m.metric = l.key
    WHERE (l.value ->> 1)::bigint < m.before
)
"""  # noqa: S608 (a constant)
_FORGET: Final = f"""
UPDATE box_states s SET latest = coalesce((
    SELECT jsonb_object_agg(l.key, l.value)
    FROM jsonb_each(s.latest) AS l LEFT JOIN {_OLD} ON m.metric = l.key
    WHERE m.before IS NULL OR (l.value ->> 1)::bigint >= m.before
), '{{}}') WHERE s.box_key = ANY ($1::int[])
"""  # noqa: S608 (a constant)


async def invalidate_box_states(connection: RawConnection, keys: Sequence[int]) -> None:
    """Make the consumer reload these boxes' states. The caller's transaction has closed the barrier."""
    await touch_boxes(connection, keys)


async def remove_expired_latest(connection: RawConnection, keys: Sequence[int], limits: ExpiryLimits) -> int:
    """Remove expired latest values of boxes; returns the number of boxes that had some."""
    before = [from_datetime(limits.metrics[purpose]) for purpose in PURPOSE_BY_METRIC.values()]
    rows = await connection.fetch(_STALE, keys, list(PURPOSE_BY_METRIC), before)
    stale = [row["box_key"] for row in rows]
    if stale:
        async with connection.transaction():
            await close_ingest_barrier_unqueued(connection)
            await connection.execute(_FORGET, stale, list(PURPOSE_BY_METRIC), before)
            await invalidate_box_states(connection, stale)
    return len(stale)


_AGAIN: Final = """
UPDATE retention_states s SET next_from = k.first
FROM (SELECT box_key, min(first) AS first FROM unnest($1::int[], $2::timestamptz[]) AS h (box_key, first)
      GROUP BY box_key) AS k
WHERE s.box_key = k.box_key AND s.next_from > k.first
"""
_ADVANCE: Final = """
INSERT INTO retention_states AS s (box_key, purpose, next_from, removed_until)
SELECT $1, p.name, p.until, p.until FROM unnest($2::text[], $3::timestamptz[]) AS p (name, until)
ON CONFLICT (box_key, purpose) DO UPDATE SET next_from = greatest(s.next_from, excluded.next_from),
    removed_until = greatest(s.removed_until, excluded.removed_until)
"""


async def rewind_cleaning_progress(connection: RawConnection, hours: BoxSpans) -> None:
    """Record that samples arrived in these hours: they have to be checked again."""
    if len(hours):
        await connection.execute(_AGAIN, hours.keys, hours.firsts)


async def advance_cleaning_progress(
    connection: RawConnection, key: int, names: Sequence[str], until: Sequence[datetime]
) -> None:
    """Record that a box has no data of these purposes before these times, in the caller's transaction.

    Args:
        connection: in the transaction that removes the data.
        key: the box.
        names: purposes.
        until: the time for each purpose.
    """
    await connection.execute(_ADVANCE, key, names, until)
