"""Finds the series of boxes whose purpose is in force, and reads their latest values."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select

from app.platform.db.database import ReadSession
from app.sensorthings.entity_model import DATASTREAM
from app.sensorthings.observation_queries import current_time_us, read_latest
from app.sensorthings.observed_series import ObservedSeries
from app.sensorthings.relations import Relation, make_relation, match_keys


class BoxSeries(NamedTuple):
    """A series of a box with the row of its box."""

    row: Mapping[str, Any]
    series: ObservedSeries


async def find_series(
    session: ReadSession,
    boxes: Sequence[int],
    metrics: Sequence[str] | None = None,
    *,
    hourly: bool = False,
    limit: int | None = None,
) -> list[BoxSeries]:
    """Find the series of boxes whose purpose is in force, in the order of boxes and metrics.

    Args:
        session: reads them.
        boxes: the keys of the boxes.
        metrics: of these metrics; None: all.
        hourly: hourly means instead of stored values.
        limit: the most series.
    """
    if not boxes:
        return []
    relation = make_relation(DATASTREAM)
    where = _build_conditions(relation, boxes, metrics, hourly=hourly)
    statement = (
        select(*(sql.label(name) for name, sql in relation.row.items()))
        .select_from(relation.source)
        .where(*where)
        .order_by(relation.key["box_key"], relation.row["id"])
        .limit(limit)
    )
    rows = [dict(row) for row in (await session.execute(statement)).mappings()]
    return [BoxSeries(row, ObservedSeries.of(row)) for row in rows]


def _build_conditions(
    relation: Relation, boxes: Sequence[int], metrics: Sequence[str] | None, *, hourly: bool
) -> list[ColumnElement[bool]]:
    where = [match_keys(relation.key["box_key"], boxes), relation.key["hourly"].is_(hourly)]
    if metrics is not None:
        where.append(relation.key["metric"].in_(metrics))
    return where


async def find_measuring_boxes(
    session: ReadSession, boxes: Sequence[int], metrics: Sequence[str] | None = None, *, hourly: bool = False
) -> set[int]:
    """Find the boxes that have a series which `find_series` finds."""
    relation = make_relation(DATASTREAM)
    statement = (
        select(relation.key["box_key"])
        .select_from(relation.source)
        .where(*_build_conditions(relation, boxes, metrics, hourly=hourly))
        .distinct()
    )
    return set((await session.execute(statement)).scalars())


async def read_newest_times(session: ReadSession) -> dict[str, int]:
    """Read the time of the newest value (µs since the epoch) by metric, of those that the caller may see."""
    relation = make_relation(DATASTREAM)
    metric = relation.key["metric"]
    statement = (
        select(metric, func.max(relation.row["newest_us"]))
        .select_from(relation.source)
        .where(relation.key["hourly"].is_(False))
        .group_by(metric)
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def read_latest_values(
    session: ReadSession, boxes: Sequence[int]
) -> dict[int, dict[str, tuple[int, float]]]:
    """Read the latest values of boxes: by box key and metric, the time (µs since the epoch) and the value."""
    many = [each.series for each in await find_series(session, boxes)]
    latest = await read_latest(session, many, current_time_us())
    found: dict[int, dict[str, tuple[int, float]]] = {}
    for one in many:
        value = latest[one.id]
        found.setdefault(one.box_key, {})[one.metric.name] = value.time_us, value.result
    return found
