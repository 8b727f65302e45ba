"""Receivers on loopback that behave, or do not."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trustme
from aiohttp import web

type Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ReceivedRequest:
    """One request that arrived."""

    headers: dict[str, str]
    body: bytes
    path: str


@dataclass
class Receiver:
    """A real HTTP server that keeps what it gets."""

    answer: Answer
    url: str = ""
    got: list[ReceivedRequest] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(ReceivedRequest(headers, await request.read(), request.path_qs))
        self.arrived.set()
        return await self.answer(request)

    async def wait(self, count: int, patience: float = 60.0) -> list[ReceivedRequest]:
        async with asyncio.timeout(patience):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.got


def status(*statuses: int) -> Answer:
    """Answers with one status after the other, then with the last one."""
    left = list(statuses)

    async def answer(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0], text="")

    return answer


@asynccontextmanager
async def receiving(answer: Answer) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


type Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(
    talk: Talk, *, listens: bool = True, certificate: trustme.LeafCert | None = None
) -> AsyncIterator[str]:
    """A bare TCP server: what HTTP libraries would not send. Gives its URL.

    Args:
        talk: What it says.
        listens: Reads the request's head before.
        certificate: For TLS; the URL's host is `localhost` then.
    """
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            if listens:
                await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            return
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    base = "http://127.0.0.1" if context is None else "https://localhost"
    try:
        yield f"{base}:{server.sockets[0].getsockname()[1]}/hook"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Fast(asyncio.Protocol):
    """As little of HTTP as a receiver needs to be quick."""

    def __init__(self, got: Counter[str], open_: set[asyncio.Transport], delay_s: float) -> None:
        self._got = got
        self._open = open_
        self._delay_s = delay_s
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        assert self._transport is not None
        self._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, rest = self._read.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if not end or len(rest) < int(fields[b"content-length"]):
            return
        self._read = b""
        self._got[fields[b"webhook-id"].decode()] += 1
        asyncio.get_running_loop().call_later(self._delay_s, self._answer)

    def _answer(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


@asynccontextmanager
async def counting(delay_s: float = 0.0) -> AsyncIterator[tuple[str, Counter[str]]]:
    """A receiver for thousands: its URL, and how often each `webhook-id` came."""
    got: Counter[str] = Counter()
    opened: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Fast(got, opened, delay_s), "127.0.0.1", 0, backlog=500)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", got
    finally:
        server.close()
        for transport in list(opened):
            transport.abort()
