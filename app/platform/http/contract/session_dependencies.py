"""Provides FastAPI dependencies that every router uses: sessions, and a check of query parameters.

Routes reject unknown query parameters: a misspelt filter must not return everything.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from inspect import signature
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.platform.db.database import Database, ReadSession, WriteSession
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.platform.secrets.sealing import SecretSealer

_encode = msgspec.json.Encoder().encode


def make_async_dependency[T](make: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    """Make a class a FastAPI dependency that runs in the event loop, with its constructor's parameters."""

    async def dependency(**arguments: Any) -> T:  # noqa: ANN401 (whatever the constructor takes)
        return make(**arguments)

    # FastAPI reads the parameters from this attribute.
    dependency.__signature__ = signature(make)  # type: ignore[attr-defined]
    return dependency


def make_json_response(content: Mapping[str, Any] | msgspec.Raw) -> Response:
    """Encode a response as JSON without a model of each element: ten thousand models take long."""
    return Response(_encode(content), media_type="application/json")


DatabaseDependency = Annotated[Database, Depends(make_resource_dependency(Database))]
"""The process's database, opened by the application's lifespan."""
SealerDependency = Annotated[SecretSealer, Depends(make_resource_dependency(SecretSealer))]


async def _read(database: DatabaseDependency) -> AsyncIterator[ReadSession]:
    async with database.read() as session:
        yield session


async def _write(database: DatabaseDependency) -> AsyncIterator[WriteSession]:
    async with database.write() as session:
        yield session


# scope="function": the session commits before the response is sent. With FastAPI's default the client would
# get 201 first, and the commit could fail afterwards.
ReadSessionDep = Annotated[ReadSession, Depends(_read, scope="function")]
WriteSessionDep = Annotated[WriteSession, Depends(_write, scope="function")]


def _known(route: APIRoute) -> frozenset[str]:
    """Return the names of the query parameters of a route and its dependencies."""
    names: set[str] = set()
    waiting: list[Dependant] = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        names.update(field.alias for field in dependant.query_params)
        waiting.extend(dependant.dependencies)
    return frozenset(names)


async def reject_unknown_parameters(request: Request) -> None:
    """FastAPI dependency of every route: reject unknown query parameters.

    Raises:
        InvalidError: `unknown_parameter`; the detail lists the known ones.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    known = _known(route)
    for name in request.query_params:
        if name not in known:
            hint = (
                f"Use one of: {', '.join(sorted(known))}." if known else "This call has no query parameters."
            )
            raise InvalidError(
                f"There is no query parameter {format_rejected_value(name)}. {hint}", code="unknown_parameter"
            )
