"""Writes the register as GeoJSON (RFC 7946): WGS 84, no `crs`, a `bbox`, counter-clockwise rings. Pure.

Locations are the middles of grid cells. The database computes them and alone has the exact locations
(`register_cell` of migration 0026). This module repeats its arithmetic to draw the border of a cell.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from app.platform.kernel.position_grid import compute_cell_size
from app.public_register.register_model import PublishedBox, PublishedSite

MEDIA_TYPE: Final = "application/geo+json"

type GeoJsonFeature = dict[str, Any]
type FeatureCollection = dict[str, Any]
type LinearRing = list[list[float]]
"""A closed line of [longitude, latitude]; counter-clockwise, as RFC 7946 requires of exterior rings."""


def build_cell_ring(longitude: float, latitude: float, metres: int) -> LinearRing:
    """Build the border of a cell from its middle. It is cut at the antimeridian and at the poles."""
    wide, high = (step / 2 for step in compute_cell_size(latitude, metres))
    west, east = max(-180.0, longitude - wide), min(180.0, longitude + wide)
    south, north = max(-90.0, latitude - high), min(90.0, latitude + high)
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [[round(x, 6), round(y, 6)] for x, y in corners]


def build_sites_geojson(sites: Iterable[PublishedSite]) -> FeatureCollection:
    """Build a point for each site, and for each box with a location."""
    features: list[GeoJsonFeature] = []
    for site in sites:
        features += [_site(site), *_boxes(site)]
    return _collection(features)


def build_site_geojson(site: PublishedSite) -> FeatureCollection:
    """Build the points of a site and its boxes, and the grid cells around them."""
    middles = {
        (site.longitude, site.latitude),
        *(
            (x, y)
            for box in site.boxes
            if (x := box.longitude) is not None and (y := box.latitude) is not None
        ),
    }
    cells: list[GeoJsonFeature] = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [build_cell_ring(x, y, site.precision_m)]},
            "properties": {"kind": "cell", "precision_m": site.precision_m},
        }
        for x, y in sorted(middles)
    ]
    return _collection([_site(site), *_boxes(site), *cells])


def _site(site: PublishedSite) -> GeoJsonFeature:
    return {
        "type": "Feature",
        "id": str(site.id),
        "geometry": _point(site.longitude, site.latitude),
        "properties": {
            "kind": "site",
            "name": site.name,
            "operator": site.operator,
            "site_kind": site.kind,
            "boxes": len(site.boxes),
            "precision_m": site.precision_m,
            "purposes": [each.purpose for each in site.active],
            "declared": bool(site.declared),
            "sensitive": any(each.sensitive for each in site.active),
            "address": site.address,
            "licence": site.licence,
            "page": f"/public/sites/{site.id}",
        },
    }


def _boxes(site: PublishedSite) -> Iterable[GeoJsonFeature]:
    for box in site.boxes:
        if (point := _box_point(box)) is not None:
            yield {
                "type": "Feature",
                "id": box.id,
                "geometry": point,
                "properties": {
                    "kind": "box",
                    "site": str(site.id),
                    "since": box.since.isoformat(),
                    "precision_m": site.precision_m,
                },
            }


def _box_point(box: PublishedBox) -> dict[str, Any] | None:
    if box.longitude is None or box.latitude is None:
        return None
    return _point(box.longitude, box.latitude)


def _point(longitude: float, latitude: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [longitude, latitude]}


def _collection(features: Sequence[GeoJsonFeature]) -> FeatureCollection:
    found: FeatureCollection = {"type": "FeatureCollection"}
    points = [
        point
        for feature in features
        for point in (
            [feature["geometry"]["coordinates"]]
            if feature["geometry"]["type"] == "Point"
            else feature["geometry"]["coordinates"][0]
        )
    ]
    if points:
        across, up = zip(*points, strict=True)
        found["bbox"] = [min(across), min(up), max(across), max(up)]
    found["features"] = list(features)
    return found
