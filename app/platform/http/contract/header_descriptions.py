"""Documents what routes share in the OpenAPI document: idempotency keys, ETags, preconditions, scopes.

It derives the headers, and the problems that come with them, from each route. Their behaviour is in
`app.platform.http.contract.idempotency`, `app.platform.http.contract.etags` and
`app.platform.http.contract.strict_body`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.platform.http.contract.etags import ETAG, IF_MATCH, IF_NONE_MATCH
from app.platform.http.contract.idempotency import HEADER, PATTERN
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import StrictRoute

_KEY: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A key of your choice, such as a UUID. If you retry within 24 hours with the same key and "
    "body, the call is not executed again: you get the first response, with `Idempotency-Replayed: true`",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": PATTERN},
}
_ETAG: Final[dict[str, Any]] = {
    "description": "The version of the resource, for `If-None-Match` and `If-Match`",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH: Final[dict[str, Any]] = {
    "name": IF_NONE_MATCH,
    "in": "header",
    "required": False,
    "description": "ETags of your copies: 304 if one of them is current",
    "schema": {"type": "string"},
}


def describe_headers(app: FastAPI, document: dict[str, Any]) -> None:
    """Add the headers and their problems to the OpenAPI document of an application."""
    for operation, route in _operations(app, document):
        if route.requirements:
            _add_problems(operation, 403)
        if route.accepts_idempotency_key:
            operation.setdefault("parameters", []).append(_KEY)
            _add_problems(operation, 409, 422, 503)
        if route.read_scopes:
            _describe_unshown(operation, route.read_scopes)
        if route.etag_policy is not None:
            _describe_tags(operation, reads="GET" in (route.methods or ()))
        if any(each["name"] == IF_MATCH for each in operation.get("parameters", [])):
            _add_problems(operation, 412)


def _operations(app: FastAPI, document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], StrictRoute]]:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, StrictRoute):
            continue
        for method in route.methods or ():
            operation = document["paths"].get(context.path_format, {}).get(method.lower())
            if operation is not None:
                yield operation, route


def _describe_tags(operation: dict[str, Any], *, reads: bool) -> None:
    for status in ("200", "201"):
        if status in operation["responses"]:
            operation["responses"][status].setdefault("headers", {})[ETAG] = _ETAG
    if reads:
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
        operation["responses"]["304"] = {"description": "Not modified", "headers": {ETAG: _ETAG}}


def _describe_unshown(operation: dict[str, Any], scopes: Iterable[str]) -> None:
    needed = " and ".join(f"`{scope}`" for scope in dict.fromkeys(scopes))
    operation["responses"]["204"] = {
        "description": f"Done. The response has no body, because the caller lacks {needed} to read it"
    }


def _add_problems(operation: dict[str, Any], *statuses: int) -> None:
    for status, answer in document_problems(*statuses).items():
        operation["responses"].setdefault(str(status), answer)
