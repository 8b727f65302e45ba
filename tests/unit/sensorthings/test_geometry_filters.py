"""Spatial predicates on places."""

import pytest

from app.sensorthings.geometry_filters import find_boxes
from app.sensorthings.query_grammar import parse_option
from app.standard_apis.query_error import QueryError

_KEYS, _LONGITUDES, _LATITUDES = [1, 2, 3], [1.0, 2.0, 5.0], [1.0, 2.0, 5.0]
_HOLED = "POLYGON ((0 0, 3 0, 3 3, 0 3, 0 0), (1.5 1.5, 2.5 1.5, 2.5 2.5, 1.5 2.5, 1.5 1.5))"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("geo.intersects(location, geography'POLYGON ((0 0, 3 0, 3 3, 0 3, 0 0))')", [1, 2]),
        (f"st_within(location, geography'{_HOLED}')", [1]),
        (f"st_contains(geography'{_HOLED}', location)", [1]),
        ("st_within(location, geography'POLYGON ((1 1, 3 1, 3 3, 1 3, 1 1))')", [2]),
        ("st_touches(location, geography'POLYGON ((1 1, 3 1, 3 3, 1 3, 1 1))')", [1]),
        ("st_disjoint(location, geography'SRID=4326;POINT (5 5)')", [1, 2]),
        ("st_crosses(location, geography'LINESTRING (0 0, 9 9)')", []),
        ("st_intersects(location, geography'MULTIPOINT ((1 1), (5 5))')", [1, 3]),
        ("st_relate(location, geography'POINT (2 2)', 'T*F**FFF*')", [2]),
    ],
)
def test_predicates_find_places(text: str, expected: list[int]) -> None:
    assert find_boxes(parse_option("$filter", text), _KEYS, _LONGITUDES, _LATITUDES) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("geo.intersects(location, geography'POLYGON ((1 2))')", "invalid_geometry"),
        ("geo.intersects(location, geography'POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))')", "invalid_geometry"),
        ("geo.intersects(location, geography'POINT EMPTY')", "invalid_geometry"),
        ("geo.intersects(location, geography'CURVEPOLYGON((0 0, 1 1, 1 0, 0 0))')", "invalid_geometry"),
        ("geo.intersects(location, geography'SRID=2154;POINT (1 1)')", "invalid_geometry"),
        ("geo.intersects(location, name)", "wrong_type"),
        ("geo.intersects(location)", "wrong_type"),
        ("st_relate(location, geography'POINT (2 2)', 'nonsense')", "wrong_type"),
    ],
)
def test_faults_have_codes(text: str, code: str) -> None:
    with pytest.raises(QueryError) as caught:
        find_boxes(parse_option("$filter", text), _KEYS, _LONGITUDES, _LATITUDES)
    assert caught.value.code == code
