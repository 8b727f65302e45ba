"""What every router uses: sessions as FastAPI dependencies, and quick answers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from inspect import signature
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request, Response

from app.platform.db.database import Database, ReadSession, WriteSession

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
