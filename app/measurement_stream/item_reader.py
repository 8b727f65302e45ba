"""Reads pages of items of the measurement stream.

A page takes a few statements in one transaction: the rows of the commit log, the boxes, their sites'
purposes, and the values by their identities. The transaction has the reader's tenant scope, so row-level
security applies beside the conditions here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.measurement_stream.items import KINDS, Item, ItemKind, ItemPage, StreamFilter, StreamPosition
from app.measurement_stream.visibility import SiteVisibility
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import HOUR_US, from_datetime, to_datetime
from app.platform.kernel.tenant_scope import ScopedCaller, TenantScope
from app.registry.cross_tenant_repository import (
    read_arrivals,
    read_purpose_policies,
    read_sampling_intervals,
)
from app.registry.purpose_policy import NOTHING_DECLARED
from app.timeseries.commit_log.commit_pages import CommitPage, CommitRow, read_commit_page
from app.timeseries.commit_log.committed_hours import read_committed_hours
from app.timeseries.commit_log.committed_values import read_committed_events, read_committed_samples

WHOLE_COMMIT: Final = 2**31 - 1
"""The index of an offset after all items of a commit."""
START: Final = StreamPosition(0, WHOLE_COMMIT)
"""The offset before all items."""

# Identities that a page examines at most, where a filter leaves most of them out.
_SCANNED: Final = 20_000
# Items whose values a page reads at most, where metrics or purposes leave most of them out.
_EXAMINED: Final = 1_000
_ROW_KINDS: Final[Mapping[ItemKind, str]] = {kind: f"{kind}s" for kind in KINDS}
_ITEM_KINDS: Final[Mapping[str, ItemKind]] = {row: kind for kind, row in _ROW_KINDS.items()}
_EVENT_DETAILS: Final = ("type", "candidates", "level_db", "clock_error_ms", "spectrum", "count", "state")
_JSON_DETAILS: Final = frozenset({"candidates", "spectrum"})
# The bounds are those of the reader's scope and of its filter.
_BOXES: Final = """
SELECT key, id, site_id, organisation_id, number FROM registry_boxes JOIN registry_box_numbers USING (key)
WHERE key = ANY ($1::int[]) AND deleted_at IS NULL AND ($2::uuid[] IS NULL OR organisation_id = ANY ($2))
    AND ($3::uuid[] IS NULL OR site_id = ANY ($3)) AND ($4::uuid[] IS NULL OR site_id = ANY ($4))
    AND ($5::text[] IS NULL OR id = ANY ($5))
"""
_SCOPE: Final = "SELECT set_config('vigie.reach', $1, true), set_config('vigie.sites', $2, true)"


class _Box(NamedTuple):
    id: str
    site_id: UUID
    organisation_id: UUID
    number: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An item whose values are still to be read."""

    row: CommitRow
    index: int
    box: _Box
    key: int
    time_us: int


class _Choice(NamedTuple):
    """The items of a page, with what `ItemPage` says of its end."""

    candidates: list[_Candidate]
    next: StreamPosition
    full: bool
    next_us: int

    @classmethod
    def up_to(cls, candidates: list[_Candidate], row: CommitRow, index: int) -> "_Choice":
        """Make the choice of a page that ends after an item of a row, before the end of what was read."""
        return cls(candidates, StreamPosition(row.position, index), True, row.positioned_us)


async def read_items(
    connection: RawConnection,
    tenant_scope: TenantScope,
    after: StreamPosition,
    filter_: StreamFilter,
    limit: int,
) -> ItemPage:
    """Read the items after an offset.

    Args:
        connection: outside a transaction.
        tenant_scope: the reader's organisations and sites; the limits of a grant apply to its items.
        after: the offset.
        filter_: which items.
        limit: the most items.
    """
    reader = _PageReader(connection, tenant_scope, filter_)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        settings = ScopedCaller(tenant_scope).scope_settings
        await connection.execute(_SCOPE, settings["vigie.reach"], settings["vigie.sites"])
        return await reader.read(after, limit)


class _PageReader:
    """Reads one page in a transaction."""

    def __init__(self, connection: RawConnection, tenant_scope: TenantScope, filter_: StreamFilter) -> None:
        self._connection = connection
        self._scope = tenant_scope
        self._filter = filter_
        self._sites: dict[UUID, SiteVisibility] = {}
        # When boxes came to their sites: only grants depend on that.
        self._arrivals: dict[int, datetime] = {}

    async def read(self, after: StreamPosition, limit: int) -> ItemPage:
        page, has_more = await self._read(after, limit, limit)
        left = limit - len(page.items)
        if not has_more or not left or limit >= _EXAMINED:
            return page
        # Some of them have no values to show: the next ones are examined by the thousand.
        rest, _ = await self._read(page.next, left, _EXAMINED)
        return rest._replace(items=page.items + rest.items)

    async def _read(self, after: StreamPosition, limit: int, examined: int) -> tuple[ItemPage, bool]:
        """Read a page; returns too whether it ended because it had examined so many items."""
        scanned = examined if self._is_unfiltered else max(examined, _SCANNED)
        kinds = (
            None
            if self._filter.kinds is None
            else [_ROW_KINDS[kind] for kind in KINDS if kind in self._filter.kinds]
        )
        skipped = 0 if after.index == WHOLE_COMMIT else after.index + 1
        first = after.position + (after.index == WHOLE_COMMIT)
        commits = await read_commit_page(
            self._connection, self._scope.organisations, first, kinds, scanned + skipped
        )
        chosen = await self._choose(commits, after, examined, scanned)
        candidates, now_us = chosen.candidates, from_datetime(commits.read_at)
        policies = await read_purpose_policies(
            self._connection, {candidate.box.site_id for candidate in candidates}
        )
        for site_id in {candidate.box.site_id for candidate in candidates}:
            self._sites[site_id] = SiteVisibility(policies.get(site_id, NOTHING_DECLARED), now_us)
        if self._scope.grant is not None:
            keys = {candidate.key for candidate in candidates}
            self._arrivals = await read_arrivals(self._connection, keys)
        items = await self._read_values(candidates)
        page = ItemPage(items, chosen.next, chosen.full, chosen.next_us, now_us)
        if len(items) <= limit:
            return page, chosen.full and len(candidates) == examined
        last = items[limit - 1]
        following = StreamPosition(last.position, last.index)
        return ItemPage(items[:limit], following, full=True, next_us=last.positioned_us, read_us=now_us), True

    @property
    def _is_unfiltered(self) -> bool:
        return self._filter.sites is None and self._filter.boxes is None and self._scope.sites is None

    async def _choose(self, page: CommitPage, after: StreamPosition, most: int, scanned: int) -> _Choice:
        """Choose the items of a page by scope and filter."""
        spans = list(_cut_rows(page.rows, after, scanned))
        boxes = await self._read_boxes(spans)
        candidates: list[_Candidate] = []
        known = np.fromiter(boxes, np.int32, len(boxes))
        for row, begin, end in spans:
            keys = row.keys[begin:end]
            for offset in np.flatnonzero(np.isin(keys, known)).tolist():
                index = begin + offset
                box = boxes[int(keys[offset])]
                if box.organisation_id != row.organisation_id:
                    continue
                if len(candidates) == most:
                    last = candidates[-1]
                    return _Choice.up_to(candidates, last.row, last.index)
                candidates.append(_Candidate(row, index, box, int(keys[offset]), int(row.times_us[index])))
        if spans:
            row, _, end = spans[-1]
            if end < len(row.keys) or row is not page.rows[-1]:
                return _Choice.up_to(candidates, row, end - 1)
        following = max(after, StreamPosition(page.end, WHOLE_COMMIT))
        return _Choice(candidates, following, page.full, page.end_us)

    async def _read_boxes(self, spans: Sequence[tuple[CommitRow, int, int]]) -> dict[int, _Box]:
        if not spans:
            return {}
        keys = np.unique(np.concatenate([row.keys[begin:end] for row, begin, end in spans]))
        filter_ = self._filter
        rows = await self._connection.fetch(
            _BOXES,
            keys.tolist(),
            self._scope.organisations,
            self._scope.sites,
            None if filter_.sites is None else list(filter_.sites),
            None if filter_.boxes is None else list(filter_.boxes),
        )
        return {key: _Box(*rest) for key, *rest in rows}

    async def _read_values(self, candidates: Sequence[_Candidate]) -> list[Item]:
        found: dict[int, Item] = {}
        places: dict[str, list[int]] = {}
        for place, candidate in enumerate(candidates):
            places.setdefault(candidate.row.kind, []).append(place)
        if chosen := places.get("samples"):
            await self._read_samples(candidates, chosen, found)
        if chosen := places.get("events"):
            await self._read_events(candidates, chosen, found)
        if chosen := places.get("hours"):
            await self._read_hours(candidates, chosen, found)
        for place in places.get("corrections", ()):
            self._add_correction(candidates[place], place, found)
        return [found[place] for place in sorted(found)]

    async def _read_samples(
        self, candidates: Sequence[_Candidate], places: Sequence[int], found: dict[int, Item]
    ) -> None:
        samples = await read_committed_samples(
            self._connection,
            *_list_identities([candidates[place] for place in places]),
            self._filter.metrics,
        )
        for number, sample in samples.items():
            place = places[number]
            candidate = candidates[place]
            values: Mapping[str, float] = sample.values
            if hidden := self._sites[candidate.box.site_id].hidden_metrics:
                values = {name: value for name, value in values.items() if name not in hidden}
            values = self._limit_to_grant(candidate, candidate.time_us, values)
            if values:
                late = tuple(name for name in sample.late if name in values) if sample.late else ()
                found[place] = _make_item(candidate, sample.seq, values, late)

    def _limit_to_grant[Value](
        self, candidate: _Candidate, time_us: int, values: Mapping[str, Value]
    ) -> Mapping[str, Value]:
        if self._scope.grant is None:
            return values
        came_at = self._arrivals.get(candidate.key)
        return self._scope.limit_to_grant(
            candidate.box.site_id, to_datetime(time_us), values, came_at=came_at
        )

    async def _read_events(
        self, candidates: Sequence[_Candidate], places: Sequence[int], found: dict[int, Item]
    ) -> None:
        if self._filter.metrics is not None or self._scope.grant is not None:
            return
        ids: dict[int, UUID] = {}
        for place in places:
            row = candidates[place].row
            if row.event_ids is not None:
                ids[place] = row.event_ids[candidates[place].index]
        events = await read_committed_events(self._connection, list(ids.values()))
        for place, identifier in ids.items():
            event, candidate = events.get(identifier), candidates[place]
            if event is None or not self._sites[candidate.box.site_id].shows_event(event["type"]):
                continue
            detail = {
                name: msgspec.json.decode(event[name]) if name in _JSON_DETAILS else event[name]
                for name in _EVENT_DETAILS
                if event[name] is not None
            }
            if event["late"]:
                detail["late"] = True
            found[place] = _make_item(candidate, event["seq"], {}, (), detail)

    async def _read_hours(
        self, candidates: Sequence[_Candidate], places: Sequence[int], found: dict[int, Item]
    ) -> None:
        keys, times_us = _list_identities([candidates[place] for place in places])
        intervals_s = await read_sampling_intervals(self._connection, set(keys.tolist()))
        hours = await read_committed_hours(
            self._connection, keys, times_us, intervals_s, self._filter.metrics
        )
        for number, aggregates in hours.items():
            candidate = candidates[places[number]]
            hidden = self._sites[candidate.box.site_id].hidden_metrics
            shown: Mapping[str, Any] = {name: each for name, each in aggregates.items() if name not in hidden}
            # A grant includes the whole hour, or nothing of it is shown.
            for time_us in (candidate.time_us, candidate.time_us + HOUR_US - 1):
                shown = self._limit_to_grant(candidate, time_us, shown)
            if shown:
                values = {name: each["mean"] for name, each in shown.items()}
                metrics = {
                    name: {field: value for field, value in each.items() if field != "mean"}
                    for name, each in shown.items()
                }
                # Later commits have higher positions, and so do later versions of an hour.
                detail = {"version": candidate.row.position, "metrics": metrics}
                found[places[number]] = _make_item(candidate, None, values, (), detail)

    def _add_correction(self, candidate: _Candidate, place: int, found: dict[int, Item]) -> None:
        detail = msgspec.json.decode(candidate.row.details or "{}")
        metric, metrics = detail.get("metric"), self._filter.metrics
        if metric in self._sites[candidate.box.site_id].hidden_metrics or self._scope.grant is not None:
            return
        if metrics is None or metric in metrics:
            found[place] = _make_item(candidate, None, {}, (), detail)


def _cut_rows(
    rows: Sequence[CommitRow], after: StreamPosition, most: int
) -> Iterator[tuple[CommitRow, int, int]]:
    """Yield the rows with the range of their items after an offset, up to a number of items."""
    for row in rows:
        begin = after.index + 1 if row.position == after.position else 0
        end = min(len(row.keys), begin + most)
        if begin < end:
            yield row, begin, end
        most -= end - begin
        if most <= 0:
            return


def _list_identities(candidates: Sequence[_Candidate]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    return (
        np.array([candidate.key for candidate in candidates], np.int32),
        np.array([candidate.time_us for candidate in candidates], np.int64),
    )


def _make_item(
    candidate: _Candidate,
    seq: int | None,
    values: Mapping[str, float],
    late: tuple[str, ...],
    detail: Mapping[str, Any] | None = None,
) -> Item:
    row, box = candidate.row, candidate.box
    return Item(
        row.position,
        candidate.index,
        _ITEM_KINDS[row.kind],
        row.organisation_id,
        box.site_id,
        box.id,
        candidate.time_us,
        seq,
        values,
        late,
        detail,
        row.positioned_us,
        box.number,
    )
