"""A TCP proxy that breaks connections off after a number of bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.faults.proxy import FaultyProxy


class CuttingProxy(FaultyProxy):
    """Stands before an API.

    Attributes:
        most_bytes: how many bytes of answers a connection hands on; None for all.
        cuts: how many connections it broke off.
    """

    def __init__(self, host: str, port: int, most_bytes: int | None) -> None:
        super().__init__(host, port)
        self.most_bytes = most_bytes
        self.cuts = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def _hand_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool = False
    ) -> None:
        if not answer or self.most_bytes is None:
            await super()._hand_on(reader, writer, answer=answer)
            return
        left = self.most_bytes
        while left and (data := await reader.read(min(left, 512))):
            writer.write(data)
            await writer.drain()
            left -= len(data)
        self.cuts += not left


@asynccontextmanager
async def cutting(target: str, most_bytes: int | None) -> AsyncIterator[CuttingProxy]:
    """A proxy for the length of a block."""
    parts = urlsplit(target)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = CuttingProxy(parts.hostname, parts.port, most_bytes)
    server = await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop(server)
