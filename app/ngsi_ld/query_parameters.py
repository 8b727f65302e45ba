"""Parses the query of entities: types, ids, attributes, places, pages and representation. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import shapely
from shapely.geometry.base import BaseGeometry

from app.catalogue.smart_data_models import MODEL_ATTRIBUTES, MODEL_IRIS
from app.ngsi_ld.ngsi_ld_errors import BadRequestDataError, OperationNotSupportedError
from app.platform.kernel.rejection_codes import format_rejected_value

DEFAULT_LIMIT: Final = 20
MOST_ENTITIES: Final = 1_000
"""The most entities of a page."""
MOST_SKIPPED: Final = 100_000
_LONGEST_COORDINATES: Final = 6_000
_FARTHEST_M: Final = 1_000_000
_NEAR: Final = re.compile(r"near;maxDistance==([0-9]{1,7}(?:\.[0-9]{1,3})?)")
_SIMPLIFIED: Final = frozenset({"keyValues", "simplified"})
_NAMES_BY_IRI: Final = {iri: name for name, iri in MODEL_IRIS.items()}


class EntityId(NamedTuple):
    """The parts of an entity's id: its model, and the public id or number of its box."""

    model: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "EntityId | None":
        """Parse an id; None: no entity can have it."""
        prefix, _, name = text.rpartition(":")
        model = prefix.removeprefix("urn:ngsi-ld:")
        return cls(model, name) if model in MODEL_IRIS and prefix == f"urn:ngsi-ld:{model}" and name else None


@dataclass(frozen=True, slots=True)
class GeoQuery:
    """Limits entities to places.

    Attributes:
        geometry: a point, or an area.
        farthest_m: how far from the point (metres); None: within the area.
    """

    geometry: BaseGeometry
    farthest_m: float | None


@dataclass(frozen=True, slots=True)
class EntityQuery:
    """Selects a page of entities.

    Attributes:
        models: of these types, in the order of lists.
        ids: with these ids; None: any.
        attributes: only these attributes, and only entities that have one of them; None: all.
        geo: at these places; None: anywhere.
        limit: the most entities of the page; 0: only their number is wanted.
        offset: how many are left out before it.
        count: whether the number of all is returned.
    """

    models: tuple[str, ...]
    ids: tuple[EntityId, ...] | None = None
    attributes: frozenset[str] | None = None
    geo: GeoQuery | None = None
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    count: bool = False


def parse_entity_query(given: Mapping[str, str]) -> EntityQuery:
    """Parse the query parameters of a list of entities.

    Raises:
        BadRequestDataError: A parameter has a value that it cannot have.
        OperationNotSupportedError: `q` or another parameter that Vigie does not evaluate.
    """
    if "q" in given:
        raise OperationNotSupportedError(
            "Entities cannot be filtered by their values (`q`). SensorThings can: `$filter` of Observations.",
            "q",
        )
    if not given.keys() & {"type", "attrs", "id", "georel"}:
        raise BadRequestDataError("Add `type`, `id`, `attrs` or `georel`: all entities are too many.", "type")
    count = given.get("count", "false")
    if count not in {"true", "false"}:
        raise BadRequestDataError("`count` is true or false.", "count")
    limit = _parse_number(given, "limit", DEFAULT_LIMIT, MOST_ENTITIES)
    check_limit(limit, count=count == "true")
    return EntityQuery(
        parse_models(given.get("type")),
        _parse_ids(given.get("id")),
        parse_attributes(given.get("attrs")),
        _parse_geo(given),
        limit,
        _parse_number(given, "offset", 0, MOST_SKIPPED),
        count == "true",
    )


def check_limit(limit: int, *, count: bool) -> None:
    """Refuse an empty page whose number of entities is not wanted either (BadRequestDataError)."""
    if not limit and not count:
        raise BadRequestDataError("`limit` is 0 only with `count=true`.", "limit")


def parse_models(text: str | None, option: str = "type") -> tuple[str, ...]:
    """Parse types: short names or their IRIs, separated by commas; None: all (BadRequestDataError)."""
    if text is None:
        return tuple(MODEL_IRIS)
    names = [_NAMES_BY_IRI.get(part, part) for part in text.split(",")]
    for name in names:
        if name not in MODEL_IRIS:
            raise BadRequestDataError(
                f"There are no entities of the type {format_rejected_value(name)}. Use "
                f"{', '.join(MODEL_IRIS)}.",
                option,
            )
    return tuple(name for name in MODEL_IRIS if name in names)


def _parse_ids(text: str | None) -> tuple[EntityId, ...] | None:
    if text is None:
        return None
    # An id that no entity can have finds nothing.
    return tuple(found for part in text.split(",") if (found := EntityId.parse(part)) is not None)


def parse_attributes(text: str | None) -> frozenset[str] | None:
    """Parse `attrs`; None: all."""
    return None if text is None else frozenset(text.split(","))


def list_metrics(attributes: frozenset[str] | None, model: str) -> list[str]:
    """List the metrics whose attributes of a model are wanted."""
    return [
        metric
        for metric, each in MODEL_ATTRIBUTES.items()
        if each.model == model and (attributes is None or each.name in attributes)
    ]


def parse_simplified(text: str | None) -> bool:
    """Return whether `options` asks for keys and values alone (BadRequestDataError)."""
    chosen = set() if text is None else set(text.split(","))
    if unknown := chosen - _SIMPLIFIED - {"normalized"}:
        raise BadRequestDataError(
            f"There is no option {format_rejected_value(min(unknown))}. Use keyValues or normalized.",
            "options",
        )
    return bool(chosen & _SIMPLIFIED)


def _parse_number(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most):
        raise BadRequestDataError(f"`{name}` is a number from 0 to {most:,}.", name)
    return int(text)


def _parse_geo(given: Mapping[str, str]) -> GeoQuery | None:
    relation = given.get("georel")
    if relation is None:
        if unused := sorted(given.keys() & {"geometry", "coordinates"}):
            raise BadRequestDataError(f"`{unused[0]}` needs `georel`.", "georel")
        return None
    near = _NEAR.fullmatch(relation)
    if near is None and relation != "within":
        raise OperationNotSupportedError(
            "`georel` is near;maxDistance==METRES with a Point, or within with a Polygon or MultiPolygon.",
            "georel",
        )
    kind, coordinates = given.get("geometry", ""), given.get("coordinates", "")
    if kind not in ({"Point"} if near else {"Polygon", "MultiPolygon"}):
        raise BadRequestDataError(
            "`geometry` is Point with near, and Polygon or MultiPolygon with within.", "geometry"
        )
    if near is not None and float(near[1]) > _FARTHEST_M:
        raise BadRequestDataError(f"maxDistance is {_FARTHEST_M:,} m at most.", "georel")
    return GeoQuery(_parse_geometry(kind, coordinates), None if near is None else float(near[1]))


def _parse_geometry(kind: str, coordinates: str) -> BaseGeometry:
    problem = "it has too many characters."
    if len(coordinates) <= _LONGEST_COORDINATES:
        try:
            # Decoded first, so that the text cannot be more than coordinates.
            numbers = msgspec.json.decode(coordinates, type=list[Any])
            geometry = shapely.from_geojson(msgspec.json.encode({"type": kind, "coordinates": numbers}))
            if geometry.geom_type == kind and shapely.is_valid(geometry) and not geometry.is_empty:
                return geometry
            problem = shapely.is_valid_reason(geometry)
        except (shapely.errors.GEOSException, msgspec.DecodeError, RecursionError) as error:
            problem = str(error).splitlines()[0][:200]
    raise BadRequestDataError(
        f"`coordinates` is not a {kind} of GeoJSON, such as [1.44,43.6] of a Point: {problem}", "coordinates"
    )
