"""Peers that misbehave on purpose: a TCP proxy that swallows or cuts, and a broker that follows a script."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

_CONNECT, _PUBACK, _SUBSCRIBE, _DISCONNECT = 0x10, 0x40, 0x80, 0xE0


class Proxy:
    """Forwards to a port until told otherwise; what it does to present connections, later ones escape."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._closed = False
        self._swallowing: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._closed = True
        self.cut()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def swallow(self) -> None:
        """Let every present connection stay open and forward nothing more."""
        self._swallowing |= self._writers

    def cut(self) -> None:
        """Reset every present connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        if self._closed:
            writer.transport.abort()
            up_writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        self._pumps |= {
            asyncio.create_task(self._pump(reader, up_writer)),
            asyncio.create_task(self._pump(up_reader, writer)),
        }

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if writer not in self._swallowing:
                    writer.write(data)
        if writer not in self._swallowing:
            writer.close()


Script = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


class ScriptedBroker:
    """Accepts anybody and any subscription, then plays a script to each connection.

    Args:
        script: Called with the number of the connection (from 1) and its writer.
        version: 5 or 3 (3.1.1).
    """

    def __init__(self, script: Script, version: int) -> None:
        self.port = 0
        self.acknowledged: list[int] = []
        self.disconnects: list[bytes] = []
        self.connections = 0
        self._script = script
        self._version = version

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator["ScriptedBroker"]:
        """Listen on a free port."""
        tasks: set[asyncio.Task[None]] = set()
        writers: set[asyncio.StreamWriter] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            tasks.add(asyncio.create_task(self._talk(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # A task that was cancelled before it began has closed nothing.
            for writer in writers:
                writer.transport.abort()

    def publish(self, topic: bytes, payload: bytes, packet_id: int) -> bytes:
        """A PUBLISH of QoS 1; the topic may be anything."""
        body = len(topic).to_bytes(2, "big") + topic + packet_id.to_bytes(2, "big")
        body += (b"\0" if self._version == 5 else b"") + payload
        assert len(body) < 128
        return bytes((0x32, len(body))) + body

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while True:
                kind, body = await self._read(reader)
                if kind == _CONNECT:
                    writer.write(b"\x20\x03\0\0\0" if self._version == 5 else b"\x20\x02\0\0")
                elif kind == _SUBSCRIBE:
                    suback = body[:2] + (b"\0" if self._version == 5 else b"") + b"\x01"
                    writer.write(bytes((0x90, len(suback))) + suback)
                    await self._script(number, writer)
                elif kind == _PUBACK:
                    self.acknowledged.append(int.from_bytes(body[:2], "big"))
                elif kind == _DISCONNECT:
                    self.disconnects.append(body)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
        kind = (await reader.readexactly(1))[0] & 0xF0
        length = shift = 0
        while True:
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 128:
                return kind, await reader.readexactly(length)
