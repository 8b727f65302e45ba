"""A TCP proxy that can swallow everything, or be very slow: what networks do, without rights on one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class FaultyProxy:
    """Stands before one address.

    Attributes:
        port: where it listens, on 127.0.0.1.
        swallows: whether what comes is thrown away, and what connects gets no answer.
        bytes_per_s: how fast it hands on, each way; None for at once.
        connections: how many were made.
        answered: how many bytes were handed on to clients.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.swallows = False
        self.bytes_per_s: int | None = None
        self.connections = 0
        self.answered = 0
        self._target = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[asyncio.StreamWriter, bool] = {}

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def heal(self) -> None:
        """End of the partition. Connections that lost bytes are reset, as a network would by then."""
        self.swallows, self.bytes_per_s = False, None
        for writer, spoilt in list(self._open.items()):
            if spoilt:
                writer.transport.abort()

    def partition(self) -> None:
        """Swallow all from now on."""
        self.swallows = True
        # One that carries nothing meanwhile does not outlive it either.
        self._open = dict.fromkeys(self._open, True)

    async def stop(self, server: asyncio.Server) -> None:
        server.close()
        for writer in list(self._open):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._open[writer] = self.swallows
        with suppress(OSError, asyncio.CancelledError):
            if self.swallows:
                while await reader.read(65_536):
                    pass
            else:
                await self._join(reader, writer)
        writer.close()
        self._open.pop(writer, None)
        self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(*self._target)
        self._open[their_writer] = self.swallows
        both = {
            asyncio.ensure_future(self._hand_on(reader, their_writer)),
            asyncio.ensure_future(self._hand_on(their_reader, writer, answer=True)),
        }
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in both:
                half.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            self._open.pop(their_writer, None)
            their_writer.close()

    async def _hand_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool = False
    ) -> None:
        while data := await reader.read(65_536 if self.bytes_per_s is None else 1):
            if self.swallows:
                self._open[writer] = True
                continue
            writer.write(data)
            await writer.drain()
            self.answered += len(data) * answer
            if self.bytes_per_s is not None:
                await asyncio.sleep(1 / self.bytes_per_s)


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncIterator[FaultyProxy]:
    """A proxy before an address, for the length of a block."""
    proxy = FaultyProxy(host, port)
    server = await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop(server)
