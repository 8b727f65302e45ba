"""`python -m bench.stream_clients FILE`: subscribers of the measurement stream, as cheap as they can be.

Each has one open stream and counts its items. They say `ready` when all streams are open, and `items` of each
once all have as many as the task says, with the instant (`done`). They stand for other machines, so they
leave the processor to the server.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.neighbour_client import say

_NICER: Final = 19
_READ_BYTES: Final = 2**20
_ITEM: Final = b"\nevent: sample"
_LOOK_EVERY_S: Final = 0.01


class StreamClient:
    """One open stream, whose items are counted.

    Attributes:
        items: how many came.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.items = 0
        self._reader = reader
        self._writer = writer
        self._rest = b""

    @classmethod
    async def open(cls, port: int, key: str) -> "StreamClient":
        """Open a stream, which begins now."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_READ_BYTES)
        request = "GET /v1/measurements/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n\r\n"
        writer.write((request % key).encode())
        client = cls(reader, writer)
        # The first bytes come when the stream has its place.
        client._count(await reader.read(_READ_BYTES))
        return client

    async def read(self) -> None:
        """Count items until the stream ends."""
        try:
            while data := await self._reader.read(_READ_BYTES):
                self._count(data)
        finally:
            self._writer.close()

    def _count(self, data: bytes) -> None:
        joined = self._rest + data
        self.items += joined.count(_ITEM)
        self._rest = joined[-len(_ITEM) + 1 :]


async def _subscribe(task: dict[str, Any]) -> None:
    clients = [await StreamClient.open(task["port"], task["key"]) for _ in range(task["count"])]
    reading = [asyncio.create_task(each.read()) for each in clients]
    say(ready=time.monotonic())
    while any(each.items < task["items"] for each in clients):  # noqa: ASYNC110 (counters have no event)
        await asyncio.sleep(_LOOK_EVERY_S)
    say(done=time.monotonic())
    say(items=[each.items for each in clients])
    for each in reading:
        each.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


if __name__ == "__main__":
    os.nice(_NICER)
    uvloop.run(_subscribe(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
