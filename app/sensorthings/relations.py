"""Builds the SQL source of each entity type: its key, its properties as typed SQL, and its navigation links.

The views are those of `migrations.open_data_views` and `migrations.granted_views`. The search path decides
which set a name means, so the same statement shows tenants their scope, anonymous callers open data, and the
recipient of a grant what it includes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple
from typing import Literal as OneOf

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    FromClause,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIT, TIMESTAMP, TSTZMULTIRANGE

from app.catalogue.metrics import CATALOGUE
from app.catalogue.purposes import PURPOSE_BY_METRIC
from app.catalogue.sensorthings_ids import KIND_LENGTH, TIME_LENGTH
from app.catalogue.vocabularies import MEASUREMENT_TYPE, METRIC_DEFINITIONS, get_metric_unit
from app.platform.db.tenant_scoped_connection import quote_literal
from app.sensorthings.entity_model import EntityKey, EntityType, make_property_id

type SqlKind = OneOf["number", "text", "bool", "instant", "point", "json"]
_Instant = TIMESTAMP(timezone=True)
_VIEWS: Final = MetaData()
BOXES: Final = Table(
    "sensorthings_boxes",
    _VIEWS,
    Column("key", Integer),
    *(Column(name, Text) for name in ("number", "box", "name", "kind", "firmware")),
    Column("interval_s", Integer),
    Column("site_id", Uuid),
    *(Column(name, Text) for name in ("site", "site_kind", "timezone", "address", "licence", "operator")),
    Column("longitude", Double),
    Column("latitude", Double),
    Column("precision_m", Integer),
    Column("located_at", _Instant),
    Column("erased", TSTZMULTIRANGE),
    Column("shown_from", _Instant),
    Column("shown_until", _Instant),
)
"""A row per box that is not deleted, with the times (the end exclusive) whose values the caller may see."""
SERIES: Final = Table(
    "sensorthings_series",
    _VIEWS,
    Column("box_key", Integer),
    Column("metric", Text),
    Column("value", Double),
    Column("newest_us", BigInteger),
    Column("state_us", BigInteger),
)
"""A row per box and metric that it has measured, with the newest value in its row of `box_states`."""
PURPOSES: Final = Table(
    "sensorthings_purposes",
    _VIEWS,
    Column("site_id", Uuid),
    *(
        Column(name, Text)
        for name in (
            *("purpose", "legal_basis", "legal_reference", "controller", "contact", "notice"),
            "description",
        )
    ),
    Column("open_data", Boolean),
    Column("starts_at", _Instant),
    Column("ends_at", _Instant),
    Column("shown_from", _Instant),
)
"""A row per purpose in force at a site, with the first time whose values the caller may see."""
GEOJSON: Final = "application/geo+json"
CATALOGUE_ADDRESS: Final = "{base}/docs/guides/boxes#"
_DESCRIPTION: Final = "description"


class TypedSql(NamedTuple):
    """An SQL expression with its kind."""

    kind: SqlKind
    sql: ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Relation:
    """The source of an entity type in a statement.

    Attributes:
        entity: The entity type.
        source: What to select from.
        key: The parts of its key, by the names of `EntityKey`.
        properties: Its properties by path.
        row: Further columns that its JSON needs.
    """

    entity: EntityType
    source: FromClause
    key: Mapping[str, ColumnElement[Any]]
    properties: Mapping[str, TypedSql]
    row: Mapping[str, ColumnElement[Any]]

    @property
    def id(self) -> ColumnElement[Any]:
        """The SQL of its id."""
        return self.properties["id"].sql


def _text(sql: ColumnElement[Any]) -> TypedSql:
    return TypedSql("text", sql)


def _constant(text: str) -> TypedSql:
    return _text(literal(text, Text))


def make_box_id_sql(number: ColumnElement[Any]) -> ColumnElement[Any]:
    """SQL: the id of the entities of a box (`entity_model.make_box_id`)."""
    return cast(cast(cast(literal("x", Text) + number, BIT(48)), BigInteger), Text)


def make_time_id_sql(time: ColumnElement[Any]) -> ColumnElement[Any]:
    """SQL: the last digits of the id of an Observation (`entity_model.make_observation_id`)."""
    micros = cast(func.extract("epoch", time) * 1_000_000, BigInteger)
    return func.lpad(cast(micros, Text), TIME_LENGTH, "0")


def _thing_name(box: Any) -> ColumnElement[Any]:  # noqa: ANN401 (the columns of an alias)
    return func.coalesce(box.name, box.box, literal("Box ", Text) + box.number)


def _box_properties(box: Any) -> dict[str, TypedSql]:  # noqa: ANN401 (the columns of an alias)
    texts = {
        "box": box.box,
        "kind": box.kind,
        "firmware": box.firmware,
        "site": box.site,
        "siteId": cast(box.site_id, Text),
        "siteKind": box.site_kind,
        "timezone": box.timezone,
        "address": box.address,
        "operator": box.operator,
        "licence": box.licence,
        "registerNumber": box.number,
    }
    numbers = {"intervalSeconds": box.interval_s, "precisionMetres": box.precision_m}
    return {f"properties/{name}": _text(sql) for name, sql in texts.items()} | {
        f"properties/{name}": TypedSql("number", sql) for name, sql in numbers.items()
    }


def _place(box: Any) -> dict[str, ColumnElement[Any]]:  # noqa: ANN401 (the columns of an alias)
    return {"longitude": box.longitude, "latitude": box.latitude}


def _point(name: str, key: ColumnElement[Any]) -> dict[str, TypedSql]:
    # A place is known by the key of its box: filters compare points in `geometry_filters`.
    return {
        name: TypedSql("point", key),
        f"{name}/type": _constant("Point"),
        f"{name}/geometry/type": TypedSql("text", cast(literal(None), Text)),
    }


def _of_box(entity: EntityType, build: Callable[[Any], dict[str, TypedSql]]) -> Relation:
    box = BOXES.alias()
    columns = box.c
    row = {name: columns[name] for name in BOXES.c.keys() if name != "erased"}  # noqa: SIM118 (columns)
    return Relation(entity, box, {"box_key": columns.key}, build(columns), row)


def _thing(box: Any) -> dict[str, TypedSql]:  # noqa: ANN401 (the columns of an alias)
    return {
        "id": _text(make_box_id_sql(box.number)),
        "name": _text(_thing_name(box)),
        _DESCRIPTION: _text(literal("Box at ", Text) + box.site),
        **_box_properties(box),
    }


def _location(box: Any) -> dict[str, TypedSql]:  # noqa: ANN401 (the columns of an alias)
    precise = box.precision_m.is_(None)
    rounded = literal("Middle of the cell of ", Text) + cast(box.precision_m, Text) + literal(" m", Text)
    return {
        "id": _text(make_box_id_sql(box.number)),
        "name": _text(box.site),
        _DESCRIPTION: _text(case((precise, literal("Place of the box", Text)), else_=rounded)),
        "encodingType": _constant(GEOJSON),
        **_point("location", box.key),
        **_box_properties(box),
    }


def _historical_location(box: Any) -> dict[str, TypedSql]:  # noqa: ANN401 (the columns of an alias)
    return {
        "id": _text(make_box_id_sql(box.number)),
        "time": TypedSql("instant", box.located_at),
    }


def _sensor(box: Any) -> dict[str, TypedSql]:  # noqa: ANN401 (the columns of an alias)
    return {
        "id": _text(make_box_id_sql(box.number)),
        "name": _text(literal("Sensors of ", Text) + _thing_name(box)),
        _DESCRIPTION: _text(func.coalesce(box.kind, literal("Sensors of a box", Text))),
        "encodingType": _constant("text/html"),
        "metadata": _text(literal("", Text)),
        **_box_properties(box),
    }


def _feature(box: Any) -> dict[str, TypedSql]:  # noqa: ANN401 (the columns of an alias)
    return {
        "id": _text(make_box_id_sql(box.number)),
        "name": _text(literal("Surroundings of ", Text) + _thing_name(box)),
        _DESCRIPTION: _text(box.site),
        "encodingType": _constant(GEOJSON),
        **_point("feature", box.key),
        **_box_properties(box),
    }


_METRIC_COLUMNS: Final = (
    *("id", "name", "title", "purpose", "unit", "unit_name", "unit_definition", "definition"),
)
_METRIC_ROWS: Final = ", ".join(
    f"({place}, {', '.join(map(quote_literal, texts))})"
    for place, texts in enumerate(
        (
            make_property_id(each.name),
            each.name,
            each.description,
            PURPOSE_BY_METRIC[each.name],
            each.unit,
            get_metric_unit(each.name).name,
            get_metric_unit(each.name).definition,
            METRIC_DEFINITIONS[each.name] or "",
        )
        for each in CATALOGUE
    )
)
# As texts: SQLAlchemy does not cache the compiled form of statements with its own VALUES.
_METRICS: Final = text(
    f"SELECT * FROM (VALUES {_METRIC_ROWS}) AS v (place, {', '.join(_METRIC_COLUMNS)})"  # noqa: S608 (the catalogue)
).columns(column("place", Integer), *(column(name, Text) for name in _METRIC_COLUMNS))
_HOURLY: Final = text("SELECT * FROM (VALUES (false), (true)) AS v (hourly)").columns(
    column("hourly", Boolean)
)
_SERIES_COLUMNS: Final = ("value", "newest_us", "state_us")
_BOX_COLUMNS: Final = tuple(name for name in BOXES.c.keys() if name not in {"key", "erased"})  # noqa: SIM118 (columns)


# Built once: its columns are many.
@cache
def _select_datastreams() -> Select[Any]:
    series, box, purpose = SERIES.alias(), BOXES.alias(), PURPOSES.alias()
    metric, kinds = _METRICS.subquery(), _HOURLY.subquery()
    name, hourly = series.c.metric, kinds.c.hourly
    kind = func.lpad(cast(2 * metric.c.place + cast(hourly, Integer), Text), KIND_LENGTH, "0")
    title = case((hourly, literal(", hourly mean", Text)), else_=literal("", Text))
    return (
        select(
            series.c.box_key,
            name,
            hourly,
            (make_box_id_sql(box.c.number) + kind).label("id"),
            (_thing_name(box.c) + literal(": ", Text) + metric.c.title + title).label("title"),
            (metric.c.title + title + literal(" at ", Text) + box.c.site).label(_DESCRIPTION),
            *(series.c[each] for each in _SERIES_COLUMNS),
            *(box.c[each] for each in _BOX_COLUMNS),
            metric.c.purpose,
            metric.c.unit,
            metric.c.unit_name,
            metric.c.unit_definition,
            purpose.c.shown_from.label("purpose_shown_from"),
        )
        .select_from(series)
        .join(box, box.c.key == series.c.box_key)
        .join(metric, metric.c.name == name)
        .join(
            purpose,
            and_(
                purpose.c.site_id == box.c.site_id,
                purpose.c.purpose == metric.c.purpose,
                # What was measured before is not shown, so there is no Datastream until a value follows.
                or_(
                    purpose.c.shown_from.is_(None),
                    series.c.newest_us >= func.extract("epoch", purpose.c.shown_from) * 1_000_000,
                ),
            ),
        )
        .join(kinds, literal_column("true"))
    )


def _datastream(entity: EntityType) -> Relation:
    source = _select_datastreams().subquery()
    columns = source.c
    properties = {
        "id": _text(columns.id),
        "name": _text(columns.title),
        _DESCRIPTION: _text(columns.description),
        "observationType": _constant(MEASUREMENT_TYPE),
        "unitOfMeasurement/name": _text(columns.unit_name),
        "unitOfMeasurement/symbol": _text(columns.unit),
        "unitOfMeasurement/definition": _text(columns.unit_definition),
        **_point("observedArea", columns.box_key),
        "observedArea/type": _constant("Polygon"),
        "properties/metric": _text(columns.metric),
        "properties/purpose": _text(columns.purpose),
        "properties/aggregation": _text(
            case((columns.hourly, literal("hourly mean", Text)), else_=cast(literal(None), Text))
        ),
        **_box_properties(columns),
    }
    key = {"box_key": columns.box_key, "metric": columns.metric, "hourly": columns.hourly}
    return Relation(entity, source, key, properties, {name: columns[name] for name in columns.keys()})  # noqa: SIM118 (columns)


def _observed_property(entity: EntityType) -> Relation:
    source = _METRICS.subquery()
    columns = source.c
    properties = {
        "id": _text(columns.id),
        "name": _text(columns.title),
        "definition": _text(columns.definition),
        _DESCRIPTION: _text(columns.title),
        "properties/metric": _text(columns.name),
        "properties/purpose": _text(columns.purpose),
        "properties/unit": _text(columns.unit),
    }
    row = {name: columns[name] for name in columns.keys()}  # noqa: SIM118 (columns)
    return Relation(entity, source, {"metric": columns.name}, properties, row)


_OF_BOX: Final[Mapping[str, Callable[[Any], dict[str, TypedSql]]]] = {
    "Thing": _thing,
    "Location": _location,
    "HistoricalLocation": _historical_location,
    "Sensor": _sensor,
    "FeatureOfInterest": _feature,
}


def make_relation(entity: EntityType) -> Relation:
    """Make a new source of an entity type, except of Observations (`observation_queries`)."""
    if entity.is_box_level:
        return _of_box(entity, _OF_BOX[entity.name])
    return _datastream(entity) if entity.name == "Datastream" else _observed_property(entity)


def match_keys(column: ColumnElement[Any], keys: Collection[Any]) -> ColumnElement[bool]:
    """Return the condition that a key is one of many.

    They are an array, so that the statement is the same for any number of them: the database prepares and
    caches each statement.
    """
    return column == any_(literal(list(keys), ARRAY(column.type)))


def link_columns(parent: EntityType, child: EntityType) -> tuple[str, ...]:
    """Return the parts of the key that an entity and those that it links to have in common."""
    if "ObservedProperty" in {parent.name, child.name}:
        return ("metric",)
    if {parent.name, child.name} == {"Datastream", "Observation"}:
        return ("box_key", "metric", "hourly")
    return ("box_key",)


def restrict(relation: Relation, parent: EntityType, keys: Sequence[EntityKey]) -> list[ColumnElement[bool]]:
    """Return the conditions that select what some entities link to."""
    names = link_columns(parent, relation.entity)
    conditions: list[ColumnElement[bool]] = []
    for name in names:
        found = {getattr(key, name) for key in keys}
        sql = relation.key[name]
        conditions.append(sql == found.pop() if len(found) == 1 else match_keys(sql, found))
    return conditions
