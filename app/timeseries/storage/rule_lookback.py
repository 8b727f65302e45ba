"""Reads the recent past of boxes for rules with windows: on-time values and events, in order.

Late values are left out, because rules did not evaluate them when they arrived.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from app.catalogue.metrics import CATALOGUE
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import to_datetime
from app.timeseries.storage.sample_column_encoding import MICROS_SQL, shortest_decimal_sql

_EVENTS: Final = f"""
SELECT k.box_key, k.type, {MICROS_SQL.format("e.time")} AS time_us, e.candidates::text AS candidates
FROM unnest($1::int[], $2::text[], $3::bigint[]) AS k (box_key, type, keep_us),
LATERAL (
    SELECT max(time) AS newest FROM events
    WHERE box_key = k.box_key AND type = k.type AND NOT late
) n,
LATERAL (
    SELECT time, candidates FROM events
    WHERE box_key = k.box_key AND type = k.type AND NOT late
        AND time > n.newest - k.keep_us * interval '1 microsecond'
) e
ORDER BY k.box_key, e.time, k.type
"""  # noqa: S608 (a constant)
_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode


class LookbackRange(NamedTuple):
    """A time range: after the first instant, up to and including the second (µs since the epoch)."""

    after_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class LookbackQuery:
    """The past that a rule needs of a box.

    Attributes:
        columns: index into COLUMNS → the time range of its values.
        events: type → how long before the newest event of it (µs).
    """

    columns: Mapping[int, LookbackRange]
    events: Mapping[str, int]


class PastValue(NamedTuple):
    """An on-time value of a box, as stored."""

    box_key: int
    column: int
    time_us: int
    value: float


class PastEvent(NamedTuple):
    """An on-time event of a box."""

    box_key: int
    type: str
    time_us: int
    candidates: Sequence[Mapping[str, Any]]


def _samples(columns: Sequence[int]) -> str:
    values = ", ".join(shortest_decimal_sql(CATALOGUE[column]) for column in columns)
    return f"""
        SELECT k.place, {MICROS_SQL.format("s.time")} AS time_us, s.late, {values}
        FROM unnest($1::int[], $2::bigint[], $3::bigint[]) WITH ORDINALITY
            AS k (box_key, after_us, until_us, place)
        JOIN samples s ON s.box_key = k.box_key AND s.time >= $4
            AND s.time > 'epoch'::timestamptz + k.after_us * interval '1 microsecond'
            AND s.time <= 'epoch'::timestamptz + k.until_us * interval '1 microsecond'
        ORDER BY k.place, s.time
        """  # noqa: S608 (catalogue names)


class _BoxRange(NamedTuple):
    """A range of a box that is read in one piece: the metrics whose windows overlap."""

    box_key: int
    window: LookbackRange
    columns: Mapping[int, LookbackRange]


def _group_columns(box_key: int, columns: Mapping[int, LookbackRange]) -> Iterator[_BoxRange]:
    """Group the metrics of a box by overlapping windows, mostly into one group.

    A metric that was last measured long ago has its own group, so that the time in between is not read.
    """
    group: dict[int, LookbackRange] = {}
    covering = LookbackRange(0, 0)
    for column, window in sorted(columns.items(), key=lambda pair: pair[1]):
        if group and window.after_us > covering.until_us:
            yield _BoxRange(box_key, covering, group)
            group = {}
        after = covering.after_us if group else window.after_us
        covering = LookbackRange(after, max(covering.until_us, window.until_us) if group else window.until_us)
        group[column] = window
    if group:
        yield _BoxRange(box_key, covering, group)


async def read_past_values(
    connection: RawConnection, queries: Mapping[int, LookbackQuery]
) -> Iterator[PastValue]:
    """Read the on-time values of boxes (by key), ordered by time for each metric."""
    box_ranges = [found for key, query in queries.items() for found in _group_columns(key, query.columns)]
    if not box_ranges:
        return iter(())
    columns = sorted({column for box_range in box_ranges for column in box_range.columns})
    after = [box_range.window.after_us for box_range in box_ranges]
    # The bound is a constant, so that the planner excludes older chunks.
    rows = await connection.fetch(
        _samples(columns),
        [box_range.box_key for box_range in box_ranges],
        after,
        [box_range.window.until_us for box_range in box_ranges],
        to_datetime(max(min(after), 0)),
    )

    def each() -> Iterator[PastValue]:
        for position, time_us, late, *values in rows:
            box_range = box_ranges[position - 1]
            for column, value in zip(columns, values, strict=True):
                window = box_range.columns.get(column)
                if value is None or window is None or not window.after_us < time_us <= window.until_us:
                    continue
                if not (late or 0) >> column & 1:
                    yield PastValue(box_range.box_key, column, time_us, value)

    return each()


async def read_past_events(
    connection: RawConnection, queries: Mapping[int, LookbackQuery]
) -> list[PastEvent]:
    """Read the on-time events of boxes (by key), ordered by time."""
    requests = [(key, kind, keep) for key, query in queries.items() for kind, keep in query.events.items()]
    if not requests:
        return []
    keys, kinds, keeps = map(list, zip(*requests, strict=True))
    rows = await connection.fetch(_EVENTS, keys, kinds, keeps)
    return [PastEvent(key, kind, time_us, _decode(candidates)) for key, kind, time_us, candidates in rows]
