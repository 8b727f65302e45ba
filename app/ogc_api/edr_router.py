"""Serves the queries of OGC API EDR 1.1: values of a box, of the nearest one, of all boxes in an area."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response

from app.ogc_api import feature_service
from app.ogc_api.collection_descriptions import PREFIX
from app.ogc_api.coverage_json import (
    COVERAGE_MEDIA_TYPE,
    CSV_MEDIA_TYPE,
    BoxCoverage,
    build_coverage_collection,
    format_csv,
)
from app.ogc_api.coverage_queries import (
    SeriesQuery,
    find_nearest_box,
    parse_coords,
    read_coverages,
)
from app.ogc_api.feature_json import MEDIA_TYPE
from app.ogc_api.feature_queries import BOX_FEATURES, find_feature
from app.ogc_api.route_parameters import (
    GEOJSON_ONLY,
    CollectionId,
    FeatureQueryDependency,
    ValuesQuery,
    ValuesQueryDependency,
    document_response,
)
from app.ogc_api.router import (
    FEATURES_ADVICE,
    FEATURES_EXAMPLE,
    TAG,
    find_collection,
    respond_with_features,
    respond_with_json,
)
from app.platform.db.database import ReadSession
from app.sensorthings.box_places import find_boxes_within
from app.standard_apis.reader_access import (
    ReaderAccess,
    ReaderAccessDependency,
    add_cache_headers,
    get_public_url,
)
from app.standard_apis.route_documentation import OPTIONAL_KEY, declare_parameter
from app.standard_apis.standard_route import StandardRoute

_VALUES_ADVICE: Final = (
    "Choose a shorter time range by `datetime`, a smaller area, or metrics by `parameter-name`."
)
router: Final = APIRouter(prefix=PREFIX, tags=[TAG], route_class=StandardRoute)
_CSV: Final = "location,longitude,latitude,time,pm2_5\r\n5a1f0c9e7b32,1.44,43.6,2026-11-01T00:00:00Z,12.5\r\n"
_VALUES: Final = document_response(
    COVERAGE_MEDIA_TYPE,
    {
        "type": "CoverageCollection",
        "domainType": "PointSeries",
        "parameters": {"pm2_5": {"type": "Parameter"}},
        "coverages": [{"type": "Coverage"}],
    },
    404,
    csv=_CSV,
)


async def _respond_with_coverages(
    request: Request,
    access: ReaderAccess,
    collection_id: str,
    query: ValuesQuery,
    choose: Callable[[ReadSession, SeriesQuery], Awaitable[Sequence[int]]],
) -> Response:
    """Answer with the values of the boxes that `choose` finds."""
    collection = find_collection(collection_id, measurements=True)
    series_query = SeriesQuery(query.metrics, query.span, collection.hourly)

    async def read(session: ReadSession) -> list[BoxCoverage]:
        return await read_coverages(session, await choose(session, series_query), series_query)

    coverages = await access.run(read, advice=_VALUES_ADVICE)
    base = get_public_url(request)

    def build() -> Response:
        if query.format == "CSV":
            response = Response(format_csv(coverages), media_type=CSV_MEDIA_TYPE)
            add_cache_headers(response, access.caller)
            return response
        locations = f"{base}{PREFIX}/collections/{collection.id}/locations"
        body = build_coverage_collection(coverages, base, locations)
        return respond_with_json(access.caller, body, COVERAGE_MEDIA_TYPE)

    # Formatting 100,000 values takes half a second.
    return await asyncio.to_thread(build)


@router.get(
    "/collections/{collection_id}/position",
    operation_id="get_ogc_position",
    summary="OGC API EDR: values of the nearest box",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=_VALUES,
)
async def get_position(
    request: Request,
    collection_id: CollectionId,
    query: ValuesQueryDependency,
    access: ReaderAccessDependency,
    coords: Annotated[str, declare_parameter("coords", "A point in well-known text", "POINT(1.44 43.6)")],
) -> Response:
    """Return the values of the nearest box that has such values, at most a kilometre from a point (else 404).

    Boxes without the metrics are passed over, but not those without values in the time range.
    Without `datetime`: all values, 100,000 at most (400 `query_too_large`). The coverage has the place of the
    box, not the point.
    """
    point = parse_coords(coords, area=False)

    async def choose(session: ReadSession, series_query: SeriesQuery) -> list[int]:
        return [await find_nearest_box(session, point, series_query)]

    return await _respond_with_coverages(request, access, collection_id, query, choose)


@router.get(
    "/collections/{collection_id}/area",
    operation_id="get_ogc_area",
    summary="OGC API EDR: values of all boxes in an area",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=_VALUES,
)
async def get_area(
    request: Request,
    collection_id: CollectionId,
    query: ValuesQueryDependency,
    access: ReaderAccessDependency,
    coords: Annotated[
        str,
        declare_parameter(
            "coords",
            "A polygon in well-known text, or several",
            "POLYGON((1.4 43.5,1.5 43.5,1.5 43.7,1.4 43.5))",
        ),
    ],
) -> Response:
    """Return the values of all boxes in an area: 500 series and 100,000 values at most."""
    area = parse_coords(coords, area=True)
    return await _respond_with_coverages(
        request, access, collection_id, query, lambda session, _: find_boxes_within(session, area)
    )


@router.get(
    "/collections/{collection_id}/locations",
    operation_id="list_ogc_locations",
    summary="OGC API EDR: locations of a collection",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_response(MEDIA_TYPE, FEATURES_EXAMPLE, 404),
    dependencies=[GEOJSON_ONLY],
)
async def list_locations(
    request: Request,
    collection_id: CollectionId,
    query: FeatureQueryDependency,
    access: ReaderAccessDependency,
) -> Response:
    """List the boxes as GeoJSON, each with its metrics and the address of its values."""
    collection = find_collection(collection_id, measurements=True)
    address = f"{get_public_url(request)}{PREFIX}/collections/{collection.id}/locations/"
    page = await access.run(
        lambda session: feature_service.list_locations(session, query, address.__add__),
        advice=FEATURES_ADVICE,
    )
    return respond_with_features(request, access, page)


@router.get(
    "/collections/{collection_id}/locations/{location_id}",
    operation_id="get_ogc_location",
    summary="OGC API EDR: values of a box",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=_VALUES,
)
async def get_location(
    request: Request,
    collection_id: CollectionId,
    location_id: Annotated[str, Path(description="The number of a box", examples=["5a1f0c9e7b32"])],
    query: ValuesQueryDependency,
    access: ReaderAccessDependency,
) -> Response:
    """Return the values of a box."""

    async def choose(session: ReadSession, _: SeriesQuery) -> list[int]:
        row = await find_feature(session, BOX_FEATURES, location_id)
        return [row["key"]]

    return await _respond_with_coverages(request, access, collection_id, query, choose)
