"""Parses the query options of a request. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from app.platform.kernel.rejection_codes import format_rejected_value
from app.sensorthings.entity_model import EntityType, get_target, is_collection
from app.sensorthings.query_grammar import parse_count, parse_option
from app.sensorthings.query_tree import QueryOptions
from app.standard_apis.query_error import QueryError

DEFAULT_TOP: Final = 100
"""Entities of a page, if `$top` does not say."""
MAX_TOP: Final = 10_000
"""The most entities of a page. A larger `$top` gives this many, and a link to the next page."""
_DEEPEST_EXPAND: Final = 6
_FORMATS: Final = ("dataarray", "csv", "json")
_PARSED: Final = {"$filter": "filter", "$orderby": "orderby", "$select": "select", "$expand": "expand"}
OPTION_NAMES: Final = (*_PARSED, "$top", "$skip", "$count", "$skipToken", "$resultFormat")


def parse_query_options(pairs: Iterable[tuple[str, str]]) -> QueryOptions:
    """Parse the query of a request.

    Args:
        pairs: Names and values, decoded.

    Raises:
        QueryError: An option is unknown, given twice, or has a fault.
    """
    known = {name.lower(): name for name in OPTION_NAMES}
    values: dict[str, str] = {}
    for given, value in pairs:
        name = known.get(given.lower())
        if name is None:
            raise QueryError(
                f"There is no query option {format_rejected_value(given)}. "
                f"Use one of: {', '.join(OPTION_NAMES)}.",
                code="invalid_option",
            )
        if name in values:
            raise QueryError(f"{name} is given twice.", code="invalid_option", option=name)
        values[name] = value
    options = QueryOptions(
        **{_PARSED[name]: parse_option(name, values[name]) for name in _PARSED if name in values}
    )
    if "$top" in values:
        options = replace(options, top=parse_count("$top", values["$top"]))
    if "$skip" in values:
        options = replace(options, skip=parse_count("$skip", values["$skip"]))
    if "$count" in values:
        options = replace(options, count=_parse_bool(values["$count"]))
    if "$resultFormat" in values:
        options = replace(options, result_format=_parse_format(values["$resultFormat"]))
    return replace(options, skip_token=values.get("$skipToken"))


def _parse_bool(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise QueryError("$count has to be true or false.", code="invalid_option", option="$count")
    return text.lower() == "true"


def _parse_format(text: str) -> str:
    if text.lower() not in _FORMATS:
        raise QueryError(
            f"$resultFormat has to be dataArray, csv or json, not {format_rejected_value(text)}.",
            code="invalid_option",
            option="$resultFormat",
        )
    return text.lower()


def check_names(entity: EntityType, options: QueryOptions, depth: int = 0) -> None:
    """Refuse names in `$select` and `$expand` that an entity type does not have, and deep expansions.

    Raises:
        QueryError: `unknown_property`, or `query_too_large`.
    """
    if depth > _DEEPEST_EXPAND:
        raise QueryError(
            f"$expand is nested more than {_DEEPEST_EXPAND} levels deep.",
            code="query_too_large",
            option="$expand",
        )
    for path in options.select or ():
        name = path.split("/", 1)[0]
        if name not in {"id", "selfLink", *entity.properties, *entity.links}:
            raise _unknown(entity, name, "$select", [*entity.properties, *entity.links])
    for name, inner in options.expand.items():
        if name not in entity.links:
            raise _unknown(entity, name, "$expand", list(entity.links))
        if not is_collection(name) and (inner.filter or inner.orderby or inner.top is not None or inner.skip):
            raise QueryError(
                f"{name} is one entity: it can be expanded with $select and $expand only.",
                code="invalid_option",
                option="$expand",
            )
        check_names(get_target(entity, name), inner, depth + 1)


def _unknown(entity: EntityType, name: str, option: str, known: list[str]) -> QueryError:
    return QueryError(
        f"A {entity.name} has no {format_rejected_value(name)}. It has: {', '.join(known)}.",
        code="unknown_property",
        option=option,
    )
