"""Reads the measurement stream over a real connection."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

PATH: Final = "/v1/measurements/stream"
_KEEP_ALIVE: Final = ": keep-alive "


@dataclass
class Heard:
    """What one stream has sent; `token` is where it began, `reached` that of the last keep-alive."""

    token: str
    reached: str = ""
    events: list[tuple[str, str, str]] = field(default_factory=list)
    ended: bool = False
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, response: httpx.Response) -> None:
        fields: dict[str, str] = {}
        with contextlib.suppress(httpx.TransportError):
            async for line in response.aiter_lines():
                if line.startswith((":", "retry")):
                    if line.startswith(_KEEP_ALIVE):
                        self.reached = line.removeprefix(_KEEP_ALIVE)
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    assert name not in fields
                    fields[name] = value
                    continue
                self.events.append((fields["event"], fields["id"], fields["data"]))
                fields = {}
                self._arrived.set()
        self.ended = True
        self._arrived.set()

    async def arrive(self, count: int) -> None:
        """Wait for so many events."""
        async with asyncio.timeout(60):
            while len(self.events) < count and not self.ended:
                self._arrived.clear()
                await self._arrived.wait()

    async def wait(self, count: int) -> list[Any]:
        """Wait for so many events; returns their data, as JSON."""
        await self.arrive(count)
        return [json.loads(data) for _, _, data in self.events]

    async def end(self) -> None:
        async with asyncio.timeout(60):
            while not self.ended:
                self._arrived.clear()
                await self._arrived.wait()


@contextlib.asynccontextmanager
async def listening(
    url: str,
    key: str,
    token: str | None = None,
    **params: Any,  # noqa: ANN401 (query)
) -> AsyncIterator[Heard]:
    headers = {"Authorization": f"Bearer {key}", **({} if token is None else {"Last-Event-ID": token})}
    async with (
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        client.stream("GET", PATH, headers=headers, params=params) as response,
    ):
        assert response.status_code == 200, await response.aread()
        heard = Heard(response.headers["last-event-id"])
        reading = asyncio.create_task(heard.read(response))
        try:
            yield heard
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
