"""Answers a request for a resource of SensorThings within one snapshot of the database."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec

from app.catalogue.sensorthings_ids import make_observation_id
from app.platform.db.database import ReadSession
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.grant_limits import GrantLimits
from app.platform.kernel.instants import EARLIEST_US, LATEST_US
from app.sensorthings.entity_expansion import EntityExpander, page_size
from app.sensorthings.entity_json import EntityFormatter
from app.sensorthings.entity_model import DATASTREAM, OBSERVATION, EntityKey, EntityType, ObservationId
from app.sensorthings.entity_queries import FoundEntity, common_key, count_entities, find_entity, read_page
from app.sensorthings.observation_collections import ObservationPage, ObservationReader
from app.sensorthings.observation_queries import (
    FoundObservation,
    ObservationQuery,
    current_time_us,
    read_observations,
)
from app.sensorthings.observed_series import ObservedSeries
from app.sensorthings.query_options import check_names
from app.sensorthings.query_text import format_query
from app.sensorthings.query_tree import Literal, Operation, PropertyPath, QueryOptions
from app.sensorthings.relations import link_columns
from app.sensorthings.resource_path import PathStep, ResourcePath
from app.sensorthings.result_formats import build_data_arrays, format_csv
from app.standard_apis.query_error import QueryError

_JSON: Final = "application/json"
_CSV: Final = "text/csv; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_encode: Final = msgspec.json.Encoder().encode
type _Found = FoundEntity | FoundObservation


class ResourceAnswer(NamedTuple):
    """The body of a response with its media type, and the link to the next page if the body lacks it."""

    body: bytes
    media_type: str = _JSON
    next_link: str | None = None


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """A request.

    Attributes:
        path: The resource.
        options: The query options.
        pairs: The query as it was given.
        root: The absolute address of the service root.
        base: The absolute address of the installation.
        address: The absolute address of the resource, without its query.
        grant: The limits of a third party that reads by a grant; None for all others.
    """

    path: ResourcePath
    options: QueryOptions
    pairs: Sequence[tuple[str, str]]
    root: str
    base: str
    address: str
    grant: GrantLimits | None = None


def check_request(request: ResourceRequest) -> None:
    """Refuse options that do not fit the resource (QueryError)."""
    options, path = request.options, request.path
    check_names(path.entity, options)
    given = {name.lower() for name, _ in request.pairs}
    if not path.is_collection and given & {"$filter", "$orderby", "$top", "$skip", "$count", "$skiptoken"}:
        raise QueryError(
            "This address is one entity: only $select and $expand apply to it.", code="invalid_option"
        )
    if path.members and given:
        raise QueryError("This address is a property: no query options apply to it.", code="invalid_option")
    if options.result_format == "dataarray" and not (path.is_collection and path.entity is OBSERVATION):
        raise QueryError(
            "$resultFormat=dataArray applies to collections of Observations.",
            code="invalid_option",
            option="$resultFormat",
        )


async def answer_request(session: ReadSession, request: ResourceRequest) -> ResourceAnswer:
    """Answer a request.

    Raises:
        NotFoundError: The resource does not exist, or the caller may not see it.
        QueryError: The query has a fault.
    """
    found_parent = await _find_parent(session, request.path)
    parent = None if found_parent is None else (found_parent[0], [_key(found_parent[1])])
    expander = EntityExpander(session, EntityFormatter(request.root, request.base), request.grant)
    if request.path.is_collection:
        datastream = _find_datastream(found_parent)
        return await _answer_collection(session, request, parent, expander, datastream=datastream)
    found = await _find_step(session, request.path.steps[-1], parent)
    return await _answer_entity(request, found, expander)


type _Parent = tuple[EntityType, list[EntityKey]] | None


async def _find_parent(session: ReadSession, path: ResourcePath) -> tuple[EntityType, _Found] | None:
    """Find the entity whose link leads to the resource; None: the resource begins at an entity set."""
    parent: _Parent = None
    found: tuple[EntityType, _Found] | None = None
    for step in path.steps[:-1]:
        found = step.entity, await _find_step(session, step, parent)
        parent = step.entity, [_key(found[1])]
    return found


def _find_datastream(parent: tuple[EntityType, _Found] | None) -> ObservedSeries | None:
    """Return the Datastream that a parent is; None: it is none."""
    if parent is None or parent[0] is not DATASTREAM or not isinstance(parent[1], FoundEntity):
        return None
    return ObservedSeries.of(parent[1].row)


def _key(found: _Found) -> EntityKey:
    if isinstance(found, FoundEntity):
        return found.key
    series = found.series
    return EntityKey(series.box_key, series.metric.name, series.hourly, found.time_us)


async def _find_step(session: ReadSession, step: PathStep, parent: _Parent) -> _Found:
    if step.entity is OBSERVATION:
        return await _find_observation(session, step.identifier or "", parent)
    found = await find_entity(session, step.entity, [] if parent is None else [parent], step.identifier)
    if found is None:
        raise NotFoundError(step.entity.name, step.identifier or step.link)
    return found


async def _find_observation(session: ReadSession, identifier: str, parent: _Parent) -> FoundObservation:
    missing = NotFoundError("Observation", identifier)
    parsed = ObservationId.parse(identifier)
    if parsed is None or not EARLIEST_US <= parsed.time_us < LATEST_US:
        raise missing
    datastream = await find_entity(session, DATASTREAM, [], parsed.datastream)
    if datastream is None:
        raise missing
    if parent is not None:
        names = link_columns(parent[0], OBSERVATION)
        if common_key(parent[1][0], names) != common_key(datastream.key, names):
            raise missing
    at = Operation("eq", PropertyPath(("phenomenonTime",), 0), Literal("instant", parsed.time_us, 0), 0)
    query = ObservationQuery((at,), now_us=current_time_us())
    rows = await read_observations(session, ObservedSeries.of(datastream.row), query, 1)
    if not rows:
        raise missing
    return rows[0]


async def _answer_entity(request: ResourceRequest, found: _Found, expander: EntityExpander) -> ResourceAnswer:
    path, options = request.path, request.options
    if isinstance(found, FoundObservation):
        made = await expander.format_observations([found], options, flagged=options.selects("resultQuality"))
    else:
        made = await expander.format_entities(path.entity, [found], options)
    entity = made[0]
    if path.references:
        chosen = {"@iot.selfLink": expander.formatter.address(path.entity, _identify(found))}
        return ResourceAnswer(_encode(chosen))
    if path.members:
        return _answer_member(path, entity)
    if options.result_format == "csv":
        return ResourceAnswer(format_csv([entity]).encode(), _CSV)
    return ResourceAnswer(_encode(entity))


def _identify(found: _Found) -> str:
    """Return the id of an entity."""
    if isinstance(found, FoundEntity):
        return str(found.row["$id"])
    return make_observation_id(found.series.id, found.time_us)


def _answer_member(path: ResourcePath, entity: dict[str, Any]) -> ResourceAnswer:
    names = [f"@iot.{path.members[0]}" if path.members[0] in {"id", "selfLink"} else path.members[0]]
    names += path.members[1:]
    value: Any = entity
    for name in names:
        if not isinstance(value, dict) or name not in value:
            raise NotFoundError("property", "/".join(path.members))
        value = value[name]
    if not path.raw:
        return ResourceAnswer(_encode({path.members[-1]: value}))
    if isinstance(value, str):
        return ResourceAnswer(value.encode(), _TEXT)
    return ResourceAnswer(_encode(value), _JSON if isinstance(value, (dict, list)) else _TEXT)


async def _answer_collection(
    session: ReadSession,
    request: ResourceRequest,
    parent: _Parent,
    expander: EntityExpander,
    *,
    datastream: ObservedSeries | None,
) -> ResourceAnswer:
    options, entity = request.options, request.path.entity
    top = page_size(options)
    if request.path.references:
        options = replace(options, select=("selfLink",), expand={})
    datastream_ids: list[str] = []
    if entity is OBSERVATION:
        reader = ObservationReader.of(session, parent, options, datastream)
        count = await reader.count() if options.count else None
        page = await reader.page(top) if top else ObservationPage([], None)
        single = parent is not None and parent[0] is DATASTREAM
        flagged = (single and options.select is None) or (
            options.select is not None and options.selects("resultQuality")
        )
        value = await expander.format_observations(page.observations, options, flagged=flagged)
        datastream_ids, token = [each.series.id for each in page.observations], page.token
    else:
        conditions = [] if parent is None else [parent]
        count = await count_entities(session, entity, conditions, options.filter) if options.count else None
        found = await read_page(session, entity, conditions, options, top)
        value = await expander.format_entities(entity, found.entities, options)
        token = found.token
    next_link = None if token is None or not top else _next_link(request, token)
    if options.result_format == "csv":
        return ResourceAnswer(format_csv(value).encode(), _CSV, next_link)
    body: dict[str, Any] = {} if count is None else {"@iot.count": count}
    if next_link is not None:
        body["@iot.nextLink"] = next_link
    if options.result_format == "dataarray":
        value = build_data_arrays(request.root, list(zip(datastream_ids, value, strict=True)), options.select)
    body["value"] = value
    return ResourceAnswer(_encode(body))


def _next_link(request: ResourceRequest, token: str) -> str:
    pairs = [(name, value) for name, value in request.pairs if name.lower() not in {"$skip", "$skiptoken"}]
    return f"{request.address}?{format_query([*pairs, ('$skipToken', token)])}"
