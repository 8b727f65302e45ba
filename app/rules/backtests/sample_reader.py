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

from app.catalogue.metrics import COLUMNS
from app.platform.kernel.instants import to_datetime
from app.registry.cross_tenant_repository import list_site_boxes, read_sites
from app.rules.backtests.rule_simulator import SampleValues
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.value_windows import BoxEvent
from app.timeseries.storage.sample_pages import (
    FIRST_VALUE_FIELD,
    KEY_FIELD,
    LATE_FIELD,
    TIME_FIELD,
    find_newest_sample,
    list_metrics_sql,
    read_on_time_events,
    read_sample_page,
)

PAGE_LIMIT: Final = 10_000
"""The maximum number of samples in a page."""

_MICROSECOND: Final = timedelta(microseconds=1)
_SHORTEST_S: Final = 3_600
_LONGEST_S: Final = 7 * 86_400


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
        self._listed = list_metrics_sql(columns)

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
        row = await find_newest_sample(self._connection, self._listed, key, column, before)
        return None if row is None else self._runs([row])[0]

    async def _read(
        self, keys: Sequence[int], first: datetime, end: datetime
    ) -> tuple[Sequence[asyncpg.Record], datetime]:
        """Read one page, and return it with the beginning of the next one."""
        if not self._reads_samples:
            return (), end
        # A page must be larger than the samples of one instant: one per box.
        limit = max(PAGE_LIMIT, 2 * len(keys))
        rows = await read_sample_page(self._connection, self._listed, keys, first, end, limit=limit)
        if len(rows) < limit:
            return rows, end
        newest = rows[-1][TIME_FIELD]
        if len(keys) == 1:
            return rows, to_datetime(newest) + _MICROSECOND
        # The last instant may continue beyond the page: it belongs to the next page as a whole.
        return [row for row in rows if row[TIME_FIELD] < newest], to_datetime(newest)

    async def _read_events(self, keys: Sequence[int], first: datetime, last: datetime) -> list[SampleRun]:
        if not self._events:
            return []
        rows = await read_on_time_events(self._connection, keys, self._events, first, last)
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
        for key, group in groupby(rows, key=itemgetter(KEY_FIELD)):
            of_box = list(group)
            values = [before + row[FIRST_VALUE_FIELD:] + after for row in of_box]
            for index, row in enumerate(of_box):
                if row[LATE_FIELD]:
                    values[index] = _on_time(values[index], row[LATE_FIELD])
            runs.append(SampleRun(key, [row[TIME_FIELD] for row in of_box], values))
        return runs


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
