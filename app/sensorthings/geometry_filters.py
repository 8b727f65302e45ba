"""Evaluates spatial predicates of `$filter`: which boxes have a place that fits a geometry.

All geometries of the entities are points in WGS 84. Shapely evaluates the predicates in the plane of degrees,
as PostGIS does for `geometry`, so that PostgreSQL needs no extension. The statement then has the keys of the
boxes that fit as a parameter.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from app.sensorthings.query_tree import FunctionCall, Literal, PropertyPath
from app.standard_apis.query_error import QueryError

LONGEST_GEOMETRY: Final = 6_000
PREDICATES: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "geo.intersects": shapely.intersects,
    "st_intersects": shapely.intersects,
    "st_within": shapely.within,
    "geo.within": shapely.within,
    "st_contains": shapely.contains,
    "st_equals": shapely.equals,
    "st_disjoint": shapely.disjoint,
    "st_touches": shapely.touches,
    "st_overlaps": shapely.overlaps,
    "st_crosses": shapely.crosses,
}
"""The spatial predicates of two geometries."""
RELATE: Final = "st_relate"
_PATTERN_LENGTH: Final = 9


def parse_geometry(literal: Literal, example: str = "geography'POINT (1.44 43.6)'") -> BaseGeometry:
    """Parse a geometry in well-known text, with or without `SRID=4326;` (QueryError with the example)."""
    text = str(literal.value)
    if text.upper().startswith("SRID="):
        srid, _, text = text.partition(";")
        if srid.upper() != "SRID=4326":
            raise _invalid(literal, example, "Only SRID=4326 (WGS 84) is supported.")
    if len(text) > LONGEST_GEOMETRY:
        raise _invalid(literal, example, f"It has more than {LONGEST_GEOMETRY} characters.")
    try:
        geometry = shapely.from_wkt(text)
    except (shapely.errors.GEOSException, NotImplementedError) as error:
        raise _invalid(literal, example, str(error).splitlines()[0][:200]) from None
    if geometry.is_empty or not shapely.is_valid(geometry):
        raise _invalid(
            literal, example, shapely.is_valid_reason(geometry) if not geometry.is_empty else "It is empty."
        )
    return geometry


def _invalid(literal: Literal, example: str, reason: str) -> QueryError:
    return QueryError(
        f"The geometry is not valid well-known text, such as {example}: {reason}",
        code="invalid_geometry",
        position=literal.position,
    )


def find_boxes(
    call: FunctionCall, keys: Sequence[int], longitudes: Sequence[float], latitudes: Sequence[float]
) -> list[int]:
    """Find the boxes whose place fits a spatial predicate.

    Args:
        call: The predicate, of a property and a geometry in any order.
        keys: The boxes.
        longitudes: The longitudes of their places.
        latitudes: The latitudes of their places.
    """
    place_first, geometry, pattern = read_predicate(call)
    shapely.prepare(geometry)
    points = shapely.points(np.array(longitudes, np.float64), np.array(latitudes, np.float64))
    sides: tuple[Any, Any] = (points, geometry) if place_first else (geometry, points)
    predicate = (
        partial(shapely.relate_pattern, pattern=pattern) if call.name == RELATE else PREDICATES[call.name]
    )
    fits = np.broadcast_to(predicate(*sides), (len(keys),))
    return [key for key, does_fit in zip(keys, fits.tolist(), strict=True) if does_fit]


def read_predicate(call: FunctionCall) -> tuple[bool, BaseGeometry, str]:
    """Return whether the place comes first, the geometry, and the pattern of `st_relate` (QueryError)."""
    expected = 3 if call.name == RELATE else 2
    pattern = ""
    if len(call.arguments) == expected == 3:  # noqa: PLR2004 (a number of arguments)
        last = call.arguments[2]
        pattern = str(last.value) if isinstance(last, Literal) else ""
        if len(pattern) != _PATTERN_LENGTH or not set(pattern.upper()) <= set("012TF*"):
            raise QueryError(
                "st_relate needs a pattern of nine characters, such as 'T********'.",
                code="wrong_type",
                position=call.position,
            )
    if len(call.arguments) == expected:
        first, second = call.arguments[:2]
        if isinstance(first, PropertyPath) and isinstance(second, Literal) and second.kind == "geo":
            return True, parse_geometry(second), pattern.upper()
        if isinstance(second, PropertyPath) and isinstance(first, Literal) and first.kind == "geo":
            return False, parse_geometry(first), pattern.upper()
    raise QueryError(
        f"{call.name} compares a place with a geometry, such as "
        f"{call.name}(location, geography'POINT (1.4 43.6)').",
        code="wrong_type",
        position=call.position,
    )
