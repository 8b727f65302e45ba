"""The recent past of boxes, read for rules that look back: on-time values and events, in their order.

Owns the queries. What was late when it came is left out: no rule ever saw it. Must not know rules.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from app.core.database import RawConnection
from app.core.instants import to_datetime
from app.sites.catalogue import CATALOGUE

_MICROS: Final = "(extract(epoch FROM {}) * 1000000)::bigint"
_EVENTS: Final = f"""
SELECT k.box_key, k.type, {_MICROS.format("e.time")} AS time_us, e.candidates::text AS candidates
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a box is wanted.

    Attributes:
        columns: indexes into COLUMNS.
        after_us: only values of samples after this time (µs since the epoch).
        events: type → how long before the newest of it (µs).
    """

    columns: Collection[int]
    after_us: int
    events: Mapping[str, int]


class PastValue(NamedTuple):
    """One on-time value of a box, as stored."""

    box_key: int
    column: int
    time_us: int
    value: float


class PastEvent(NamedTuple):
    """One on-time event of a box."""

    box_key: int
    type: str
    time_us: int
    candidates: Sequence[Mapping[str, Any]]


def _samples(columns: Sequence[int]) -> str:
    # Through text: there 12.4 is 12.4, and not the nearest real's longer decimal.
    values = ", ".join(
        f's."{CATALOGUE[column].name}"::text::float8'
        if CATALOGUE[column].storage == "real"
        else f's."{CATALOGUE[column].name}"'
        for column in columns
    )
    return f"""
        SELECT k.box_key, {_MICROS.format("s.time")} AS time_us, s.late, {values}
        FROM unnest($1::int[], $2::bigint[]) AS k (box_key, after_us)
        JOIN samples s ON s.box_key = k.box_key
            AND s.time > 'epoch'::timestamptz + k.after_us * interval '1 microsecond' AND s.time >= $3
        ORDER BY k.box_key, s.time
        """  # noqa: S608 (catalogue names)


async def past_values(connection: RawConnection, wanted: Mapping[int, Wanted]) -> Iterator[PastValue]:
    """Read the on-time values that are wanted of each box (by key), in the order of their times."""
    asked = {key: want for key, want in wanted.items() if want.columns}
    if not asked:
        return iter(())
    columns = sorted({column for want in asked.values() for column in want.columns})
    after = [want.after_us for want in asked.values()]
    # The bound, a constant, spares it the older chunks.
    rows = await connection.fetch(_samples(columns), list(asked), after, to_datetime(max(min(after), 0)))

    def each() -> Iterator[PastValue]:
        for key, time_us, late, *values in rows:
            wants = asked[key].columns
            for column, value in zip(columns, values, strict=True):
                if value is not None and column in wants and not (late or 0) >> column & 1:
                    yield PastValue(key, column, time_us, value)

    return each()


async def past_events(connection: RawConnection, wanted: Mapping[int, Wanted]) -> list[PastEvent]:
    """Read the on-time events that are wanted of each box (by key), in the order of their times."""
    asked = [(key, kind, keep) for key, want in wanted.items() for kind, keep in want.events.items()]
    if not asked:
        return []
    keys, kinds, keeps = map(list, zip(*asked, strict=True))
    rows = await connection.fetch(_EVENTS, keys, kinds, keeps)
    return [PastEvent(key, kind, time_us, _decode(candidates)) for key, kind, time_us, candidates in rows]
