"""The rules of RFC 7946 for a collection of points, written down as checks."""

import json
from typing import Any


def points_of(text: bytes) -> list[dict[str, Any]]:
    """The features of a FeatureCollection of points, each looked at; by section of the RFC."""
    document = json.loads(text.decode("utf-8"), parse_constant=refuse)  # 11.1: no NaN, and UTF-8
    assert document["type"] == "FeatureCollection"  # 3.3
    # 4: no coordinate reference system; 7.1: no members of other types.
    assert set(document) == {"type", "features"}
    assert isinstance(document["features"], list)
    for feature in document["features"]:
        assert set(feature) == {"type", "geometry", "properties"}
        assert feature["type"] == "Feature"  # 3.2
        assert isinstance(feature["properties"], dict)
        assert not {"coordinates", "geometries", "geometry", "features"} & set(feature["properties"])
        geometry = feature["geometry"]
        assert set(geometry) == {"type", "coordinates"}
        assert geometry["type"] == "Point"  # 3.1.2
        longitude, latitude = geometry["coordinates"]  # 3.1.1: in this order
        assert all(type(each) in {int, float} for each in (longitude, latitude))
        assert -180 <= longitude <= 180
        assert -90 <= latitude <= 90
    found: list[dict[str, Any]] = document["features"]
    return found


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no number of JSON")
