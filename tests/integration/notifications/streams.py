"""The API on a real port, and a client of its event stream."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import uvicorn
from fastapi import FastAPI

from app.notifications.delivery.fanout import fan_out_events
from app.notifications.events.outbox import OutboxRecord
from app.notifications.settings import WebhookSettings
from app.notifications.stream.stream_wakeup_hub import StreamHub
from app.platform.kernel.application_resources import get_resource
from app.platform.runtime.server_timeouts import TimeoutHttpProtocol
from app.processes.api_server import _Server
from tests.integration.notifications.helpers import emit

PATH = "/v1/events/stream"


@dataclass
class StreamBlock:
    """What came between two empty lines; `data` is the JSON of an event."""

    id: str | None = None
    event: str | None = None
    data: Any = None

    @property
    def message(self) -> str:
        return str(self.data["id"])


def parse(lines: list[str]) -> StreamBlock:
    block = StreamBlock()
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            assert block.data is None, "one line of data"
            block.data = json.loads(value)
        else:
            assert name in {"id", "event"}, line
            setattr(block, name, value)
    return block


@dataclass
class StreamListener:
    """An open stream; what has come is in `blocks`."""

    response: httpx.Response
    comments: int = 0
    retry: int | None = None
    blocks: list[StreamBlock] = field(default_factory=list)
    ended: bool = False
    last_id: str = ""
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Read until the stream ends. A block that was cut is thrown away."""
        lines: list[str] = []
        try:
            self.last_id = self.response.headers["last-event-id"]
            async for line in self.response.aiter_lines():
                if line.startswith(":"):
                    assert not lines, "a comment stands between blocks"
                    self.comments += 1
                    self.last_id = line.split()[-1]
                    self._arrived.set()
                    continue
                if line.startswith("retry:"):
                    self.retry = int(line.partition(":")[2])
                    continue
                if line:
                    lines.append(line)
                    continue
                self.blocks.append(parse(lines))
                self.last_id = self.blocks[-1].id or self.last_id
                lines = []
                self._arrived.set()
        except httpx.TransportError:
            pass
        finally:
            self.ended = True
            self._arrived.set()

    @property
    def events(self) -> list[StreamBlock]:
        return [block for block in self.blocks if block.data is not None]

    @property
    def messages(self) -> list[str]:
        return [block.message for block in self.events]

    async def hear(self, enough: Callable[[], bool], patience: float = 60.0) -> None:
        """Read until it is enough, or the stream ends."""
        async with asyncio.timeout(patience):
            while not enough() and not self.ended:
                self._arrived.clear()
                await self._arrived.wait()

    async def wait(self, count: int, patience: float = 60.0) -> list[StreamBlock]:
        """Wait for so many events."""
        await self.hear(lambda: len(self.events) >= count, patience)
        return self.events

    async def end(self, patience: float = 60.0) -> None:
        """Wait until the server ends the stream."""
        await self.hear(lambda: False, patience)


@asynccontextmanager
async def listening(
    url: str,
    key: str,
    *,
    last_event_id: str | None = None,
    **params: Any,  # noqa: ANN401 (query)
) -> AsyncIterator[StreamListener]:
    """A stream for the length of a block, with what it opens with read."""
    headers = {"Authorization": f"Bearer {key}"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    async with (
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        client.stream("GET", PATH, headers=headers, params=params) as response,
    ):
        assert response.status_code == 200, await response.aread()
        heard = StreamListener(response)
        reading = asyncio.create_task(heard.read())
        try:
            await heard.hear(lambda: bool(heard.blocks or heard.comments))
            yield heard
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def serving(application: FastAPI, patience_s: float = 30.0) -> AsyncIterator[str]:
    """Serve an application that is running; gives its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    config = uvicorn.Config(
        application,
        http=TimeoutHttpProtocol.of(patience_s),
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        get_resource(application, StreamHub).stop()
        server.should_exit = True
        await task
        listener.close()


async def tell(connection: asyncpg.Connection, *records: OutboxRecord) -> list[str]:
    """Commit events and fan them out; gives their ids as webhooks have them."""
    await emit(connection, *records)
    while await fan_out_events(connection, WebhookSettings()):
        pass
    return [f"msg_{record.id.hex}" for record in records]
