"""Serves OGC API Features 1.0 at `/ogc`, and what EDR has in common with it: reading only.

With a key it serves the tenant scope. Without one it serves open data, if the operator enabled that.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from app.ogc_api import feature_service
from app.ogc_api.collection_descriptions import (
    COLLECTIONS,
    CONFORMANCE,
    JSON,
    PREFIX,
    Collection,
    build_collection,
    build_landing_page,
    make_link,
)
from app.ogc_api.feature_json import MEDIA_TYPE, build_feature_collection
from app.ogc_api.feature_service import FeatureList, find_collection_extents
from app.ogc_api.route_parameters import (
    GEOJSON_ONLY,
    JSON_ONLY,
    CollectionId,
    FeatureQueryDependency,
    document_response,
)
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import make_json_response
from app.platform.kernel.errors import NotFoundError
from app.sensorthings.observation_queries import current_time_us
from app.standard_apis.reader_access import (
    Caller,
    ReaderAccess,
    ReaderAccessDependency,
    add_cache_headers,
    get_public_url,
)
from app.standard_apis.route_documentation import OPTIONAL_KEY
from app.standard_apis.standard_route import StandardRoute

TAG: Final = "OGC API"
router: Final = APIRouter(prefix=PREFIX, tags=[TAG], route_class=StandardRoute)
FEATURES_ADVICE: Final = "Choose a smaller `bbox`, or a smaller `limit`."
_WAIT: Final = "Try again later."
_FEATURE: Final = {
    "type": "Feature",
    "id": "5a1f0c9e7b32",
    "geometry": {"type": "Point", "coordinates": [1.44, 43.6]},
    "properties": {"site": "Rue d'Alsace-Lorraine", "time": "2026-11-01T00:00:00Z", "pm2_5": 12.5},
}
FEATURES_EXAMPLE: Final = {
    "type": "FeatureCollection",
    "features": [_FEATURE],
    "numberMatched": 1,
    "numberReturned": 1,
}
_COLLECTION: Final = {"id": "boxes", "title": "Boxes", "itemType": "feature"}


def respond_with_json(caller: Caller, body: Mapping[str, Any], media_type: str = JSON) -> Response:
    """Encode a response as JSON of a media type."""
    response = make_json_response(body)
    response.headers["Content-Type"] = media_type
    add_cache_headers(response, caller)
    return response


def find_collection(identifier: str, *, measurements: bool) -> Collection:
    """Return a collection that has values of boxes, or features (NotFoundError)."""
    found = COLLECTIONS.get(identifier)
    if found is None:
        raise NotFoundError("collection", identifier)
    if found.has_values is not measurements:
        kind = "collection of measurements" if measurements else "collection of features"
        raise NotFoundError(kind, identifier)
    return found


@router.get(
    "",
    operation_id="get_ogc_landing_page",
    summary="OGC API: landing page",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_response(JSON, {"title": "Vigie", "links": []}),
    dependencies=[JSON_ONLY],
)
@router.get("/", include_in_schema=False)
async def get_landing_page(request: Request, caller: Caller) -> Response:
    """Link to the collections, the conformance classes and the OpenAPI document."""
    return respond_with_json(caller, build_landing_page(get_public_url(request)))


@router.get(
    "/conformance",
    operation_id="list_ogc_conformance_classes",
    summary="OGC API: conformance classes",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_response(JSON, {"conformsTo": [CONFORMANCE[0]]}),
    dependencies=[JSON_ONLY],
)
async def list_conformance_classes(caller: Caller) -> Response:
    """List the conformance classes of OGC API Common, Features and EDR that are fulfilled."""
    return respond_with_json(caller, {"conformsTo": CONFORMANCE})


@router.get(
    "/api",
    operation_id="get_ogc_api_definition",
    summary="OGC API: the OpenAPI document",
    status_code=307,
    response_class=RedirectResponse,
    openapi_extra=OPTIONAL_KEY,
    responses=document_problems(401, 403),
)
async def get_api_definition(request: Request, caller: Caller) -> Response:
    """Redirect to the OpenAPI document of the installation, which has these routes."""
    response = RedirectResponse(f"{get_public_url(request)}{request.app.openapi_url}")
    add_cache_headers(response, caller)
    return response


@router.get(
    "/collections",
    operation_id="list_ogc_collections",
    summary="OGC API: collections",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_response(JSON, {"collections": [_COLLECTION]}),
    dependencies=[JSON_ONLY],
)
async def list_collections(request: Request, access: ReaderAccessDependency) -> Response:
    """List places, boxes, measurements and hourly means, with the extents of what the caller may see."""
    base = get_public_url(request)

    found = await access.run(
        lambda session: find_collection_extents(session, COLLECTIONS.values()), advice=_WAIT
    )
    described = [build_collection(collection, extent, base) for collection, extent in found]
    links = [make_link(f"{base}{PREFIX}/collections", "self", "The collections")]
    return respond_with_json(access.caller, {"links": links, "collections": described})


@router.get(
    "/collections/{collection_id}",
    operation_id="get_ogc_collection",
    summary="OGC API: a collection",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_response(JSON, _COLLECTION, 404),
    dependencies=[JSON_ONLY],
)
async def get_collection(
    request: Request, collection_id: CollectionId, access: ReaderAccessDependency
) -> Response:
    """Describe a collection: extent, links, and of measurements their metrics and queries."""
    collection = COLLECTIONS.get(collection_id)
    if collection is None:
        raise NotFoundError("collection", collection_id)
    ((_, extent),) = await access.run(
        lambda session: find_collection_extents(session, [collection]), advice=_WAIT
    )
    return respond_with_json(access.caller, build_collection(collection, extent, get_public_url(request)))


@router.get(
    "/collections/{collection_id}/items",
    operation_id="list_ogc_features",
    summary="OGC API: features of a collection",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_response(MEDIA_TYPE, FEATURES_EXAMPLE, 404),
    dependencies=[GEOJSON_ONLY],
)
async def list_features(
    request: Request,
    collection_id: CollectionId,
    query: FeatureQueryDependency,
    access: ReaderAccessDependency,
) -> Response:
    """List places or boxes as GeoJSON, in the order of their ids. Boxes have their latest values.

    With a key (`sites:read` and `telemetry:read`): those of its tenant scope, exact. Without one: open data
    at the published precision, if the operator enabled that (else 401 `anonymous_access_disabled`).
    """
    collection = find_collection(collection_id, measurements=False)
    page = await access.run(
        lambda session: feature_service.list_features(session, collection, query), advice=FEATURES_ADVICE
    )
    return respond_with_features(request, access, page)


def respond_with_features(request: Request, access: ReaderAccess, page: FeatureList) -> Response:
    """Encode a page of features with the links to itself and to the next page."""
    address = f"{get_public_url(request)}{request.url.path}"
    pairs = request.query_params.multi_items()
    query = urlencode(pairs)
    links = [make_link(f"{address}?{query}" if query else address, "self", "This page", MEDIA_TYPE)]
    if page.after is not None:
        following = [(name, value) for name, value in pairs if name != "after"]
        target = f"{address}?{urlencode([*following, ('after', page.after)])}"
        links.append(make_link(target, "next", "The next page", MEDIA_TYPE))
    body = build_feature_collection(
        page.features, matched=page.matched, links=links, now_us=current_time_us()
    )
    return respond_with_json(access.caller, body, MEDIA_TYPE)


@router.get(
    "/collections/{collection_id}/items/{feature_id}",
    operation_id="get_ogc_feature",
    summary="OGC API: a feature",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_response(MEDIA_TYPE, _FEATURE, 404),
    dependencies=[GEOJSON_ONLY],
)
async def get_feature(
    request: Request,
    collection_id: CollectionId,
    feature_id: Annotated[str, Path(description="The id of a place or a box", examples=["5a1f0c9e7b32"])],
    access: ReaderAccessDependency,
) -> Response:
    """Read a place or a box as GeoJSON."""
    collection = find_collection(collection_id, measurements=False)
    feature = await access.run(
        lambda session: feature_service.get_feature(session, collection, feature_id), advice=_WAIT
    )
    address = f"{get_public_url(request)}{PREFIX}/collections/{collection.id}"
    links = [
        make_link(f"{address}/items/{feature['id']}", "self", "This feature", MEDIA_TYPE),
        make_link(address, "collection", collection.title),
    ]
    return respond_with_json(access.caller, {**feature, "links": links}, MEDIA_TYPE)
