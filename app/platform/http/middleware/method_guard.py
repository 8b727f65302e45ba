"""Literal paths such as `/v1/claims/redeem` are not things of the id `redeem`.

Owns the refusal of methods that a literal path does not take: routing alone goes on to
`/v1/claims/{claim_id}`, which looks for a claim of that id. What a path takes is the routes' matter.
"""

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.types import ASGIApp, Receive, Scope, Send

from app.platform.http.contract.problems import make_problem_response


class MethodGuardMiddleware:
    """Answers 405 where a literal path is asked for what it does not take."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._methods: dict[str, set[str]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            if self._methods is None:
                self._methods = _literal_paths(scope["app"])
            methods = self._methods.get(scope["path"])
            if methods is not None and scope["method"] not in methods:
                allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
                answer = make_problem_response(
                    405, "method_not_allowed", "Method Not Allowed", headers={"Allow": allowed}
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _literal_paths(app: FastAPI) -> dict[str, set[str]]:
    """The methods of each documented path without parameters."""
    found: dict[str, set[str]] = {}
    for context in iter_route_contexts(app.routes):
        route, path = context.original_route, context.path_format
        if isinstance(route, APIRoute) and route.include_in_schema and path is not None and "{" not in path:
            found.setdefault(path, set()).update(route.methods or ())
    return found
