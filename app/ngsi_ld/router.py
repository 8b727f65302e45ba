"""Serves entities of NGSI-LD at `/ngsi-ld/v1`: reading only, with or without a key.

With a key it serves the tenant scope. Without one it serves open data, if the operator enabled that.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Request, Response

from app.measurement_stream.formats.ngsi_ld import CONTEXTS, MEDIA_TYPE
from app.ngsi_ld.entity_json import simplify_entity
from app.ngsi_ld.entity_queries import find_entity, list_types, read_entities
from app.ngsi_ld.ngsi_ld_errors import BAD_REQUEST_DATA, RESOURCE_NOT_FOUND, ResourceNotFoundError
from app.ngsi_ld.query_parameters import (
    DEFAULT_LIMIT,
    MOST_ENTITIES,
    MOST_SKIPPED,
    EntityId,
    parse_attributes,
    parse_entity_query,
    parse_simplified,
)
from app.platform.identity.caller_authentication import Principal
from app.standard_apis.reader_access import (
    ReaderAccessDependency,
    add_cache_headers,
    get_public_url,
)
from app.standard_apis.route_documentation import OPTIONAL_KEY, declare_parameter, document_json
from app.standard_apis.standard_route import StandardRoute

PREFIX: Final = "/ngsi-ld/v1"
TAG: Final = "NGSI-LD"


class NgsiLdRoute(StandardRoute):
    """A route whose refusals have the type that the standard names."""

    problem_type = BAD_REQUEST_DATA
    missing_type = RESOURCE_NOT_FOUND


router: Final = APIRouter(prefix=PREFIX, tags=[TAG], route_class=NgsiLdRoute)
_JSON: Final = "application/json"
_CONTEXT_PATH: Final = f"{PREFIX}/jsonldContexts/vigie"
_CONTEXT_RELATION: Final = "http://www.w3.org/ns/json-ld#context"
_WAIT: Final = "Try again later."
_ADVICE: Final = "Choose fewer types or a smaller area, or a smaller `limit`."
_encode: Final = msgspec.json.Encoder().encode
_ENTITY: Final = {
    "id": "urn:ngsi-ld:AirQualityObserved:box-0001",
    "type": "AirQualityObserved",
    "pm25": {"type": "Property", "value": 12.5, "unitCode": "GQ", "observedAt": "2026-11-01T00:00:00Z"},
    "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1.44, 43.6]}},
}


_Attributes = Annotated[
    str | None, declare_parameter("attrs", "Attributes, separated by commas; all by default", "pm25,location")
]
_Options = Annotated[
    str | None, declare_parameter("options", "`keyValues`: values without their metadata", "keyValues")
]
Accept = Annotated[
    str | None, Header(description="`application/ld+json` puts `@context` into the body", examples=[_JSON])
]


async def _collect_parameters(  # noqa: PLR0917 (query parameters)
    type_: Annotated[
        str | None, declare_parameter("type", "Types, separated by commas; short names or IRIs", "Device")
    ] = None,
    id_: Annotated[
        str | None, declare_parameter("id", "Ids, separated by commas", "urn:ngsi-ld:Device:box-0001")
    ] = None,
    attrs: _Attributes = None,
    georel: Annotated[
        str | None,
        declare_parameter("georel", "`near;maxDistance==METRES`, or `within`", "near;maxDistance==500"),
    ] = None,
    geometry: Annotated[
        str | None,
        declare_parameter("geometry", "`Point` with near; `Polygon` or `MultiPolygon` with within", "Point"),
    ] = None,
    coordinates: Annotated[
        str | None,
        declare_parameter("coordinates", "Coordinates of the geometry, as in GeoJSON", "[1.44,43.6]"),
    ] = None,
    q: Annotated[
        str | None, declare_parameter("q", "A filter by values: not supported (422)", "pm25>25")
    ] = None,
    limit: Annotated[
        str | None,
        declare_parameter(
            "limit",
            f"Entities of a page: {DEFAULT_LIMIT} by default, {MOST_ENTITIES:,} at most; 0 only with `count`",
            "100",
        ),
    ] = None,
    offset: Annotated[str | None, declare_parameter("offset", "How many entities to leave out", "0")] = None,
    count: Annotated[
        str | None, declare_parameter("count", "`true` adds the header NGSILD-Results-Count", "true")
    ] = None,
) -> dict[str, str]:
    given = {
        "type": type_,
        "id": id_,
        "attrs": attrs,
        "georel": georel,
        "geometry": geometry,
        "coordinates": coordinates,
        "q": q,
        "limit": limit,
        "offset": offset,
        "count": count,
    }
    return {name: value for name, value in given.items() if value is not None}


def document_answer(
    example: Mapping[str, Any] | Sequence[Any], *problems: int, status_code: int = 200
) -> dict[int | str, dict[str, Any]]:
    """Document a response of JSON or JSON-LD by an example, and its problems."""
    return document_json(example, 400, *problems, media_types=(_JSON, MEDIA_TYPE), status_code=status_code)


def respond(
    request: Request,
    caller: Principal | None,
    body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    accept: str | None,
    *,
    status_code: int = 200,
) -> Response:
    """Encode entities or subscriptions with `@context` in the body, or as a header."""
    context = f"{get_public_url(request)}{_CONTEXT_PATH}"
    if accept is not None and MEDIA_TYPE in accept:
        whole: Any = (
            {**body, "@context": context}
            if isinstance(body, Mapping)
            else [{**each, "@context": context} for each in body]
        )
        response = Response(_encode(whole), status_code, media_type=MEDIA_TYPE)
    else:
        response = Response(_encode(body), status_code, media_type=_JSON)
        response.headers["Link"] = f'<{context}>; rel="{_CONTEXT_RELATION}"; type="{MEDIA_TYPE}"'
    add_cache_headers(response, caller)
    response.headers["Vary"] = "Authorization, Accept"
    return response


@router.get(
    "/entities",
    operation_id="list_ngsi_ld_entities",
    summary="NGSI-LD: entities",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_answer([_ENTITY], 422),
)
async def list_entities(
    request: Request,
    given: Annotated[dict[str, str], Depends(_collect_parameters)],
    access: ReaderAccessDependency,
    options: _Options = None,
    accept: Accept = None,
) -> Response:
    """List AirQualityObserved, NoiseLevelObserved and Device of the Smart Data Models: the latest values.

    With a key (`sites:read` and `telemetry:read`): boxes of its tenant scope. Without one: open data at the
    published precision, if the operator enabled that (else 401 `anonymous_access_disabled`).
    """
    simplified = parse_simplified(options)
    query = parse_entity_query(given)
    page = await access.run(lambda session: read_entities(session, query), advice=_ADVICE)
    entities = [simplify_entity(each) for each in page.entities] if simplified else page.entities
    response = respond(request, access.caller, entities, accept)
    following = query.offset + query.limit if page.has_more else None
    add_count_and_next(request, response, total=page.total, following=following, limit=query.limit)
    return response


def add_count_and_next(
    request: Request, response: Response, *, total: int | None, following: int | None, limit: int
) -> None:
    """Add the headers of a page: the number on all pages, and the link to the next one.

    Args:
        request: of the page.
        response: the page.
        total: the number on all pages; None: it was not wanted.
        following: the offset of the next page; None: there is none.
        limit: how many a page has.
    """
    if total is not None:
        response.headers["NGSILD-Results-Count"] = str(total)
    # A greater offset would be refused.
    if following is not None and following <= MOST_SKIPPED:
        target = request.url.include_query_params(offset=following, limit=limit)
        address = f"{get_public_url(request)}{target.path}?{target.query}"
        response.headers.append("Link", f'<{address}>; rel="next"; type="{response.media_type or _JSON}"')


@router.get(
    "/entities/{entity_id}",
    operation_id="get_ngsi_ld_entity",
    summary="NGSI-LD: an entity",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_answer(_ENTITY, 404),
)
async def get_entity(  # noqa: PLR0917 (query parameters)
    request: Request,
    entity_id: Annotated[str, Path(description="An id", examples=["urn:ngsi-ld:Device:box-0001"])],
    access: ReaderAccessDependency,
    attrs: _Attributes = None,
    options: _Options = None,
    accept: Accept = None,
) -> Response:
    """Read an entity with its latest values."""
    simplified, attributes = parse_simplified(options), parse_attributes(attrs)
    identifier = EntityId.parse(entity_id)
    if identifier is None:
        raise ResourceNotFoundError(entity_id)
    found = await access.run(lambda session: find_entity(session, identifier, attributes), advice=_WAIT)
    if found is None:
        raise ResourceNotFoundError(entity_id)
    return respond(request, access.caller, simplify_entity(found) if simplified else found, accept)


@router.get(
    "/types",
    operation_id="list_ngsi_ld_types",
    summary="NGSI-LD: types of entities",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_answer({"type": "EntityTypeList", "typeList": ["Device"]}),
)
async def list_entity_types(
    request: Request, access: ReaderAccessDependency, accept: Accept = None
) -> Response:
    """List the types of which there are entities."""
    found = await access.run(list_types, advice=_WAIT)
    body = {"id": "urn:ngsi-ld:EntityTypeList:vigie", "type": "EntityTypeList", "typeList": found}
    return respond(request, access.caller, body, accept)


@router.get(
    "/jsonldContexts/vigie",
    operation_id="get_ngsi_ld_context",
    summary="NGSI-LD: the context of all entities",
    response_class=Response,
    responses={
        200: {
            "content": {
                MEDIA_TYPE: {
                    "schema": {"type": "object", "additionalProperties": True},
                    "example": {"@context": list(CONTEXTS)},
                }
            }
        }
    },
)
async def get_context() -> Response:
    """Return the `@context` that defines the names of types and attributes. It needs no key."""
    response = Response(_encode({"@context": CONTEXTS}), media_type=MEDIA_TYPE)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
