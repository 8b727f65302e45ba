"""Stored samples and events for a back-test, in the order of their times, a page at a time.

Owns the queries. What was late when it came was seen by no rule, and is left out. No page holds a
transaction open, and none is larger than PAGE samples.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from app.catalogue.metrics import CATALOGUE, COLUMNS
from app.platform.kernel.instants import to_datetime
from app.rules.engine.snapshot import BoxFacts
from app.rules.engine.value_windows import BoxEvent

PAGE_LIMIT: Final = 10_000
"""Samples in a page."""

type SampleValues = tuple[float | None, ...]

_MICROS: Final = "(extract(epoch FROM time) * 1000000)::bigint"
_BOXES: Final = """
SELECT key, id, interval_s, kind, tags, attributes::text AS attributes
FROM boxes
WHERE site_id = $1 AND deleted_at IS NULL AND ($2::text[] IS NULL OR id = ANY ($2))
ORDER BY id
"""
_NEWEST: Final = "SELECT time FROM samples WHERE box_key = $1 AND time < $2 ORDER BY time DESC LIMIT 1"
_COUNT: Final = "SELECT count(*) FROM samples WHERE box_key = $1 AND time >= $2 AND time < $3"
_EVENTS: Final = f"""
SELECT {_MICROS} AS us, box_key, type, candidates::text AS candidates
FROM events
WHERE box_key = ANY ($1::int[]) AND type = ANY ($2::text[]) AND time >= $3 AND time < $4 AND NOT late
ORDER BY time, box_key, type
"""  # noqa: S608 (constants)
# Places in a row of samples: there are many rows, and names cost time.
_TIME, _KEY, _LATE, _FIRST_VALUE = range(4)
_MICROSECOND: Final = timedelta(microseconds=1)
_SHORTEST_S: Final = 3_600
_LONGEST_S: Final = 7 * 86_400
# So much is searched at a time: a box may have sent every second of it, and never the metric.
_SEARCHED: Final = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class BacktestSite:
    """A site, and those of its boxes that a rule is tried on.

    Attributes:
        timezone: the site's.
        attributes: the site's own, for rules on it as a whole.
        boxes: their attributes have the site's under them.
        latitude: of the site, in degrees.
    """

    timezone: str
    attributes: Mapping[str, Any]
    boxes: tuple[BoxFacts, ...]
    latitude: float


class SampleRun(NamedTuple):
    """Samples of one box, one after the other; or one event of it."""

    box_key: int
    times: Sequence[int] = ()
    values: Sequence[SampleValues] = ()
    event: tuple[str, BoxEvent] | None = None


async def read_backtest_site(
    connection: asyncpg.Connection, site_id: UUID, boxes: Sequence[str] | None
) -> BacktestSite | None:
    """Read a site and its boxes, with the site's attributes under theirs; None where it is gone."""
    site = await connection.fetchrow(
        "SELECT timezone, latitude, attributes::text AS attributes FROM sites WHERE id = $1", site_id
    )
    if site is None:
        return None
    common: dict[str, Any] = msgspec.json.decode(site["attributes"])
    rows = await connection.fetch(_BOXES, site_id, boxes)
    facts = (
        BoxFacts(
            row["key"],
            row["id"],
            row["interval_s"],
            row["kind"],
            frozenset(row["tags"]),
            {**common, **msgspec.json.decode(row["attributes"])},
        )
        for row in rows
    )
    return BacktestSite(site["timezone"], common, tuple(facts), site["latitude"])


async def count_samples(connection: asyncpg.Connection, box_key: int, first: datetime, last: datetime) -> int:
    """Count a box's samples from `first` on, before `last`."""
    count: int = await connection.fetchval(_COUNT, box_key, first, last)
    return count


class SampleReader:
    """Reads what some rules look at.

    Args:
        connection: outside of a transaction, and of nobody else's.
        columns: the metrics, as indexes into COLUMNS; none: samples are not read at all.
        events: the types of event.
    """

    def __init__(
        self, connection: asyncpg.Connection, columns: Collection[int], events: Collection[str]
    ) -> None:
        self._connection = connection
        self._events = sorted(events)
        self._wanted = bool(columns)
        # From the first column to the last: one between them that is not wanted costs no more than a NULL.
        begin, end = (min(columns), max(columns) + 1) if columns else (0, 0)
        self._before: SampleValues = (None,) * begin
        self._after: SampleValues = (None,) * (len(COLUMNS) - end)
        self._listed = ", ".join(
            f'"{CATALOGUE[index].name}"' if index in columns else "NULL::real" for index in range(begin, end)
        )

    async def pages(
        self, keys: Sequence[int], first: datetime, last: datetime
    ) -> AsyncIterator[tuple[int, list[SampleRun]]]:
        """Read boxes' samples and events from `first` on, before `last`, all in the order of their times.

        Yields:
            How many samples a page had, and what is to be judged, in its order.
        """
        slice_s = _SHORTEST_S
        while first < last:
            # One box's samples come from the index in their order. Those of several are sorted: in slices.
            alone = len(keys) == 1 and self._wanted
            end = last if alone else min(last, first + timedelta(seconds=slice_s))
            rows, following = await self._read(keys, first, end)
            slice_s = max(slice_s // 2, 1) if following < end else min(slice_s * 2, _LONGEST_S)
            events = await self._read_events(keys, first, following)
            yield len(rows), _woven(self._runs(rows), events)
            first = following

    async def newest(self, key: int, column: int | None, before: datetime) -> SampleRun | None:
        """Find the newest sample of a box before a time, whatever its age, that was on time.

        Args:
            key: the box.
            column: the sample has to have this metric, on time; None: any of them.
            before: older than this.

        Returns:
            The one sample; None where there is none.
        """
        while (newest := await self._connection.fetchval(_NEWEST, key, before)) is not None:
            before = newest - _SEARCHED
            row = await self._connection.fetchrow(_on_time_query(self._listed, column), key, before, newest)
            if row is not None:
                return self._runs([row])[0]
        return None

    async def _read(
        self, keys: Sequence[int], first: datetime, end: datetime
    ) -> tuple[Sequence[asyncpg.Record], datetime]:
        """A page, and from when on the next one is."""
        if not self._wanted:
            return (), end
        # The samples of one instant have to fit into a page with room to spare.
        limit = max(PAGE_LIMIT, 2 * len(keys))
        rows = await self._connection.fetch(self._query(len(keys)), keys, first, end, limit)
        if len(rows) < limit:
            return rows, end
        newest = rows[-1][_TIME]
        if len(keys) == 1:
            return rows, to_datetime(newest) + _MICROSECOND
        # The last instant may go on beyond the page: all of it is left for the next one.
        return [row for row in rows if row[_TIME] < newest], to_datetime(newest)

    def _query(self, boxes: int) -> str:
        # With one box the planner has to see it: then the index gives the order, and nothing is sorted.
        which, order = ("($1::int[])[1]", "time") if boxes == 1 else ("ANY ($1::int[])", "time, box_key")
        return f"""
            SELECT {_MICROS} AS us, box_key, late, {self._listed}
            FROM samples
            WHERE box_key = {which} AND time >= $2 AND time < $3
            ORDER BY {order} LIMIT $4
        """  # noqa: S608 (names of the catalogue, and constants)

    async def _read_events(self, keys: Sequence[int], first: datetime, last: datetime) -> list[SampleRun]:
        if not self._events:
            return []
        rows = await self._connection.fetch(_EVENTS, keys, self._events, first, last)
        return [
            SampleRun(
                row["box_key"],
                event=(row["type"], BoxEvent(row["us"], msgspec.json.decode(row["candidates"]))),
            )
            for row in rows
        ]

    def _runs(self, rows: Sequence[asyncpg.Record]) -> list[SampleRun]:
        runs = []
        before, after = self._before, self._after
        for key, group in groupby(rows, key=itemgetter(_KEY)):
            of_box = list(group)
            values = [before + row[_FIRST_VALUE:] + after for row in of_box]
            for place, row in enumerate(of_box):
                if row[_LATE]:
                    values[place] = _on_time(values[place], row[_LATE])
            runs.append(SampleRun(key, [row[_TIME] for row in of_box], values))
        return runs


def _on_time_query(listed: str, column: int | None) -> str:
    columns = range(len(COLUMNS)) if column is None else (column,)
    on_time = " OR ".join(
        f'("{CATALOGUE[index].name}" IS NOT NULL AND coalesce(late, 0) >> {index} & 1 = 0)'
        for index in columns
    )
    return f"""
        SELECT {_MICROS} AS us, box_key, late, {listed}
        FROM samples
        WHERE box_key = $1 AND time >= $2 AND time <= $3 AND ({on_time})
        ORDER BY time DESC LIMIT 1
    """  # noqa: S608 (names of the catalogue, and constants)


def _on_time(values: SampleValues, late: int) -> SampleValues:
    return tuple(None if late >> index & 1 else value for index, value in enumerate(values))


def _woven(runs: list[SampleRun], events: Sequence[SampleRun]) -> list[SampleRun]:
    """Put events in their places among samples; of the same instant samples come first."""
    if not events:
        return runs
    # Samples one by one: only rules on events come here.
    single = [
        SampleRun(run.box_key, (time_us,), (values,))
        for run in runs
        for time_us, values in zip(run.times, run.values, strict=True)
    ]
    return sorted([*single, *events], key=lambda run: run.event[1].time_us if run.event else run.times[0])
