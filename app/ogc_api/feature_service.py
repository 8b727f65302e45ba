"""Reads what the routes answer with: pages of features, single ones, EDR locations and extents."""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from app.ogc_api import collection_descriptions
from app.ogc_api.collection_descriptions import Collection, CollectionExtent
from app.ogc_api.feature_json import Row, build_box, build_location, build_place
from app.ogc_api.feature_queries import (
    BOX_FEATURES,
    PLACES,
    FeatureQuery,
    FeatureSource,
    find_extent,
    find_feature,
    read_features,
)
from app.ogc_api.query_parameters import BoundingBox
from app.platform.db.database import ReadSession
from app.sensorthings.box_series import read_latest_values, read_newest_times

_NOTHING: Final[dict[str, tuple[int, float]]] = {}


class FeatureList(NamedTuple):
    """Features of a page as GeoJSON; `after` leads to the next one."""

    features: list[dict[str, Any]]
    matched: int
    after: str | None


def _choose_source(collection: Collection) -> FeatureSource:
    return PLACES if collection is collection_descriptions.PLACES else BOX_FEATURES


async def _build(session: ReadSession, collection: Collection, rows: list[Row]) -> list[dict[str, Any]]:
    if collection is collection_descriptions.PLACES:
        return [build_place(row) for row in rows]
    latest = await read_latest_values(session, [row["key"] for row in rows])
    return [build_box(row, latest.get(row["key"], _NOTHING)) for row in rows]


async def list_features(session: ReadSession, collection: Collection, query: FeatureQuery) -> FeatureList:
    """Read a page of places or boxes."""
    source = _choose_source(collection)
    page = await read_features(session, source, query)
    return FeatureList(await _build(session, collection, page.rows), page.matched, page.after)


async def get_feature(session: ReadSession, collection: Collection, identifier: str) -> dict[str, Any]:
    """Read a place or a box (NotFoundError)."""
    source = _choose_source(collection)
    row = await find_feature(session, source, identifier)
    return (await _build(session, collection, [row]))[0]


async def list_locations(
    session: ReadSession, query: FeatureQuery, address: Callable[[str], str]
) -> FeatureList:
    """Read a page of boxes as locations of EDR; `address` makes the address of a box's values."""
    page = await read_features(session, BOX_FEATURES, query)
    latest = await read_latest_values(session, [row["key"] for row in page.rows])
    features = [build_location(row, latest.get(row["key"], _NOTHING), address) for row in page.rows]
    return FeatureList(features, page.matched, page.after)


async def find_collection_extents(
    session: ReadSession, described: Iterable[Collection]
) -> list[tuple[Collection, CollectionExtent]]:
    """Return what the caller may see of collections. Reads once what several of them have in common."""
    areas: dict[str, BoundingBox | None] = {}
    values: CollectionExtent | None = None
    found = []
    for collection in described:
        source = _choose_source(collection)
        if source.noun not in areas:
            areas[source.noun] = await find_extent(session, source)
        extent = CollectionExtent(areas[source.noun])
        if collection.has_values:
            if values is None:
                times = await read_newest_times(session)
                values = CollectionExtent(extent.bbox, max(times.values(), default=None), list(times))
            extent = values
        found.append((collection, extent))
    return found
