"""What every router uses."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from app.platform.http.contract.session_dependencies import make_async_dependency
from app.processes.api_application import create_app
from app.settings import VigieSettings


def routes(found: Iterable[object]) -> Iterator[APIRoute]:
    """All routes of an application, also those of routers that it includes."""
    for each in found:
        if isinstance(each, APIRoute):
            yield each
        else:
            inner = getattr(each, "original_router", each)
            yield from routes(getattr(inner, "routes", ()))


def calls(dependant: Dependant) -> Iterator[Any]:
    """What FastAPI calls for a route."""
    yield dependant.call
    for each in dependant.dependencies:
        yield from calls(each)


def waits(call: object) -> bool:
    """Whether it is run in the loop."""
    plain = inspect.isroutine(call) or inspect.isclass(call)
    run = call if plain else getattr(call, "__call__", None)  # noqa: B004 (the method itself)
    return inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run)


def test_nothing_of_a_request_is_run_in_a_thread() -> None:
    found = list(routes(create_app(VigieSettings(_env_file=None)).routes))
    assert len(found) > 150
    asked = {call: route.path for route in found for call in calls(route.dependant)}
    assert len(asked) > len(found)
    assert {path: call for call, path in asked.items() if not waits(call)} == {}


class Wanted:
    """As FastAPI makes a class of a query."""

    def __init__(self, number: Annotated[int, Query(ge=1, alias="n")], text: str = "none") -> None:
        self.said = {"number": number, "text": text}


def test_a_class_is_made_in_the_loop_of_the_parameters_that_it_has() -> None:
    app = FastAPI()

    @app.get("/")
    async def shown(wanted: Annotated[Wanted, Depends(make_async_dependency(Wanted))]) -> dict[str, Any]:
        return wanted.said

    with TestClient(app) as client:
        assert client.get("/?n=3").json() == {"number": 3, "text": "none"}
        assert client.get("/?n=0").status_code == 422
        assert client.get("/?text=x").status_code == 422
