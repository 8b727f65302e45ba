"""Clients that take their time, at uvicorn with our protocol: a real server, no services."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.platform.runtime.server_timeouts import TimeoutHttpProtocol

PATIENCE_S = 0.3
HEAD = b"POST /refused HTTP/1.1\r\nHost: vigie.test\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 401 without a look at the body, as what asks for a key does; `/read` reads it first."""
    if scope["path"] in {"/read", "/trailers"}:
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/slow":
        await asyncio.sleep(PATIENCE_S / 3)
    if scope["path"] == "/trailers":
        assert [name for name, _ in scope["headers"]] == [b"host", b"transfer-encoding"]
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


@contextlib.asynccontextmanager
async def serving(patience_s: float) -> AsyncIterator[int]:
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=0,
        http=TimeoutHttpProtocol.of(patience_s),
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


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(PATIENCE_S) as made:
        yield made


@pytest.fixture
async def patient_port() -> AsyncIterator[int]:
    """For clients that are not slow themselves, though the machine may be."""
    async with serving(60.0) as made:
        yield made


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
        async with asyncio.timeout(60):
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


async def test_a_body_that_ends_after_its_answer_leaves_the_connection_in_use(patient_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", patient_port)
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
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414", b"uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000, b"431", b"headers_too_large"),
    ],
    ids=["no-host", "two-hosts", "tls", "transfer-encoding", "address", "whole-address", "headers"],
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


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"505", b"invalid_http"),
        (b"GET / HTTP/1.1\nHost: a\n\n", b"400", b"invalid_http"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"400", b"invalid_http"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", b"400", b"invalid_http"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"400", b"invalid_http"),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", b"400", b"invalid_http"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400", b"invalid_http"),
        (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400", b"invalid_http"),
        (
            HEAD.replace(b"/refused", b"/read") + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
            b"400",
            b"invalid_http",
        ),
        (
            HEAD.replace(b"/refused", b"/read") + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 200_000,
            b"431",
            b"headers_too_large",
        ),
    ],
    ids=[
        *("version", "bare line feed", "space before the colon", "control character", "CONNECT"),
        *("two lengths", "negative length", "length and chunked", "no chunk size", "chunk extension"),
    ],
)
async def test_smuggling_and_endless_parts_are_refused(
    port: int, sent: bytes, status: bytes, code: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(60):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'"code":"' + code in answer
    writer.close()
    await writer.wait_closed()


async def test_requests_in_a_row_are_answered_in_their_order(patient_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", patient_port)
    writer.write(HEAD + b"\r\n" + HEAD + b"Content-Length: 2\r\n\r\nok" + HEAD + b"\r\n")
    for _ in range(3):
        assert (await reader.readuntil(b"no")).startswith(b"HTTP/1.1 401 ")
    writer.close()
    await writer.wait_closed()


async def test_a_head_may_come_byte_by_byte(patient_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", patient_port)
    for byte in HEAD + b"Content-Length: 2\r\n\r\nok":
        writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await reader.readuntil(b"no")).startswith(b"HTTP/1.1 401 ")
    writer.close()
    await writer.wait_closed()


async def test_empty_lines_are_not_waited_for(port: int) -> None:
    assert await closed(port, HEAD + b"\r\n", b"\r\n") != b""


async def test_an_upgrade_is_answered_and_ends_the_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    async with asyncio.timeout(60):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer
    writer.close()
    await writer.wait_closed()


async def test_trailers_are_no_headers(patient_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", patient_port)
    writer.write(HEAD.replace(b"/refused", b"/trailers") + b"Transfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(0.05)
    writer.write(b"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
    assert b"401" in await reader.readuntil(b"no")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        # The body comes after its answer, and nothing after it.
        (HEAD + b"Content-Length: 5\r\n\r\n", b"12345"),
        # A head begins in the same segment, and goes on after the answer.
        (HEAD + b"\r\nG", b"E"),
    ],
    ids=["late body", "begun head"],
)
async def test_a_connection_without_a_request_is_not_kept(port: int, first: bytes, then: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    assert (await reader.readuntil(b"no")).startswith(b"HTTP/1.1 401 ")
    writer.write(then)
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_a_bad_request_behind_a_running_one_is_no_answer_to_it(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    running = HEAD.replace(b"/refused", b"/slow") + b"\r\n"
    writer.write(running + HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n")
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            assert b"400" not in await reader.read()
    writer.close()


async def test_a_thousand_requests_in_a_row_are_too_many(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write((HEAD + b"\r\n") * 1_000)
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            assert (await reader.read()).count(b"HTTP/1.1 401 ") <= 17
    writer.close()
