"""The register as GeoJSON (RFC 7946): WGS 84, no `crs`, a `bbox`, counter-clockwise rings. Pure.

The cells in which places are shown: how wide they are in degrees. Pure.

The middle of a cell comes from the database, which keeps the place (`register_cell` of migration 0026, whose
arithmetic this repeats): here is only what a map needs to draw the cell.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from app.public_register.register_model import PublishedBox, PublishedSite

METRES_PER_DEGREE: Final = 111_320.0
"""Of a meridian."""
_LAST: Final = 88

type LinearRing = list[list[float]]
"""A closed line of [longitude, latitude], counter-clockwise as RFC 7946 has exterior rings."""


def compute_cell_size(latitude: float, metres: int) -> tuple[float, float]:
    """How wide and how high a cell is (degrees), around a latitude (degrees)."""
    high = metres / METRES_PER_DEGREE
    band = min(math.floor(abs(latitude)), _LAST) + 0.5
    return high / math.cos(math.radians(band)), high


def build_cell_ring(longitude: float, latitude: float, metres: int) -> LinearRing:
    """The border of the cell around its middle; it does not cross the antimeridian nor a pole."""
    wide, high = (step / 2 for step in compute_cell_size(latitude, metres))
    west, east = max(-180.0, longitude - wide), min(180.0, longitude + wide)
    south, north = max(-90.0, latitude - high), min(90.0, latitude + high)
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [[round(x, 6), round(y, 6)] for x, y in corners]


MEDIA_TYPE: Final = "application/geo+json"

type GeoJsonFeature = dict[str, Any]
type FeatureCollection = dict[str, Any]


def build_sites_geojson(sites: Iterable[PublishedSite]) -> FeatureCollection:
    """A point for each site, and one for each box that has a place of its own."""
    features: list[GeoJsonFeature] = []
    for site in sites:
        features += [_site(site), *_boxes(site)]
    return _collection(features)


def build_site_geojson(site: PublishedSite) -> FeatureCollection:
    """The same of one site, with the cells of its places."""
    places = {
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
        for x, y in sorted(places)
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
        if (place := _place(box)) is not None:
            yield {
                "type": "Feature",
                "id": box.id,
                "geometry": place,
                "properties": {
                    "kind": "box",
                    "site": str(site.id),
                    "since": box.since.isoformat(),
                    "precision_m": site.precision_m,
                },
            }


def _place(box: PublishedBox) -> dict[str, Any] | None:
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
