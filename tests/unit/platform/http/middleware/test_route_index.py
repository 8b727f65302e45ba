import re

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope

from app.platform.http.contract import problems
from app.platform.http.middleware.route_index import RouteIndex
from app.platform.kernel.errors import ForbiddenError
from app.processes.api_application import create_app
from app.settings import VigieSettings


def test_every_documented_route_is_found_in_the_index() -> None:
    """FastAPI would find the others too, but without the checks of the index."""
    app = create_app(VigieSettings(_env_file=None))
    index = app.router.routes[0]
    assert isinstance(index, RouteIndex)
    found = 0
    for context in iter_route_contexts(app.router.routes):
        route, path = context.original_route, context.path_format
        if not isinstance(route, APIRoute) or not route.include_in_schema or path is None:
            continue
        for method in context.methods or ():
            scope: Scope = {
                "type": "http",
                "method": method,
                "path": re.sub(r"{\w+(:\w+)?}", "x", path),
                "app": app,
                "headers": [],
            }
            match, child = index.matches(scope)
            assert match is Match.FULL, (method, path)
            assert hasattr(child["vigie.route"], "router"), (method, path)
            found += 1
    assert found > 150


def small() -> FastAPI:
    app = FastAPI()
    problems.install_error_handlers(app)

    def guard(scope: Scope) -> None:
        if scope["query_string"] == b"guarded=1":
            raise ForbiddenError("It is guarded.", code="guarded")

    app.router.routes.insert(0, RouteIndex([guard]))

    @app.get("/v1/claims/{claim}")
    async def read(claim: str, guarded: int = 0) -> str:
        return f"{claim} {guarded}"

    @app.post("/v1/claims/redeem")
    async def redeem() -> str:
        return "redeemed"

    @app.get("/{anything:path}")
    async def catch_all(anything: str) -> str:
        return anything

    return app


@pytest.mark.parametrize(
    ("method", "path", "status", "shown"),
    [
        ("GET", "/v1/claims/a", 200, "a 0"),
        ("POST", "/v1/claims/redeem", 200, "redeemed"),
        ("GET", "/v1/claims/redeem", 405, "GET is not allowed here. Use one of: POST."),
        ("DELETE", "/v1/claims/a", 405, "DELETE is not allowed here"),
        ("GET", "/v1/claims/a?guard=1", 422, "Use one of: guarded."),
        ("POST", "/v1/claims/redeem?x=1", 422, "This call has no query parameters."),
        ("GET", "/v1/claims/a?guarded=1", 403, "It is guarded."),
        ("GET", "/other/claims", 200, "other/claims"),
        ("GET", "/v1/claims/a/b", 200, "v1/claims/a/b"),
    ],
)
async def test_requests_reach_their_route(method: str, path: str, status: int, shown: str) -> None:
    transport = httpx.ASGITransport(small())
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test") as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert shown in answer.text
