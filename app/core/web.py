"""What every router uses: sessions as FastAPI dependencies, and quick answers."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request, Response

from app.core.database import Database, ReadSession, WriteSession

_encode = msgspec.json.Encoder().encode


def json_answer(content: Mapping[str, Any]) -> Response:
    """An answer as JSON, without a model for each of its points: ten thousand of these take long."""
    return Response(_encode(content), media_type="application/json")


def get_database(request: Request) -> Database:
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
Reads = Annotated[ReadSession, Depends(_read, scope="function")]
Writes = Annotated[WriteSession, Depends(_write, scope="function")]
