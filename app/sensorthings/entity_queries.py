"""Reads entities that are not Observations: pages, counts, and what entities link to."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Subquery,
    false,
    func,
    literal,
    or_,
    select,
)

from app.platform.db.database import ReadSession
from app.sensorthings.entity_model import (
    DATASTREAM,
    DatastreamId,
    EntityKey,
    EntityType,
    get_target,
    is_collection,
    parse_box_id,
)
from app.sensorthings.filter_compiler import FilterCompiler
from app.sensorthings.geometry_filters import PREDICATES, RELATE, find_boxes, read_predicate
from app.sensorthings.page_tokens import after_token, encode_token, order_clauses
from app.sensorthings.query_source import QuerySource
from app.sensorthings.query_tree import Expression, FunctionCall, OrderItem, QueryOptions, walk
from app.sensorthings.relations import (
    BOXES,
    Relation,
    TypedSql,
    link_columns,
    make_relation,
    restrict,
)
from app.standard_apis.query_error import QueryError

MOST_PREDICATES: Final = 10
"""The most spatial predicates of a filter: the statement gets the keys of all boxes that fit each."""


async def find_places(
    session: ReadSession, expressions: Sequence[Expression | None]
) -> Mapping[FunctionCall, list[int]]:
    """Evaluate the spatial predicates of expressions: for each, the boxes whose place fits."""
    calls = {
        part
        for expression in expressions
        if expression is not None
        for part in walk(expression)
        if isinstance(part, FunctionCall) and (part.name in PREDICATES or part.name == RELATE)
    }
    if not calls:
        return {}
    if len(calls) > MOST_PREDICATES:
        raise QueryError(
            f"A filter can have {MOST_PREDICATES} spatial functions at most. Use one MULTIPOLYGON.",
            code="query_too_large",
            option="$filter",
        )
    try:
        for call in calls:
            read_predicate(call)
    except QueryError as error:
        raise error.of_option("$filter") from None
    rows = (await session.execute(select(BOXES.c.key, BOXES.c.longitude, BOXES.c.latitude))).all()
    if not rows:
        return {call: [] for call in calls}
    keys, longitudes, latitudes = zip(*rows, strict=True)
    return {call: await asyncio.to_thread(find_boxes, call, keys, longitudes, latitudes) for call in calls}


async def compile_filter(
    session: ReadSession, main: QuerySource, expression: Expression | None
) -> list[ColumnElement[bool]]:
    """Compile `$filter` into conditions on a source (QueryError).

    Where a path goes through a collection, the entities are selected by their ids, so that each is found
    once.
    """
    if expression is None:
        return []
    places = await find_places(session, [expression])
    inner = QuerySource.of(main.base.entity)
    condition = _compile(inner, expression, places)
    if not inner.has_collections:
        return [_compile(main, expression, places)]
    main.joins_elsewhere += inner.joins
    ids = select(inner.base.id).select_from(inner.source).where(condition)
    return [main.base.id.in_(ids)]


def _compile(
    source: QuerySource, expression: Expression, places: Mapping[FunctionCall, list[int]]
) -> ColumnElement[bool]:
    try:
        return FilterCompiler(source.resolve, places, source.coordinates).condition(expression)
    except QueryError as error:
        raise error.of_option("$filter") from None


def compile_order(source: QuerySource, items: Sequence[OrderItem]) -> list[tuple[TypedSql, bool]]:
    """Compile `$orderby` into (SQL, descending), with the id as the last (QueryError)."""
    found = []
    for item in items:
        try:
            found.append(
                (
                    FilterCompiler(source.resolve, {}, source.coordinates).value(item.expression),
                    item.descending,
                )
            )
        except QueryError as error:
            raise error.of_option("$orderby") from None
    if source.has_collections:
        raise QueryError("$orderby cannot go through a collection.", code="not_supported", option="$orderby")
    found.append((source.base.properties["id"], False))
    return found


class FoundEntity(NamedTuple):
    """An entity as it was read: its key, its columns by name, and its values of the order."""

    key: EntityKey
    row: Mapping[str, Any]
    order: tuple[Any, ...] = ()


class EntityPage(NamedTuple):
    """A page of entities; `token` leads to the next one."""

    entities: list[FoundEntity]
    token: str | None


def _columns(relation: Relation) -> list[ColumnElement[Any]]:
    names = {"id", "name", "description", "time"}
    return [
        *(sql.label(f"key_{name}") for name, sql in relation.key.items()),
        *(typed.sql.label(f"p_{name}") for name, typed in relation.properties.items() if name in names),
        *(sql.label(f"r_{name}") for name, sql in relation.row.items()),
    ]


def _found(mapping: RowMapping, width: int = 0) -> FoundEntity:
    key = EntityKey(
        **{name: mapping[f"key_{name}"] for name in EntityKey._fields if f"key_{name}" in mapping}
    )
    row = {name[2:]: value for name, value in mapping.items() if name.startswith("r_")}
    row |= {f"${name[2:]}": value for name, value in mapping.items() if name.startswith("p_")}
    return FoundEntity(key, row, tuple(mapping[f"o_{place}"] for place in range(width)))


async def read_page(
    session: ReadSession,
    entity: EntityType,
    conditions: Sequence[Any],
    options: QueryOptions,
    top: int,
) -> EntityPage:
    """Read a page of entities.

    Args:
        session: reads them.
        entity: their type.
        conditions: (parent type, keys) that limit them to what parents link to.
        options: of the query.
        top: entities of a page.
    """
    source = QuerySource.of(entity)
    where = [each for parent, keys in conditions for each in restrict(source.base, parent, keys)]
    where += await compile_filter(session, source, options.filter)
    order = compile_order(source, options.orderby)
    if options.skip_token is not None:
        where.append(after_token(order, options.skip_token))
    statement = (
        select(
            *_columns(source.base), *(typed.sql.label(f"o_{place}") for place, (typed, _) in enumerate(order))
        )
        .select_from(source.source)
        .where(*where)
        .order_by(*order_clauses(order))
        .limit(top + 1)
    )
    if options.skip and options.skip_token is None:
        statement = statement.offset(options.skip)
    rows = (await session.execute(statement)).mappings().all()
    found = [_found(row, len(order)) for row in rows[:top]]
    more = len(rows) > top and bool(found)
    return EntityPage(found, encode_token(found[-1].order) if more else None)


async def count_entities(
    session: ReadSession, entity: EntityType, conditions: Sequence[Any], expression: Expression | None
) -> int:
    """Count the entities of a collection that match a filter."""
    source = QuerySource.of(entity)
    where = [each for parent, keys in conditions for each in restrict(source.base, parent, keys)]
    where += await compile_filter(session, source, expression)
    statement = select(func.count()).select_from(source.source).where(*where)
    return int((await session.execute(statement)).scalar_one())


async def find_entity(
    session: ReadSession, entity: EntityType, conditions: Sequence[Any], identifier: str | None
) -> FoundEntity | None:
    """Find an entity by its id, or the one that a parent links to."""
    relation = make_relation(entity)
    where = [each for parent, keys in conditions for each in restrict(relation, parent, keys)]
    if identifier is not None:
        where += _with_id(relation, identifier)
    statement = select(*_columns(relation)).select_from(relation.source).where(*where).limit(1)
    row = (await session.execute(statement)).mappings().one_or_none()
    return None if row is None else _found(row)


def _with_id(relation: Relation, identifier: str) -> list[ColumnElement[bool]]:
    """Return the conditions of an id; the number of a box has an index."""
    conditions = [relation.id == identifier]
    number: str | None = ""
    if relation.entity.is_box_level:
        conditions, number = [], parse_box_id(identifier)
    elif relation.entity.name == DATASTREAM.name:
        datastream = DatastreamId.parse(identifier)
        number = None if datastream is None else datastream.number
        if datastream is not None:
            conditions = [
                relation.key["metric"] == datastream.metric,
                relation.key["hourly"] == datastream.hourly,
            ]
    if number is None:
        return [false()]
    if number:
        conditions.append(relation.row["number"] == number)
    return conditions


class LinkedEntities(NamedTuple):
    """The entities that a parent links to; `has_more` marks a list that was cut."""

    entities: list[FoundEntity]
    has_more: bool
    total: int | None


def _rank(
    source: QuerySource,
    where: Sequence[Any],
    common: Sequence[ColumnElement[Any]],
    order: Sequence[tuple[TypedSql, bool]],
    *,
    count: bool,
) -> Subquery:
    """Number entities among those with the same values of common columns, and mark those that one follows."""
    clauses = order_clauses(order)
    number = func.row_number().over(partition_by=common, order_by=clauses)
    following = func.lead(literal(value=True)).over(partition_by=common, order_by=clauses)
    total = func.count().over(partition_by=common) if count else literal(None)
    return (
        select(
            *_columns(source.base),
            *(typed.sql.label(f"o_{place}") for place, (typed, _) in enumerate(order)),
            number.label("number_within"),
            following.label("following_within"),
            total.label("total_within"),
        )
        .select_from(source.source)
        .where(*where)
        .subquery()
    )


async def read_linked(
    session: ReadSession,
    parent: EntityType,
    keys: Sequence[EntityKey],
    link: str,
    options: QueryOptions,
    *,
    top: int,
    most: int,
) -> dict[tuple[Any, ...], LinkedEntities]:
    """Read what several entities link to in one statement, by the common parts of the keys.

    Args:
        session: reads them.
        parent: type of the entities.
        keys: of the entities.
        link: the navigation link.
        options: of the expansion.
        top: the most entities of each parent.
        most: the most entities of all parents together. One more than that shows that there are too many;
            further ones are not read.
    """
    target = get_target(parent, link)
    source = QuerySource.of(target)
    names = link_columns(parent, target)
    where = restrict(source.base, parent, keys) + await compile_filter(session, source, options.filter)
    if not is_collection(link):
        statement = select(*_columns(source.base)).select_from(source.source).where(*where)
        rows = (await session.execute(statement.limit(most + 1))).mappings().all()
        return {_common(row, names): LinkedEntities([_found(row)], False, None) for row in rows}
    order = compile_order(source, options.orderby)
    ranked = _rank(source, where, [source.base.key[name] for name in names], order, count=options.count)
    within = ranked.c.number_within
    chosen: ColumnElement[bool] = within.between(options.skip + 1, options.skip + top)
    if options.count:
        # One row at least: it has the total.
        chosen, most = or_(chosen, within == 1), most + len(keys)
    statement = select(ranked).where(chosen).order_by(within).limit(most + 1)
    found: dict[tuple[Any, ...], list[RowMapping]] = {}
    for row in (await session.execute(statement)).mappings():
        found.setdefault(_common(row, names), []).append(row)
    linked = {}
    for key, rows in found.items():
        shown = [row for row in rows if 0 < row["number_within"] - options.skip <= top]
        linked[key] = LinkedEntities(
            [_found(row, len(order)) for row in shown],
            bool(shown and shown[-1]["following_within"]),
            rows[0]["total_within"],
        )
    return linked


def _common(row: RowMapping, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[f"key_{name}"] for name in names)


def common_key(key: EntityKey, names: Sequence[str]) -> tuple[Any, ...]:
    """Return the parts of a key that an entity has in common with what it links to."""
    return tuple(getattr(key, name) for name in names)
