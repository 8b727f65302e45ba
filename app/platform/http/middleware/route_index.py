"""Finds the route of a request by its path, instead of trying all routes.

FastAPI tries the routes of an application one after the other, which takes longer than many calls. The index
tries only those whose path begins alike, and passes the request to the router of the one that matches. Where
it finds none, FastAPI tries all routes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from app.platform.http.contract.problems import make_problem_response
from app.platform.http.contract.query_parameters import list_query_parameters, reject_unknown_parameters
from app.platform.http.contract.strict_body import StrictRoute

_FOUND: Final = "vigie.route"

type RequestGuard = Callable[[Scope], None]
"""Checks every request; raises a VigieError to refuse it."""


class _IndexedRoute(NamedTuple):
    """A route of an application.

    Attributes:
        pattern: what its paths match.
        methods: its methods.
        router: the router that serves it.
        parameters: its query parameters; None: it accepts any, or is a `StrictRoute`, which checks them
            itself, after the caller.
    """

    pattern: re.Pattern[str]
    methods: frozenset[str]
    router: BaseRoute
    parameters: frozenset[str] | None


class _MethodNotAllowed(NamedTuple):
    """A literal path without the method of a request."""

    allowed: str


type _Routes = Mapping[str, Sequence[_IndexedRoute]]


class RouteIndex(BaseRoute):
    """The first route of an application, which passes each request to the router of its path.

    Refuses unknown query parameters of documented routes. Answers 405 to a method that a literal path such as
    `/v1/claims/redeem` does not have: FastAPI would continue to `/v1/claims/{claim_id}` and look for a claim
    `redeem`.

    Args:
        guards: further checks of each request.
    """

    def __init__(self, guards: Sequence[RequestGuard] = ()) -> None:
        self._guards = guards
        self._routes: _Routes | None = None
        self._literal: Mapping[str, frozenset[str]] = {}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the index has the route of a request (VigieError of a guard)."""
        if scope["type"] != "http":
            return Match.NONE, {}
        for guard in self._guards:
            guard(scope)
        if scope.get("root_path"):
            return Match.NONE, {}
        if self._routes is None:
            self._routes, self._literal = _index_routes(scope["app"])
        path, method = scope["path"], scope["method"]
        if path.endswith("\n"):
            # To a regular expression of FastAPI this is the path without the line feed.
            raise HTTPException(404)
        literal = self._literal.get(path)
        if literal is not None and method not in literal:
            allowed = ", ".join(sorted({*literal, *({"HEAD"} if "GET" in literal else ())}))
            return Match.FULL, {_FOUND: _MethodNotAllowed(allowed)}
        for route in self._routes.get(_prefix(path), ()):
            if method in route.methods and route.pattern.match(path):
                # An included router matches its routes again, a route of the application itself does not.
                child_scope = route.router.matches(scope)[1] if isinstance(route.router, APIRoute) else {}
                return Match.FULL, {**child_scope, _FOUND: route}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        found: _IndexedRoute | _MethodNotAllowed = scope[_FOUND]
        if isinstance(found, _MethodNotAllowed):
            detail = f"{scope['method']} is not allowed here. Use one of: {found.allowed}."
            headers = {"Allow": found.allowed}
            await make_problem_response(405, "method_not_allowed", detail, headers=headers)(
                scope, receive, send
            )
            return
        reject_unknown_parameters(scope, found.parameters)
        await found.router.handle(scope, receive, send)


def _prefix(path: str) -> str:
    """Return the first two segments of a path."""
    return "/".join(path.split("/", 3)[:3])


def _index_routes(app: FastAPI) -> tuple[_Routes, Mapping[str, frozenset[str]]]:
    """Return the routes by the prefix of their paths, and the methods of documented literal paths."""
    routes: dict[str, list[_IndexedRoute]] = {}
    literal: dict[str, frozenset[str]] = {}
    for router in app.router.routes:
        if isinstance(router, RouteIndex):
            continue
        for context in iter_route_contexts([router]):
            route, path = context.original_route, context.path_format
            if not isinstance(route, APIRoute) or path is None or "{" in _prefix(path):
                # FastAPI finds it.
                continue
            methods = frozenset(context.methods or ())
            known = None if isinstance(route, StrictRoute) else list_query_parameters(route)
            pattern: re.Pattern[str] = context.path_regex
            routes.setdefault(_prefix(path), []).append(_IndexedRoute(pattern, methods, router, known))
            if route.include_in_schema and "{" not in path:
                literal[path] = literal.get(path, frozenset()) | methods
    return routes, literal
