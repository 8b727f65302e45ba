"""Reads entities: which boxes have which, a page of them, and their latest values.

Access is that of SensorThings: the views show the tenant scope of the caller, or open data.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select, union_all

from app.catalogue.smart_data_models import AIR, DEVICE, MODEL_IRIS, NOISE
from app.ngsi_ld.entity_json import build_entity, select_attributes
from app.ngsi_ld.query_parameters import EntityId, EntityQuery, GeoQuery, list_metrics
from app.platform.db.database import ReadSession
from app.sensorthings.box_places import find_boxes_near, find_boxes_within
from app.sensorthings.box_series import read_latest_values, read_newest_times
from app.sensorthings.entity_model import DATASTREAM
from app.sensorthings.relations import BOXES, make_relation, match_keys

_NAME = func.coalesce(BOXES.c.box, BOXES.c.number)
# The attributes of each entity of a model.
_OF_EACH = {
    AIR: frozenset({"location", "refDevice", "dateObserved"}),
    NOISE: frozenset({"location", "refDevice", "dateObservedFrom", "dateObservedTo"}),
    DEVICE: frozenset({"location", "category", "controlledProperty"}),
}
# Attributes that an entity has if the column of its box has a value.
_OPTIONAL = {"name": BOXES.c.name, "dataProvider": BOXES.c.operator}
_OPTIONAL_OF_DEVICES = {"firmwareVersion": BOXES.c.firmware}


class EntityPage(NamedTuple):
    """A page of entities; `total` is the number on all pages, if it was wanted."""

    entities: list[dict[str, Any]]
    total: int | None
    has_more: bool


async def _find_boxes(session: ReadSession, geo: GeoQuery | None) -> Sequence[int] | None:
    """Return the keys of the boxes at the places of a query; None: all."""
    if geo is None:
        return None
    if geo.farthest_m is None:
        return await find_boxes_within(session, geo.geometry)
    return await find_boxes_near(session, geo.geometry, geo.farthest_m)


def _select_model(model: str, query: EntityQuery, boxes: Sequence[int] | None) -> Select[Any] | None:
    """Return the boxes that have an entity of a model; None: no entity has the attributes."""
    where: list[ColumnElement[bool]] = [] if boxes is None else [match_keys(BOXES.c.key, boxes)]
    if query.ids is not None:
        wanted = [each.name for each in query.ids if each.model == model]
        where.append(and_(_NAME.in_(wanted), or_(BOXES.c.box.in_(wanted), BOXES.c.number.in_(wanted))))
    columns = (literal(list(MODEL_IRIS).index(model)).label("rank"), _NAME.label("name"), BOXES.c.key)
    if model != DEVICE:
        # An observation without any value does not exist.
        where.append(_has_series(list_metrics(None, model)))
    if query.attributes is not None and not query.attributes & _OF_EACH[model]:
        having = _build_attribute_conditions(model, query.attributes)
        if not having:
            return None
        where.append(or_(*having))
    return select(*columns).where(*where)


def _build_attribute_conditions(model: str, attributes: frozenset[str]) -> list[ColumnElement[bool]]:
    """SQL: a box has one of the attributes, of those that not each entity of the model has."""
    optional = _OPTIONAL | (_OPTIONAL_OF_DEVICES if model == DEVICE else {})
    having: list[ColumnElement[bool]] = [
        column.is_not(None) for name, column in optional.items() if name in attributes
    ]
    metrics = list_metrics(attributes, model)
    if model == DEVICE and "dateLastValueReported" in attributes:
        having.append(_has_series(None))
    elif model == DEVICE and "batteryLevel" in attributes:
        metrics = ["battery"]
    return [*having, _has_series(metrics)] if metrics else having


def _has_series(metrics: Sequence[str] | None) -> ColumnElement[bool]:
    """SQL: a box has values of one of the metrics; None: any."""
    relation = make_relation(DATASTREAM)
    measured = (
        select(relation.key["box_key"]).select_from(relation.source).where(relation.key["hourly"].is_(False))
    )
    if metrics is not None:
        measured = measured.where(relation.key["metric"].in_(metrics))
    return BOXES.c.key.in_(measured)


async def read_entities(session: ReadSession, query: EntityQuery) -> EntityPage:
    """Read a page of entities, by type and box."""
    boxes = await _find_boxes(session, query.geo)
    parts = [part for model in query.models if (part := _select_model(model, query, boxes)) is not None]
    if not parts:
        return EntityPage([], 0 if query.count else None, has_more=False)
    every = union_all(*parts).subquery()
    total = None
    if query.count:
        total = int((await session.execute(select(func.count()).select_from(every))).scalar_one())
    if not query.limit:
        return EntityPage([], total, has_more=False)
    page = select(every).order_by(every.c.rank, every.c.name).offset(query.offset).limit(query.limit + 1)
    found = (await session.execute(page)).all()
    models = list(MODEL_IRIS)
    chosen = [(models[rank], key) for rank, _, key in found[: query.limit]]
    return EntityPage(
        await _build(session, chosen, query.attributes), total, has_more=len(found) > query.limit
    )


async def _build(
    session: ReadSession, chosen: Sequence[tuple[str, int]], attributes: frozenset[str] | None
) -> list[dict[str, Any]]:
    keys = list({key for _, key in chosen})
    rows: dict[int, Mapping[str, Any]] = {
        row["key"]: dict(row)
        for row in (await session.execute(select(BOXES).where(BOXES.c.key.in_(keys)))).mappings()
    }
    latest = await read_latest_values(session, keys)
    entities = []
    for model, key in chosen:
        whole = build_entity(model, rows[key], latest.get(key, {}))
        part = None if whole is None else select_attributes(whole, attributes)
        if part is not None:
            entities.append(part)
    return entities


async def find_entity(
    session: ReadSession, identifier: EntityId, attributes: frozenset[str] | None
) -> dict[str, Any] | None:
    """Find an entity by its id; None: there is none, or it has none of the attributes."""
    query = EntityQuery((identifier.model,), (identifier,), attributes, limit=1)
    found = (await read_entities(session, query)).entities
    return found[0] if found else None


async def list_types(session: ReadSession) -> list[str]:
    """List the types of which the caller may see entities."""
    measured = (await read_newest_times(session)).keys()
    existing = {model for model in (AIR, NOISE) if not measured.isdisjoint(list_metrics(None, model))}
    if (await session.execute(select(BOXES.c.key).limit(1))).first() is not None:
        existing.add(DEVICE)
    return [model for model in MODEL_IRIS if model in existing]
