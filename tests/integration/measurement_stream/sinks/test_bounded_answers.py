"""A server that sends without end, or nothing, ends an attempt: it fills no memory, and holds up nothing."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trustme

from app.measurement_stream.sinks.guarded_addresses import MOST_ANSWER_BYTES
from app.measurement_stream.sinks.nats_sink import NatsSink
from app.measurement_stream.sinks.postgresql_sink import PostgresqlSink
from app.measurement_stream.sinks.rabbitmq_sink import RabbitmqSink
from app.measurement_stream.sinks.sink_types import ConnectedSink, SinkConfig
from tests.integration.measurement_stream.conftest import NOW
from tests.integration.measurement_stream.sinks.conftest import ONE, make_batch

AUTHORITY = trustme.CA()
# The length that a server announces, of which it sends as much as is read.
LONG = (2**30).to_bytes(4)
CHUNK = bytes(2**16)
INFO = {"server_id": "x", "version": "2.10.0", "max_payload": 1 << 20, "tls_required": True}
TARGETS = {
    "postgresql": {"database": "city", "schema_name": "public", "table": "air"},
    "rabbitmq": {"virtual_host": "/", "exchange": "air"},
    "nats": {"subject": "city.air"},
}
SINKS: Mapping[str, type[PostgresqlSink | RabbitmqSink | NatsSink]] = {
    "postgresql": PostgresqlSink,
    "rabbitmq": RabbitmqSink,
    "nats": NatsSink,
}


def make_sink(kind: str, port: int, timeout_s: float) -> ConnectedSink:
    target = {
        "server": f"localhost:{port}",
        "tls": True,
        "ca_certificate": AUTHORITY.cert_pem.bytes().decode(),
        "username": "vigie",
        **TARGETS[kind],
    }
    format_ = None if kind == "postgresql" else "json"
    config = SinkConfig(ONE, ONE, kind, format_, False, None, target, {"password": "secret"})  # type: ignore[arg-type] # kinds of TARGETS
    return SINKS[kind](config, timeout_s, allow_private=True)


@dataclass
class Flooder:
    """A server that answers a login with a message without end."""

    kind: str
    is_silent: bool
    port: int = 0
    sent: int = 0
    tls: ssl.SSLContext = field(default_factory=lambda: ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await getattr(self, f"_greet_{self.kind}")(reader, writer)
            while not self.is_silent:
                writer.write(CHUNK)
                await writer.drain()
                self.sent += len(CHUNK)
            await reader.read()
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort()

    async def _greet_postgresql(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(self.tls)
        await reader.readexactly(4)
        writer.write(b"E" + LONG)

    async def _greet_rabbitmq(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(self.tls)
        await reader.readexactly(8)
        writer.write(b"\x01\x00\x00" + LONG)

    async def _greet_nats(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(INFO).encode() + b"\r\n")
        await writer.start_tls(self.tls)
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\nMSG air 1 1073741824\r\n")


@asynccontextmanager
async def flooding(kind: str, *, is_silent: bool = False) -> AsyncIterator[Flooder]:
    flooder = Flooder(kind, is_silent)
    AUTHORITY.issue_cert("localhost").configure_cert(flooder.tls)
    async with await asyncio.start_server(flooder.serve, "127.0.0.1", 0) as server:
        flooder.port = server.sockets[0].getsockname()[1]
        yield flooder
        server.close()


@pytest.mark.parametrize("kind", SINKS)
async def test_a_message_without_end_is_not_stored(kind: str) -> None:
    async with flooding(kind) as flooder:
        sink = make_sink(kind, flooder.port, 30)
        began = time.monotonic()
        outcome = await sink.send(make_batch(pm2_5=1.5), NOW)
        took_s = time.monotonic() - began
        await sink.close()
    assert outcome.reason == "response_broken"
    assert outcome.body == "the server sent more than 16 MB in an attempt"
    # Buffers of the two sockets and of TLS come on top.
    assert MOST_ANSWER_BYTES < flooder.sent < 2 * MOST_ANSWER_BYTES
    assert took_s < 30


@pytest.mark.parametrize("kind", SINKS)
async def test_a_server_that_says_nothing_ends_an_attempt(kind: str) -> None:
    async with flooding(kind, is_silent=True) as flooder:
        sink = make_sink(kind, flooder.port, 1)
        began = time.monotonic()
        outcome = await sink.send(make_batch(pm2_5=1.5), NOW)
        took_s = time.monotonic() - began
        await sink.close()
    assert outcome.reason == "timeout"
    assert took_s < 30
