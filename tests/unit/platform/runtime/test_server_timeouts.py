"""Clients that take their time, at uvicorn with our protocol: a real server, no services."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.platform.runtime.server_timeouts import TimeoutHttpProtocol

PATIENCE_S = 0.3
HEAD = b"POST /refused HTTP/1.1\r\nHost: vigie.test\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 401 without a look at the body, as what asks for a key does; `/read` reads it first."""
    if scope["path"] == "/read":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=0,
        http=TimeoutHttpProtocol.of(PATIENCE_S),
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


async def closed(port: int, first: bytes, then: bytes) -> bytes:
    """Send `first`, then `then` again and again, until the connection ends. Gives what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)

    async def drip() -> None:
        while True:
            await asyncio.sleep(PATIENCE_S / 6)
            writer.write(then)

    dripping = asyncio.create_task(drip())
    answer = b""
    try:
        async with asyncio.timeout(20 * PATIENCE_S):
            while chunk := await reader.read(65_536):
                answer += chunk
    except ConnectionError:
        pass
    finally:
        dripping.cancel()
        writer.transport.abort()
    return answer


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
async def test_a_body_that_goes_on_after_its_answer_is_not_waited_for(
    port: int, first: bytes, then: bytes
) -> None:
    assert (await closed(port, first, then)).startswith(b"HTTP/1.1 401 ")


async def test_a_head_that_goes_on_and_on_is_not_waited_for(port: int) -> None:
    assert await closed(port, b"GET / HTTP/1.1\r\n", b"x") == b""


async def test_a_body_that_ends_after_its_answer_leaves_the_connection_in_use(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(HEAD + b"Content-Length: 4\r\n\r\nab")
        assert (await reader.readuntil(b"no")).startswith(b"HTTP/1.1 401 ")
        writer.write(b"cd")
    writer.close()
    await writer.wait_closed()


async def test_a_body_that_is_read_is_left_to_who_reads_it(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /read HTTP/1.1\r\nHost: vigie.test\r\nContent-Length: 2\r\n\r\n")
    await asyncio.sleep(2 * PATIENCE_S)
    writer.write(b"ok")
    assert (await reader.readuntil(b"no")).startswith(b"HTTP/1.1 401 ")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400", b"invalid_http"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400", b"invalid_http"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400", b"invalid_http"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: odd\r\n\r\n", b"501", b"invalid_http"),
        (b"GET /" + b"x" * 70_000, b"414", b"uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000, b"431", b"headers_too_large"),
    ],
    ids=["no-host", "two-hosts", "tls", "transfer-encoding", "address", "headers"],
)
async def test_what_is_no_http_is_a_problem_too(port: int, sent: bytes, status: bytes, code: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"content-type: application/problem+json" in head.lower()
    assert b'"code":"' + code in body
    writer.close()
    await writer.wait_closed()
