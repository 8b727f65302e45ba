"""The OpenAPI document's part on headers that hold for many calls at once.

Owns their description. What they do is `app.core.idempotency`'s matter.
"""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.core.idempotency import HEADER, PATTERN
from app.core.problems import documented
from app.core.strict_body import StrictRoute

_KEY: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Of your choice, such as a UUID: sent again within 24 hours with the same body, the call "
    "is not carried out once more, and the first answer comes with `Idempotency-Replayed: true`",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": PATTERN},
}


def describe(app: FastAPI, document: dict[str, Any]) -> None:
    """Put the headers into the OpenAPI document of an application."""
    for operation, route in _operations(app, document):
        if route.takes_key:
            operation.setdefault("parameters", []).append(_KEY)
            _may_answer(operation, 409, 422, 503)


def _operations(app: FastAPI, document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], StrictRoute]]:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, StrictRoute):
            continue
        for method in route.methods or ():
            operation = document["paths"].get(context.path_format, {}).get(method.lower())
            if operation is not None:
                yield operation, route


def _may_answer(operation: dict[str, Any], *statuses: int) -> None:
    for status, answer in documented(*statuses).items():
        operation["responses"].setdefault(str(status), answer)
