"""Receivers that behave as badly as they can, and what an attempt at each is expected to end with."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from app.notifications.http.guarded_resolver import GuardedResolver, ResolvedAddresses
from tests.integration.notifications.receivers import receiving, status, talking

_HARMLESS: Final = "93.184.215.14"

EXPECTED: Final = {
    "500": {"http_error"},
    "hang": {"timeout"},
    "endless body": {"http_error"},
    "endless headers": {"response_broken"},
    "one huge header": {"response_broken"},
    "100 Continue without end": {"response_broken"},
    "slow drip of headers": {"timeout"},
    "slow drip of a body": {"http_error"},
    "302 to loopback": {"redirect_refused"},
    "rebound to 127.0.0.1": {"address_refused"},
    "rebound to 169.254.169.254": {"address_refused"},
    "one of two addresses private": {"address_refused"},
    # While the connection is kept it goes where it was checked; a new one is refused.
    "rebound between attempts": {"http_error", "address_refused"},
    "certificate: nobody vouches": {"tls_failed"},
    "certificate: another name": {"tls_failed"},
    "certificate: expired": {"tls_failed"},
    "no TLS at all": {"tls_failed"},
    "connection reset": {"response_broken"},
    "answers before it reads": {"http_error"},
    "HTTP/0.9": {"response_broken"},
}
"""Receiver → the reasons that its attempts may have."""


class FakeResolver(AbstractResolver):
    """Names of receivers, and of attackers: these answer harmlessly at first.

    The guard is the real one; loopback is allowed to the receivers' names alone, for that is where they are.
    """

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self._lenient = GuardedResolver(allow_private=True, look_up=self.ask)
        self._strict = GuardedResolver(allow_private=False, look_up=self.ask)

    async def ask(self, host: str, port: int, family: socket.AddressFamily) -> ResolvedAddresses:
        del port, family
        count = self.asked[host] = self.asked.get(host, 0) + 1
        answers = {
            "localhost": ["127.0.0.1"],
            "rebound-loopback.test": [_HARMLESS if count == 1 else "127.0.0.1"],
            "rebound-metadata.test": [_HARMLESS if count == 1 else "169.254.169.254"],
            "two-addresses.test": [_HARMLESS, "10.0.0.1"],
            "rebound-later.test": ["127.0.0.1" if count == 1 else "169.254.169.254"],
        }
        return [(socket.AF_INET, address) for address in answers[host]]

    async def register(self) -> None:
        """What a check beforehand is told: nothing is wrong with the names of the attackers."""
        for host in ("rebound-loopback.test", "rebound-metadata.test"):
            found = await self._strict.resolve(host)
            assert [one["host"] for one in found] == [_HARMLESS]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        guard = self._lenient if host in {"localhost", "rebound-later.test"} else self._strict
        return await guard.resolve(host, port, family)

    async def close(self) -> None:
        """Nothing is held open."""


@dataclass
class BadReceiver:
    """What goes on in the bad receivers. Those that hang do so until it is `over`."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    authority: trustme.CA = field(default_factory=trustme.CA)

    async def hang(self, _: web.Request) -> web.StreamResponse:
        await self.over.wait()
        return web.Response(status=204)

    async def endless_body(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._without_end(writer, b"HTTP/1.1 500 No\r\ncontent-type: text/plain\r\n\r\n", b"x" * 65_536)

    async def endless_headers(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._without_end(writer, b"HTTP/1.1 200 OK\r\n", b"x-y: z\r\n" * 1000)

    async def huge_header(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._without_end(writer, b"HTTP/1.1 200 OK\r\nx-huge: ", b"x" * 65_536)

    async def continues(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._without_end(writer, b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.01)

    async def drip_headers(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._without_end(writer, b"HTTP/1.1 204 No Content\r\nx-patience: ", b"x", pause_s=0.1)

    async def drip_body(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._without_end(
            writer, b"HTTP/1.1 500 No\r\ncontent-length: 100000\r\n\r\n", b".", pause_s=0.1
        )

    async def reset(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def hasty(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await self.over.wait()

    async def http_0_9(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"<html>It works!</html>")
        await writer.drain()

    async def silent(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def _without_end(
        self, writer: asyncio.StreamWriter, first: bytes, more: bytes, pause_s: float = 0.0
    ) -> None:
        writer.write(first)
        while not self.over.is_set():
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(pause_s)

    @property
    def trusted(self) -> ssl.SSLContext:
        """Trusts the authority of the certificates that are wrong in another way."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    @asynccontextmanager
    async def receivers(self) -> AsyncIterator[dict[str, str]]:
        """All of them: name → URL."""
        past = datetime(2020, 1, 1, tzinfo=UTC)
        certificates = {
            "certificate: nobody vouches": trustme.CA().issue_cert("localhost"),
            "certificate: another name": self.authority.issue_cert("example.com"),
            "certificate: expired": self.authority.issue_cert("localhost", not_after=past),
        }
        talks = {
            "endless body": self.endless_body,
            "endless headers": self.endless_headers,
            "one huge header": self.huge_header,
            "100 Continue without end": self.continues,
            "slow drip of headers": self.drip_headers,
            "slow drip of a body": self.drip_body,
            "connection reset": self.reset,
            "HTTP/0.9": self.http_0_9,
        }
        async with AsyncExitStack() as stack:
            inner = await stack.enter_async_context(receiving(status(204)))

            async def elsewhere(_: web.Request) -> web.StreamResponse:
                return web.Response(status=302, headers={"location": inner.url})

            urls = {name: await stack.enter_async_context(talking(talk)) for name, talk in talks.items()}
            for name, certificate in certificates.items():
                urls[name] = await stack.enter_async_context(talking(self.silent, certificate=certificate))
            urls["answers before it reads"] = await stack.enter_async_context(
                talking(self.hasty, listens=False)
            )
            for name, answer in (("500", status(500)), ("hang", self.hang), ("302 to loopback", elsewhere)):
                urls[name] = (await stack.enter_async_context(receiving(answer))).url
            port = urls["500"].rpartition(":")[2]
            inside = inner.url.rpartition(":")[2]
            yield {
                **urls,
                "no TLS at all": f"https://localhost:{port}",
                "rebound to 127.0.0.1": f"http://rebound-loopback.test:{inside}",
                "rebound to 169.254.169.254": f"http://rebound-metadata.test:{inside}",
                "one of two addresses private": f"http://two-addresses.test:{inside}",
                "rebound between attempts": f"http://rebound-later.test:{port}",
            }
            assert inner.got == [], "something was sent to where nothing must be"
