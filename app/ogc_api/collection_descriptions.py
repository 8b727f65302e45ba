"""Describes the service and its collections: landing page, conformance, extents, queries. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.catalogue.metrics import COLUMNS, METRICS_BY_NAME
from app.catalogue.vocabularies import get_metric_unit
from app.ogc_api.coverage_json import UCUM, find_definition
from app.ogc_api.query_parameters import CRS84, BoundingBox
from app.platform.kernel.instants import format_us

PREFIX: Final = "/ogc"
JSON: Final = "application/json"
OPENAPI_MEDIA_TYPE: Final = "application/vnd.oai.openapi+json;version=3.1"
_SPECIFICATIONS: Final = "http://www.opengis.net/spec/"
CONFORMANCE: Final = tuple(
    _SPECIFICATIONS + each
    for each in (
        "ogcapi-common-1/1.0/conf/core",
        "ogcapi-common-2/1.0/conf/collections",
        "ogcapi-features-1/1.0/conf/core",
        "ogcapi-features-1/1.0/conf/geojson",
        "ogcapi-edr-1/1.1/conf/core",
        "ogcapi-edr-1/1.1/conf/json",
        "ogcapi-edr-1/1.1/conf/geojson",
        "ogcapi-edr-1/1.1/conf/edr-geojson",
        "ogcapi-edr-1/1.1/conf/covjson",
    )
)
COVERAGE_FORMATS: Final = ("CoverageJSON", "CSV")
_GREGORIAN: Final = "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian"
_WORLD: Final = BoundingBox(-180.0, -90.0, 180.0, 90.0)
_QUERIES: Final = {
    "position": "Values of the box nearest to a point",
    "area": "Values of all boxes in an area",
    "locations": "Boxes, and the values of one",
}
# EDR's description of CRS84 wants its well-known text.
_WKT: Final = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]]'
)


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection.

    Attributes:
        id: its id.
        title: its title.
        description: what it has.
        has_values: it has values of boxes, which EDR queries; otherwise features.
        hourly: its values are hourly means.
    """

    id: str
    title: str
    description: str
    has_values: bool = False
    hourly: bool = False


PLACES: Final = Collection("places", "Places", "Sites with boxes: streets, offices, airports")
BOXES: Final = Collection("boxes", "Boxes", "Boxes with their latest values")
MEASUREMENTS: Final = Collection(
    "measurements", "Measurements", "Values of each box as they were measured", has_values=True
)
HOURLY_MEANS: Final = Collection(
    "hourly-means",
    "Hourly means",
    "Means of each box and hour; sound levels by energy",
    has_values=True,
    hourly=True,
)
COLLECTIONS: Final[Mapping[str, Collection]] = {
    each.id: each for each in (PLACES, BOXES, MEASUREMENTS, HOURLY_MEANS)
}
"""The collections by id."""


@dataclass(frozen=True, slots=True)
class CollectionExtent:
    """What the caller may see of a collection.

    Attributes:
        bbox: the rectangle around it; None: nothing.
        newest_us: the time of the newest value (µs since the epoch); None: no values.
        metrics: of which it has values.
    """

    bbox: BoundingBox | None
    newest_us: int | None = None
    metrics: Sequence[str] = ()


def make_link(href: str, rel: str, title: str, media_type: str = JSON) -> dict[str, str]:
    """Make a link."""
    return {"href": href, "rel": rel, "type": media_type, "title": title}


def build_landing_page(base: str) -> dict[str, Any]:
    """Build the landing page of an installation."""
    root = base + PREFIX
    return {
        "title": "Vigie",
        "description": "Places, boxes and measurements by OGC API Features and EDR",
        "links": [
            make_link(root, "self", "This page"),
            make_link(f"{root}/api", "service-desc", "The OpenAPI document", OPENAPI_MEDIA_TYPE),
            make_link(f"{base}/docs/guides/ogc-api", "service-doc", "The guide", "text/html"),
            make_link(f"{root}/conformance", "conformance", "The conformance classes"),
            make_link(f"{root}/collections", "data", "The collections"),
        ],
    }


def build_collection(collection: Collection, extent: CollectionExtent, base: str) -> dict[str, Any]:
    """Build the description of a collection."""
    address = f"{base}{PREFIX}/collections/{collection.id}"
    described: dict[str, Any] = {
        "id": collection.id,
        "title": collection.title,
        "description": collection.description,
        "extent": _build_extent(extent),
        "crs": [CRS84],
    }
    links = [make_link(address, "self", collection.title)]
    if not collection.has_values:
        links.append(make_link(f"{address}/items", "items", collection.title, "application/geo+json"))
        return {**described, "itemType": "feature", "links": links}
    links += [make_link(f"{address}/{name}", "data", title) for name, title in _QUERIES.items()]
    return {
        **described,
        "links": links,
        "output_formats": COVERAGE_FORMATS,
        "data_queries": {
            name: {"link": _build_query_link(f"{address}/{name}", name, title)}
            for name, title in _QUERIES.items()
        },
        "parameter_names": {
            metric: _build_parameter(metric, base, hourly=collection.hourly)
            for metric in COLUMNS
            if metric in extent.metrics
        },
    }


def _build_extent(extent: CollectionExtent) -> dict[str, Any]:
    built: dict[str, Any] = {"spatial": {"bbox": [list(extent.bbox or _WORLD)], "crs": CRS84}}
    if extent.newest_us is not None:
        # The begin is open: finding the oldest value would read all of them.
        interval = [None, format_us(extent.newest_us)]
        built["temporal"] = {"interval": [interval], "trs": _GREGORIAN}
    return built


def _build_query_link(address: str, query: str, title: str) -> dict[str, Any]:
    return {
        **make_link(address, "data", title),
        "variables": {
            "title": title,
            "description": title,
            "query_type": query,
            "output_formats": COVERAGE_FORMATS,
            "default_output_format": COVERAGE_FORMATS[0],
            "crs_details": [{"crs": "CRS84", "wkt": _WKT}],
        },
    }


def _build_parameter(metric: str, base: str, *, hourly: bool) -> dict[str, Any]:
    unit = get_metric_unit(metric)
    description = METRICS_BY_NAME[metric].description
    method = {"method": "mean", "duration": "PT1H"} if hourly else None
    return {
        "type": "Parameter",
        "id": metric,
        "description": description,
        "data-type": "float",
        "unit": {"label": unit.name, "symbol": {"value": unit.code, "type": UCUM}},
        "observedProperty": {"id": find_definition(metric, base), "label": description},
        **({} if method is None else {"measurementType": method}),
    }
