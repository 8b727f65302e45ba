"""Files that the console passes on, when the browser goes away."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.types import Message, Scope

from app.console.framework.api_calls import ConsoleApi
from app.console.framework.api_streams import stream_file

_WAIT_S = 60.0
# As uvicorn has it: Starlette then listens for a disconnect while it sends.
_SCOPE: Scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}}


@pytest.fixture
def api() -> ConsoleApi:
    """An application with a file that has no end."""
    app = FastAPI()

    async def make_parts() -> AsyncIterator[bytes]:
        while True:
            yield b"a part"

    @app.get("/v1/file")
    async def read_file() -> StreamingResponse:
        return StreamingResponse(make_parts())

    return ConsoleApi(app, None, ("127.0.0.1", 1))


async def check_no_task_is_left(before: set[asyncio.Task[object]]) -> None:
    opened = asyncio.all_tasks() - before
    if opened:
        _, running = await asyncio.wait(opened, timeout=_WAIT_S)
        assert not running


async def test_a_browser_that_left_before_the_file_began_ends_the_call(api: ConsoleApi) -> None:
    before = asyncio.all_tasks()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        await asyncio.sleep(0)

    file = await stream_file(api, "/v1/file", {})
    await file(_SCOPE, receive, send)
    await check_no_task_is_left(before)


async def test_a_browser_that_leaves_while_parts_wait_ends_the_call(api: ConsoleApi) -> None:
    before = asyncio.all_tasks()
    left = asyncio.Event()

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message.get("body"):
            # It reads no more: as many parts wait as may.
            left.set()
            await asyncio.Event().wait()

    file = await stream_file(api, "/v1/file", {})
    await file(_SCOPE, receive, send)
    await check_no_task_is_left(before)
