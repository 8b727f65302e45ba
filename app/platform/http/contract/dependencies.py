"""What every router uses: sessions as FastAPI dependencies, and quick answers.

Query parameters that a route does not know are refused: a misspelt filter must not give everything.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from inspect import signature
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.platform.db.database import Database, ReadSession, WriteSession
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value

_encode = msgspec.json.Encoder().encode


def make_async_dependency[T](make: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    """A class as a FastAPI dependency that is made in the loop, of its constructor's parameters."""

    async def made(**given: Any) -> T:  # noqa: ANN401 (whatever the constructor takes)
        return make(**given)

    # What FastAPI goes by.
    made.__signature__ = signature(make)  # type: ignore[attr-defined]
    return made


def make_json_response(content: Mapping[str, Any] | msgspec.Raw) -> Response:
    """An answer as JSON, without a model for each of its points: ten thousand of these take long."""
    return Response(_encode(content), media_type="application/json")


# Dependencies are asynchronous, though nothing is waited for: FastAPI runs all others in threads, which costs
# more than they do.
async def get_database(request: Request) -> Database:
    """The process's database, opened by the application's lifespan."""
    database: Database = request.app.state.database
    return database


async def _read(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[ReadSession]:
    async with database.read() as session:
        yield session


async def _write(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[WriteSession]:
    async with database.write() as session:
        yield session


# scope="function": the session's commit happens before the response is sent. FastAPI's default would tell
# the client 201 first, and fail to commit afterwards.
ReadSessionDep = Annotated[ReadSession, Depends(_read, scope="function")]
WriteSessionDep = Annotated[WriteSession, Depends(_write, scope="function")]


def _known(route: APIRoute) -> frozenset[str]:
    """The names that a route and what it depends on take from the query."""
    names: set[str] = set()
    waiting: list[Dependant] = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        names.update(field.alias for field in dependant.query_params)
        waiting.extend(dependant.dependencies)
    return frozenset(names)


async def reject_unknown_parameters(request: Request) -> None:
    """FastAPI dependency of every route.

    Raises:
        InvalidError: `unknown_parameter`; the detail names those that there are.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    known = _known(route)
    for name in request.query_params:
        if name not in known:
            there = f"There are: {', '.join(sorted(known))}." if known else "This call takes none."
            raise InvalidError(
                f"There is no parameter {format_rejected_value(name)}. {there}", code="unknown_parameter"
            )
