"""Reads stored samples and events of a back-test in time order, page by page.

Late samples are left out: no live rule evaluated them. No page holds a transaction open. A page has at most
PAGE_LIMIT samples, or twice the number of boxes if that is more.
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
from app.registry.cross_tenant_repository import list_site_boxes, read_sites
from app.rules.backtests.rule_simulator import SampleValues
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.value_windows import BoxEvent

PAGE_LIMIT: Final = 10_000
"""The maximum number of samples in a page."""

_MICROS: Final = "(extract(epoch FROM time) * 1000000)::bigint"
_NEWEST: Final = "SELECT time FROM samples WHERE box_key = $1 AND time < $2 ORDER BY time DESC LIMIT 1"
_COUNT: Final = "SELECT count(*) FROM samples WHERE box_key = $1 AND time >= $2 AND time < $3"
_EVENTS: Final = f"""
SELECT {_MICROS} AS us, box_key, type, candidates::text AS candidates
FROM events
WHERE box_key = ANY ($1::int[]) AND type = ANY ($2::text[]) AND time >= $3 AND time < $4 AND NOT late
ORDER BY time, box_key, type
"""  # noqa: S608 (constants)
# Positions in a row of samples: access by name costs time, and there are many rows.
_TIME, _KEY, _LATE, _FIRST_VALUE = range(4)
_MICROSECOND: Final = timedelta(microseconds=1)
_SHORTEST_S: Final = 3_600
_LONGEST_S: Final = 7 * 86_400
# The search goes back a month at a time: a box may have sent a sample a second, none with the metric.
_SEARCHED: Final = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class BacktestSite:
    """The site of a back-test, and the boxes that the rule is tried on.

    Attributes:
        timezone: the time zone of the site.
        attributes: the attributes of the site, for rules on the whole site.
        boxes: the boxes, their attributes merged over those of the site.
        latitude: of the site, in degrees.
    """

    timezone: str
    attributes: Mapping[str, Any]
    boxes: tuple[BoxFacts, ...]
    latitude: float


class SampleRun(NamedTuple):
    """Consecutive samples of one box, or one event of it."""

    box_key: int
    times: Sequence[int] = ()
    values: Sequence[SampleValues] = ()
    event: tuple[str, BoxEvent] | None = None


async def read_backtest_site(
    connection: asyncpg.Connection, site_id: UUID, boxes: Sequence[str] | None
) -> BacktestSite | None:
    """Read a site and its boxes; None if the site was deleted."""
    sites = await read_sites(connection, [site_id])
    if not sites:
        return None
    (site,) = sites
    common: dict[str, Any] = msgspec.json.decode(site["attributes"])
    rows = await list_site_boxes(connection, [site_id], only=boxes)
    rows.sort(key=itemgetter("id"))
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
    """Count the samples of a box in a time range.

    Args:
        connection: to the database.
        box_key: the box.
        first: the beginning of the range.
        last: the end of the range, excluded.
    """
    count: int = await connection.fetchval(_COUNT, box_key, first, last)
    return count


class SampleReader:
    """Reads the metrics and events that some rules use.

    Args:
        connection: used by this reader alone, outside of a transaction.
        columns: the metrics, as indexes into COLUMNS; empty: no samples are read.
        events: the event types.
    """

    def __init__(
        self, connection: asyncpg.Connection, columns: Collection[int], events: Collection[str]
    ) -> None:
        self._connection = connection
        self._events = sorted(events)
        self._reads_samples = bool(columns)
        # All columns from the first to the last: an unused one between them costs no more than a NULL.
        begin, end = (min(columns), max(columns) + 1) if columns else (0, 0)
        self._before: SampleValues = (None,) * begin
        self._after: SampleValues = (None,) * (len(COLUMNS) - end)
        self._listed = ", ".join(
            f'"{CATALOGUE[index].name}"' if index in columns else "NULL::real" for index in range(begin, end)
        )

    async def pages(
        self, keys: Sequence[int], first: datetime, last: datetime
    ) -> AsyncIterator[tuple[int, list[SampleRun]]]:
        """Read samples and events of boxes in a time range, in time order.

        Args:
            keys: the boxes.
            first: the beginning of the range.
            last: the end of the range, excluded.

        Yields:
            The number of samples in a page, and its samples and events in time order.
        """
        slice_s = _SHORTEST_S
        while first < last:
            # The index returns one box in time order. Several boxes must be sorted: slices bound that.
            alone = len(keys) == 1 and self._reads_samples
            end = last if alone else min(last, first + timedelta(seconds=slice_s))
            rows, following = await self._read(keys, first, end)
            slice_s = max(slice_s // 2, 1) if following < end else min(slice_s * 2, _LONGEST_S)
            events = await self._read_events(keys, first, following)
            yield len(rows), _merge_events(self._runs(rows), events)
            first = following

    async def newest(self, key: int, column: int | None, before: datetime) -> SampleRun | None:
        """Find the newest on-time sample of a box before a time, of any age.

        Args:
            key: the box.
            column: the metric that the sample must have; None: any metric.
            before: the sample must be older than this.

        Returns:
            The sample; None if there is none.
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
        """Read one page, and return it with the beginning of the next one."""
        if not self._reads_samples:
            return (), end
        # A page must be larger than the samples of one instant: one per box.
        limit = max(PAGE_LIMIT, 2 * len(keys))
        rows = await self._connection.fetch(self._query(len(keys)), keys, first, end, limit)
        if len(rows) < limit:
            return rows, end
        newest = rows[-1][_TIME]
        if len(keys) == 1:
            return rows, to_datetime(newest) + _MICROSECOND
        # The last instant may continue beyond the page: it belongs to the next page as a whole.
        return [row for row in rows if row[_TIME] < newest], to_datetime(newest)

    def _query(self, boxes: int) -> str:
        # With an equality on one box the planner reads the index in order and sorts nothing.
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
            for index, row in enumerate(of_box):
                if row[_LATE]:
                    values[index] = _on_time(values[index], row[_LATE])
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


def _merge_events(runs: list[SampleRun], events: Sequence[SampleRun]) -> list[SampleRun]:
    """Merge events into samples by time; at the same instant samples come first."""
    if not events:
        return runs
    # Splitting runs into single samples is slow; only rules on events need it.
    single = [
        SampleRun(run.box_key, (time_us,), (values,))
        for run in runs
        for time_us, values in zip(run.times, run.values, strict=True)
    ]
    return sorted([*single, *events], key=lambda run: run.event[1].time_us if run.event else run.times[0])
