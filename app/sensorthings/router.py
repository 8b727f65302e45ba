"""Serves OGC SensorThings API 1.1 at `/sensorthings/v1.1`: reading only, with or without a key.

Without a key it serves open data, if the operator enabled that. One route serves all resources. The OpenAPI
document has the one of an entity set instead: no template of it can express chains of links.
"""

from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Request, Response

from app.platform.http.contract.session_dependencies import make_json_response
from app.platform.identity.grant_access import open_to_grants
from app.sensorthings.conformance import CONFORMANCE
from app.sensorthings.entity_model import ENTITY_SETS
from app.sensorthings.query_options import parse_query_options
from app.sensorthings.resource_path import parse_resource_path
from app.sensorthings.resource_service import ResourceRequest, answer_request, check_request
from app.standard_apis.reader_access import (
    Caller,
    ReaderAccess,
    ReaderAccessDependency,
    add_cache_headers,
    get_public_url,
)
from app.standard_apis.route_documentation import OPTIONAL_KEY, declare_parameter, document_json

PREFIX: Final = "/sensorthings/v1.1"
router: Final = APIRouter(prefix=PREFIX, tags=["SensorThings"])
_JSON: Final = ("application/json",)
_LONGEST_OPTION: Final = 8_000
_ADVICE: Final = "Limit it by `phenomenonTime`, read the Observations of one Datastream, or expand less."


def _option(name: str, description: str, example: str) -> Any:  # noqa: ANN401 (FastAPI's)
    return declare_parameter(name, description, example, longest=_LONGEST_OPTION)


async def _document_options(  # noqa: PLR0917 (query options)
    filter_: Annotated[
        str | None, _option("$filter", "A condition in OData's syntax", "name eq 'Rue d''Alsace'")
    ] = None,
    select: Annotated[
        str | None, _option("$select", "Properties, separated by commas", "name,properties")
    ] = None,
    expand: Annotated[
        str | None,
        _option(
            "$expand",
            "Links whose entities are included, with their own options in parentheses",
            "Datastreams($select=name;$top=5)",
        ),
    ] = None,
    orderby: Annotated[
        str | None, _option("$orderby", "Properties with `asc` or `desc`", "name desc")
    ] = None,
    top: Annotated[
        str | None, _option("$top", "Entities of a page: 100 by default, 10,000 at most", "20")
    ] = None,
    skip: Annotated[str | None, _option("$skip", "How many entities to leave out", "0")] = None,
    count: Annotated[
        str | None, _option("$count", "`true` adds the number of all entities (`@iot.count`)", "true")
    ] = None,
    skip_token: Annotated[
        str | None, _option("$skipToken", "Part of `@iot.nextLink`; opaque", "WyJhIl0")
    ] = None,
    result_format: Annotated[
        str | None, _option("$resultFormat", "`dataArray` (Observations), `csv`, or `json`", "csv")
    ] = None,
) -> None:
    """Document the query options, which are parsed from the query itself."""
    del filter_, select, expand, orderby, top, skip, count, skip_token, result_format


_ROOT_EXAMPLE: Final = {
    "serverSettings": {"conformance": ["http://www.opengis.net/spec/iot_sensing/1.1/req/datamodel"]},
    "value": [{"name": "Things", "url": "https://vigie.example/sensorthings/v1.1/Things"}],
}
_COLLECTION_EXAMPLE: Final = {
    "@iot.count": 1,
    "value": [
        {
            "@iot.selfLink": "https://vigie.example/sensorthings/v1.1/Things('5a1f0c9e7b32')",
            "@iot.id": "5a1f0c9e7b32",
            "name": "Box 5a1f0c9e7b32",
            "description": "Box at Rue d'Alsace-Lorraine",
            "properties": {"site": "Rue d'Alsace-Lorraine"},
        }
    ],
}


@router.get(
    "",
    operation_id="get_sensorthings_root",
    summary="SensorThings: entity sets and conformance",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_json(_ROOT_EXAMPLE, media_types=_JSON),
)
@router.get("/", include_in_schema=False)
@open_to_grants("sensorthings")
async def get_root(request: Request, caller: Caller) -> Response:
    """List the entity sets of OGC SensorThings API 1.1, and the requirement classes that are fulfilled."""
    root = get_public_url(request) + PREFIX
    body = {
        "serverSettings": {"conformance": list(CONFORMANCE)},
        "value": [{"name": name, "url": f"{root}/{name}"} for name in ENTITY_SETS],
    }
    response = make_json_response(body)
    add_cache_headers(response, caller)
    return response


@router.get("/{path:path}", include_in_schema=False)
@open_to_grants("sensorthings")
async def get_resource_at_path(request: Request, path: str, access: ReaderAccessDependency) -> Response:
    """Return the resource of a chain of links."""
    return await _respond(request, path, access)


# The route above answers; this one documents it, with the options that it parses itself.
@router.get(
    "/{entity_set}",
    operation_id="list_sensorthings_entities",
    summary="SensorThings: a page of an entity set",
    response_class=Response,
    openapi_extra=OPTIONAL_KEY,
    responses=document_json(_COLLECTION_EXAMPLE, 400, 404, media_types=_JSON),
    dependencies=[Depends(_document_options)],
)
@open_to_grants("sensorthings")
async def list_entities(
    request: Request,
    entity_set: Annotated[
        str,
        Path(
            description="An entity set",
            examples=["Things"],
            json_schema_extra={"enum": list(ENTITY_SETS)},
        ),
    ],
    access: ReaderAccessDependency,
) -> Response:
    """List Things, Locations, Datastreams or other entities, with OData's query options.

    With a key (`sites:read` and `telemetry:read`): the boxes of its tenant scope. With the key of a grant:
    its sites, metrics and times. Without one: open data, at the places' published precision, if the operator
    enabled that (else 401 `anonymous_access_disabled`).
    `Things('…')` and chains such as `Things('…')/Datastreams` are addresses, too.
    """
    return await _respond(request, entity_set, access)


async def _respond(request: Request, path: str, access: ReaderAccess) -> Response:
    base = get_public_url(request)
    root = base + PREFIX
    pairs = request.query_params.multi_items()
    resource_request = ResourceRequest(
        parse_resource_path(path),
        parse_query_options(pairs),
        pairs,
        root,
        base,
        f"{root}/{quote(path.strip('/'), safe="/()'$,@")}",
        access.grant,
    )
    check_request(resource_request)

    answer = await access.run(lambda session: answer_request(session, resource_request), advice=_ADVICE)
    response = Response(answer.body, media_type=answer.media_type)
    if answer.next_link is not None:
        response.headers["Link"] = f'<{answer.next_link}>; rel="next"'
    add_cache_headers(response, access.caller)
    return response
