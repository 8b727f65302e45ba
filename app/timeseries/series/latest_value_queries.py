"""Reads and formats the latest values of one box or of all boxes of a site.

Samples newer than the rows of `box_states` are read by one index scan per box. For a site of a thousand boxes
that takes most of the time, hence the query returns plain rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Integer, Text, any_, bindparam, cast, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import CATALOGUE, COLUMNS, INDEX
from app.platform.db.database import get_driver_connection
from app.platform.db.tenant_reader import CompiledStatement, FlatRow, TenantReader, compile_statement
from app.platform.http.contract.fields import check_box_id
from app.platform.http.contract.pagination import decode_cursor
from app.platform.identity.grant_access import count_granted_values
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.instants import format_us, to_datetime
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_repository import parse_box_id
from app.registry.models import Box, Site
from app.timeseries.storage.box_state_cache import NEVER
from app.timeseries.storage.latest_value_merge import split_by_recency
from app.timeseries.storage.models import BoxState
from app.timeseries.storage.sample_column_encoding import (
    MICROS_SQL,
    round_to_float32,
    shortest_decimal_sql,
)

SITE_LATEST: Final = "site_latest"
# Below this, a four-byte float preserves three decimals.
_EXACT_BELOW: Final = 1000.0

type LatestByMetric = dict[str, tuple[float, int]]
"""Metric → (value, µs since the epoch) of the newest sample that has it."""

_decode = msgspec.json.Decoder(LatestByMetric.__value__).decode
_encode = msgspec.json.Encoder().encode
# Formatted rows of box_states in the cache. Each takes half a kilobyte, as a row and as JSON.
_CACHED_ROWS: Final = 8192
# The newer samples of live boxes lie in one or two chunks. The planner excludes all others, because the query
# has its bound as a constant. TimescaleDB's ChunkAppend excludes them too, but again for each box, at three
# times the cost.
_PLAN_WITHOUT_CHUNK_APPEND: Final = text("SELECT set_config('timescaledb.enable_chunk_append', 'off', true)")
_RESTORE_PLANNER: Final = text("SELECT set_config('timescaledb.enable_chunk_append', 'on', true)")
_VALUES: Final = ", ".join(map(shortest_decimal_sql, CATALOGUE))
# A row of box_states lags by fewer samples than this (app.timeseries.storage.box_state_cache). Without a
# limit the planner may read all samples since the bound, instead of an index scan for each box.
_NEWER_MOST: Final = 512
_NEWER: Final = f"""
SELECT k.box_key, {MICROS_SQL.format("s.time")} AS time_us, {_VALUES}
FROM unnest($1::integer[], $2::bigint[]) AS k (box_key, newest_us),
LATERAL (
    SELECT * FROM tenant_samples s
    WHERE s.box_key = k.box_key AND s.time >= '{{bound}}'::timestamptz
        AND s.time > 'epoch'::timestamptz + k.newest_us * interval '1 microsecond'
    LIMIT {_NEWER_MOST}
) s
"""  # noqa: S608 (catalogue names, a constant and a date)


# A day as bound is another statement once a day only, so that its plan is cached. Chunks begin with a day.
@lru_cache(64)
def _newer_since(day: date) -> str:
    return _NEWER.format(bound=f"{day.isoformat()}T00:00:00Z")


_ROWS: Final = select(
    Box.key, Box.id, cast(BoxState.latest, Text), func.coalesce(BoxState.newest_us, NEVER)
).join(BoxState, BoxState.box_key == Box.key)


class BoxLatestValues(NamedTuple):
    """The latest values of a box.

    Attributes:
        box: its id.
        row: those in its row of `box_states`, as JSON.
        samples: newer ones than these, as `read_newer_samples` returns them.
    """

    box: str
    row: str
    samples: tuple[Any, ...] = ()

    def values(self) -> LatestByMetric:
        """Return metric → (value, µs) of the newest sample that has it."""
        return _update_latest(self.row, self.samples)

    def to_json(self) -> msgspec.Raw:
        """Format it as JSON."""
        return _encode_latest(self.box, self.row, _HashedSamples(self.samples))

    def to_granted_json(self, visible: TenantScope, site_id: UUID, came_at: datetime | None) -> msgspec.Raw:
        """Format as JSON what the caller's grant allows, and count it."""
        latest = {
            name: latest
            for name, latest in self.values().items()
            if visible.limit_to_grant(site_id, to_datetime(latest[1]), {name: latest}, came_at=came_at)
        }
        count_granted_values(len(latest), sites=[site_id], metrics=latest)
        return msgspec.Raw(_encode({"box": self.box, **_format_latest(latest)}))


def _update_latest(row: str, samples: tuple[Any, ...]) -> LatestByMetric:
    latest: LatestByMetric = _decode(row)
    for _, time_us, *values in samples:
        for name, value in zip(COLUMNS, values, strict=True):
            if value is not None and (name not in latest or latest[name][1] < time_us):
                latest[name] = (value, time_us)
    return latest


class _HashedSamples:
    """Newer samples of a box in a key of a cache, which keeps their hash alone: hundreds take 200 KiB."""

    __slots__ = ("_hash", "_samples")

    def __init__(self, samples: tuple[Any, ...]) -> None:
        self._samples = samples
        self._hash = hash(samples)

    def take(self) -> tuple[Any, ...]:
        """Return the samples, once."""
        samples, self._samples = self._samples, ()
        return samples

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _HashedSamples) and self._hash == other._hash


# The JSON depends on these only, and of most boxes they do not change between two polls of a site.
@lru_cache(_CACHED_ROWS)
def _encode_latest(box: str, row: str, samples: _HashedSamples) -> msgspec.Raw:
    return msgspec.Raw(_encode({"box": box, **_format_latest(_update_latest(row, samples.take()))}))


async def read_box_latest(reader: TenantReader, box: str, visible: TenantScope) -> msgspec.Raw:
    """Read the latest values of one box as JSON.

    Raises:
        NotFoundError: The box does not exist, or is outside the tenant scope.
    """
    rows = await reader.fetch(_of_box(visible), {"box": parse_box_id(box)})
    if not rows:
        raise NotFoundError("box", box)
    found = next(await _add_newer_samples(reader, rows))
    if visible.grant is None:
        return found.to_json()
    for granted in await format_granted_latest(reader, [found], visible):
        return granted
    raise NotFoundError("box", box)


async def format_granted_latest(
    reader: TenantReader, boxes: Sequence[BoxLatestValues], visible: TenantScope
) -> list[msgspec.Raw]:
    """Format what the caller's grant allows of the latest values of boxes, and count it."""
    named = Box.id == any_(literal([each.box for each in boxes], ARRAY(Text)))
    statement = select(Box.id, Box.site_id, Box.came_at).where(named, Box.deleted_at.is_(None))
    rows = await reader.fetch(statement.where(*visible.within(Box.organisation_id, Box.site_id)))
    sites = {box: (site_id, came_at) for box, site_id, came_at in rows}
    return [each.to_granted_json(visible, *sites[each.box]) for each in boxes if each.box in sites]


# Built once per tenant scope.
@lru_cache(64)
def _of_box(visible: TenantScope) -> CompiledStatement:
    statement = select(
        Box.key,
        Box.id,
        func.coalesce(cast(BoxState.latest, Text), "{}"),
        func.coalesce(BoxState.newest_us, NEVER),
    )
    return compile_statement(
        statement.outerjoin(BoxState, BoxState.box_key == Box.key)
        .where(Box.id == bindparam("box"), Box.deleted_at.is_(None))
        .where(*visible.within(Box.organisation_id, Box.site_id))
    )


async def find_metrics_of_boxes(session: AsyncSession, keys: Sequence[int]) -> dict[str, frozenset[str]]:
    """Find the metrics that boxes have ever measured, by box id. Restores the planner for later queries."""
    found = {each.box: INDEX.keys() & each.values().keys() for each in await _latest_of_boxes(session, keys)}
    await session.execute(_RESTORE_PLANNER)
    return {box: frozenset(metrics) for box, metrics in found.items()}


async def read_latest_values(reader: TenantReader, keys: Sequence[int]) -> dict[str, LatestByMetric]:
    """Read the latest values of boxes, by box id; boxes that never measured anything are left out."""
    rows = await reader.fetch(_OF_KEYS, {"keys": list(keys)})
    return {each.box: each.values() for each in await _add_newer_samples(reader, rows)}


_OF_KEYS: Final = compile_statement(_ROWS.where(Box.key == any_(bindparam("keys", type_=ARRAY(Integer)))))


async def _latest_of_boxes(session: AsyncSession, keys: Sequence[int]) -> Iterator[BoxLatestValues]:
    """Read the latest values of boxes that have a state, in no order."""
    rows = (await session.execute(_ROWS.where(Box.key.in_(keys)))).all()
    newest = {key: newest_us for key, _, _, newest_us in rows}
    return _merge_samples(rows, await read_newer_samples(session, newest))


async def read_site_latest(
    reader: TenantReader, site_id: UUID, visible: TenantScope, cursor: str | None, limit: int
) -> list[BoxLatestValues]:
    """Read the latest values of a site's boxes, ordered by box id; one more than `limit`.

    Args:
        reader: reads them.
        site_id: the site.
        visible: the tenant scope.
        cursor: of the page before; None for the first page.
        limit: boxes of a page.

    Raises:
        NotFoundError: The site does not exist in the tenant scope.
    """
    last = "" if cursor is None else decode_cursor(SITE_LATEST, cursor, check_box_id)[0]
    rows = await reader.fetch(_of_site(visible), {"site": site_id, "last": last, "limit": limit + 1})
    if not rows:
        # A caller with access to boxes of a site has access to the site.
        site = select(Site.id).where(Site.id == site_id, *visible.within(Site.organisation_id, Site.id))
        if not await reader.fetch(site):
            raise NotFoundError("site", site_id)
    return list(await _add_newer_samples(reader, rows))


# Built once per tenant scope.
@lru_cache(64)
def _of_site(visible: TenantScope) -> CompiledStatement:
    return compile_statement(
        _ROWS.where(Box.site_id == bindparam("site"), Box.deleted_at.is_(None), Box.id > bindparam("last"))
        .where(*visible.within(Box.organisation_id, Box.site_id))
        .order_by(Box.id)
        .limit(bindparam("limit", type_=Integer))
    )


async def _add_newer_samples(reader: TenantReader, rows: Sequence[FlatRow]) -> Iterator[BoxLatestValues]:
    """Add the samples stored since the rows of `box_states` were written: (key, id, latest, µs)."""
    samples: list[Any] = []
    for keys, times, bound in split_by_recency({key: newest for key, _, _, newest in rows}):
        samples += await reader.fetch_text(_newer_since(bound.date()), (keys, times))
    return _merge_samples(rows, samples)


def _merge_samples(rows: Iterable[Any], samples: Sequence[Any]) -> Iterator[BoxLatestValues]:
    newer: dict[int, list[Any]] = {}
    for sample in samples:
        newer.setdefault(sample[0], []).append(sample)
    return (BoxLatestValues(box, row, tuple(newer.get(key, ()))) for key, box, row, _ in rows)


async def read_newer_samples(session: AsyncSession, newest: Mapping[int, int]) -> list[Any]:
    """Read the samples stored since the rows of `box_states` were written.

    Args:
        session: reads them.
        newest: by box, `newest_us` of its row (µs since the epoch).

    Returns:
        (box, µs since the epoch, a value or None for each of COLUMNS) of each, in no order.
    """
    await session.execute(_PLAN_WITHOUT_CHUNK_APPEND)
    connection = await get_driver_connection(session)
    found: list[Any] = []
    for keys, times, bound in split_by_recency(newest):
        found += await connection.fetch(_newer_since(bound.date()), keys, times)
    return found


@lru_cache(4096)
def _format_time(time_us: int) -> str:
    # Boxes measure on the minute, so that many times of a site are equal.
    return format_us(time_us)


def _format_latest(latest: LatestByMetric) -> dict[str, Any]:
    """Format latest values for JSON.

    Metrics of a newer version of the program are left out: their unit and bounds are not known here.
    """
    if not latest.keys() <= INDEX.keys():
        latest = {name: latest[name] for name in latest if name in INDEX}
    times_us = {time_us for _, time_us in latest.values()}
    text = _format_time(max(times_us)) if times_us else None
    return {
        "time": text,
        "values": {
            # Most values have few decimals, for which this test is quicker and exact.
            name: value
            if -_EXACT_BELOW < value < _EXACT_BELOW and value * 1000.0 % 1.0 == 0.0
            else round_to_float32(INDEX[name], value)
            for name, (value, _) in latest.items()
        },
        "times": dict.fromkeys(latest, text)
        if len(times_us) == 1
        else {name: _format_time(time_us) for name, (_, time_us) in latest.items()},
    }
