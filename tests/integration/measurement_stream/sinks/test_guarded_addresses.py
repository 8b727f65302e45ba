"""Sinks connect to allowed addresses only, and verify the certificate for the name that the client gave."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from app.measurement_stream.sinks.guarded_addresses import (
    AnswerLimit,
    ServerAddress,
    make_tls_context,
    resolve_allowed_addresses,
)
from app.measurement_stream.sinks.sink_types import SinkError, classify_error
from app.notifications.http.guarded_resolver import AddressRefusedError

AUTHORITY = trustme.CA()
NAME = "db.example.com"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server on loopback with a certificate for a name."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(NAME).configure_cert(context)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def read(port: int, name: str, ca: str | None) -> bytes:
    context = make_tls_context(ServerAddress(name, port), AnswerLimit(), ca)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    got = await reader.read(5)
    writer.close()
    return got


async def test_the_certificate_has_to_be_of_the_name(port: int) -> None:
    ca = AUTHORITY.cert_pem.bytes().decode()
    assert await read(port, NAME, ca) == b"hello"
    for name, trusted in (("other.example.com", ca), (NAME, None)):
        with pytest.raises(ssl.SSLCertVerificationError) as refused:
            await read(port, name, trusted)
        assert classify_error(refused.value) == "tls_failed"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.1.2.3", "localhost", "169.254.169.254"])
async def test_private_addresses_are_refused(host: str) -> None:
    with pytest.raises(AddressRefusedError) as refused:
        await resolve_allowed_addresses(ServerAddress(host, 5432), allow_private=False)
    assert classify_error(refused.value) == "address_refused"


async def test_addresses_and_names_are_resolved() -> None:
    for written, address in (("127.0.0.1:1", "127.0.0.1"), ("[::1]:1", "::1")):
        found = await resolve_allowed_addresses(ServerAddress.parse(written), allow_private=True)
        assert found == [address]
    found = await resolve_allowed_addresses(ServerAddress.parse("localhost:1"), allow_private=True)
    assert found
    assert set(found) <= {"127.0.0.1", "::1"}
    with pytest.raises(socket.gaierror) as unknown:
        await resolve_allowed_addresses(ServerAddress("nowhere.invalid", 1), allow_private=True)
    assert classify_error(unknown.value) == "name_unresolved"
    with pytest.raises(ValueError, match="host:port"):
        ServerAddress.parse("nowhere")


def test_a_wrapped_error_has_the_reason_of_its_cause() -> None:
    def wrap(cause: Exception) -> SinkError:
        error = SinkError("x")
        error.__cause__ = cause
        return error

    assert classify_error(wrap(TimeoutError())) == "timeout"
    assert classify_error(wrap(ConnectionRefusedError())) == "connect_failed"
    assert classify_error(wrap(ValueError())) == "response_broken"
