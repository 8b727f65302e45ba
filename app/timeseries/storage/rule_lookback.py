"""The recent past of boxes, read for rules that look back: on-time values and events, in their order.

Owns the queries. What was late when it came is left out: no rule ever saw it. Must not know rules.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from app.catalogue.metrics import CATALOGUE
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import to_datetime

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


class LookbackRange(NamedTuple):
    """A stretch of time: after the one instant, up to the other (µs since the epoch)."""

    after_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class LookbackQuery:
    """What of a box is wanted.

    Attributes:
        columns: index into COLUMNS → of which time values are wanted: after the one instant, up to the other
            (µs since the epoch).
        events: type → how long before the newest of it (µs).
    """

    columns: Mapping[int, LookbackRange]
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
        SELECT k.place, {_MICROS.format("s.time")} AS time_us, s.late, {values}
        FROM unnest($1::int[], $2::bigint[], $3::bigint[]) WITH ORDINALITY
            AS k (box_key, after_us, until_us, place)
        JOIN samples s ON s.box_key = k.box_key AND s.time >= $4
            AND s.time > 'epoch'::timestamptz + k.after_us * interval '1 microsecond'
            AND s.time <= 'epoch'::timestamptz + k.until_us * interval '1 microsecond'
        ORDER BY k.place, s.time
        """  # noqa: S608 (catalogue names)


class _Stretch(NamedTuple):
    """What is read at once: metrics of a box whose reaches overlap."""

    box_key: int
    reach: LookbackRange
    columns: Mapping[int, LookbackRange]


def _stretches(box_key: int, columns: Mapping[int, LookbackRange]) -> Iterator[_Stretch]:
    """One for most boxes. A metric that was last seen long ago has its own: what lies between is not read."""
    held: dict[int, LookbackRange] = {}
    whole = LookbackRange(0, 0)
    for column, reach in sorted(columns.items(), key=lambda pair: pair[1]):
        if held and reach.after_us > whole.until_us:
            yield _Stretch(box_key, whole, held)
            held = {}
        after = whole.after_us if held else reach.after_us
        whole = LookbackRange(after, max(whole.until_us, reach.until_us) if held else reach.until_us)
        held[column] = reach
    if held:
        yield _Stretch(box_key, whole, held)


async def read_past_values(
    connection: RawConnection, wanted: Mapping[int, LookbackQuery]
) -> Iterator[PastValue]:
    """Read the on-time values that are wanted of each box (by key), of each metric in the order of time."""
    stretches = [found for key, want in wanted.items() for found in _stretches(key, want.columns)]
    if not stretches:
        return iter(())
    columns = sorted({column for stretch in stretches for column in stretch.columns})
    after = [stretch.reach.after_us for stretch in stretches]
    # The bound, a constant, spares it the older chunks.
    rows = await connection.fetch(
        _samples(columns),
        [stretch.box_key for stretch in stretches],
        after,
        [stretch.reach.until_us for stretch in stretches],
        to_datetime(max(min(after), 0)),
    )

    def each() -> Iterator[PastValue]:
        for place, time_us, late, *values in rows:
            stretch = stretches[place - 1]
            for column, value in zip(columns, values, strict=True):
                reach = stretch.columns.get(column)
                if value is None or reach is None or not reach.after_us < time_us <= reach.until_us:
                    continue
                if not (late or 0) >> column & 1:
                    yield PastValue(stretch.box_key, column, time_us, value)

    return each()


async def read_past_events(connection: RawConnection, wanted: Mapping[int, LookbackQuery]) -> list[PastEvent]:
    """Read the on-time events that are wanted of each box (by key), in the order of their times."""
    asked = [(key, kind, keep) for key, want in wanted.items() for kind, keep in want.events.items()]
    if not asked:
        return []
    keys, kinds, keeps = map(list, zip(*asked, strict=True))
    rows = await connection.fetch(_EVENTS, keys, kinds, keeps)
    return [PastEvent(key, kind, time_us, _decode(candidates)) for key, kind, time_us, candidates in rows]
