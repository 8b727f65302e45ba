"""Provides FastAPI dependencies that every router uses: sessions of the database, and its secrets."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from inspect import signature
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Response

from app.platform.db.database import Database, ReadSession, WriteSession
from app.platform.db.standby_reads import SessionReads
from app.platform.db.tenant_reader import TenantReader
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.secrets.sealing import SecretSealer

_encode = msgspec.json.Encoder().encode


def make_async_dependency[T](make: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    """Make a class a FastAPI dependency that runs in the event loop, with its constructor's parameters."""

    async def dependency(**arguments: Any) -> T:  # noqa: ANN401 (whatever the constructor takes)
        return make(**arguments)

    # FastAPI reads the parameters from this attribute.
    dependency.__signature__ = signature(make)  # type: ignore[attr-defined]
    return dependency


def make_page_response(data: Iterable[Mapping[str, Any]], following: str | None) -> Response:
    """Encode a page of a list; `following` is the cursor of the next page."""
    return make_json_response({"data": list(data), "next": following})


def make_json_response(content: Mapping[str, Any] | msgspec.Raw) -> Response:
    """Encode a response as JSON without a model of each element: ten thousand models take long."""
    return Response(_encode(content), media_type="application/json")


DatabaseDependency = Annotated[Database, Depends(make_resource_dependency(Database))]
"""The process's database, opened by the application's lifespan."""
ReaderDependency = Annotated[TenantReader, Depends(make_resource_dependency(TenantReader))]
"""The connections for single SELECT statements, in the caller's tenant scope."""
SessionReadsDependency = Annotated[SessionReads, Depends(make_resource_dependency(SessionReads))]
"""Reads in sessions that may run on a standby of the database. They show all that was committed before."""
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
