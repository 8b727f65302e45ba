"""One POST against real receivers on loopback, well-behaved and not."""

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from app.core.sealing import Sealer
from app.core.settings import WebhookSettings
from app.webhooks.attempt import Sender
from app.webhooks.resolver import Found, GuardedResolver
from app.webhooks.signing import generate_secret
from app.webhooks.transport import REASONS, Outcome
from tests.integration.webhooks.helpers import claim_of
from tests.integration.webhooks.receivers import Talk, receiving, status, talking

SECRET = generate_secret()
BODY = b'{"type":"alert.firing","timestamp":"2026-11-24T10:10:02Z","data":{"value":31.2}}'


def _settings(**changes: Any) -> WebhookSettings:  # noqa: ANN401 (whatever a setting holds)
    usual = {"allow_private": True, "connect_timeout_s": 0.5, "total_timeout_s": 1.0, "lease_s": 5.0}
    return WebhookSettings.model_validate({**usual, **changes})


async def _post(sender: Sender, url: str, timestamp: int | None = None) -> Outcome:
    now = datetime.now(UTC) if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
    outcome = await sender.send(claim_of(url, SECRET, BODY), now)
    assert outcome.reason in REASONS
    return outcome


@asynccontextmanager
async def _sender(**changes: Any) -> AsyncIterator[Sender]:  # noqa: ANN401 (whatever a setting holds)
    async with Sender(_settings(**changes), Sealer([])) as sender:
        yield sender


async def test_what_arrives_verifies_and_says_who_sent_it() -> None:
    async with receiving(status(204)) as receiver, _sender() as sender:
        outcome = await _post(sender, receiver.url + "?tenant=7")
    assert outcome.delivered
    assert (outcome.reason, outcome.status, outcome.body) == ("delivered", 204, None)
    assert outcome.duration_ms > 0
    (got,) = receiver.got
    assert got.body == BODY
    assert got.path == "/hook?tenant=7"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("Vigie/")
    Webhook(SECRET).verify(got.body, got.headers)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (200, "delivered"),
        (299, "delivered"),
        (301, "redirect_refused"),
        (302, "redirect_refused"),
        (304, "redirect_refused"),
        (308, "redirect_refused"),
        (400, "http_error"),
        (410, "http_error"),
        (429, "http_error"),
        (500, "http_error"),
        (503, "http_error"),
    ],
)
async def test_what_a_status_means(code: int, reason: str) -> None:
    async with receiving(status(code)) as receiver, _sender() as sender:
        outcome = await _post(sender, receiver.url)
    assert (outcome.reason, outcome.status) == (reason, code)


async def test_a_redirect_is_not_followed() -> None:
    async def away(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(target.url)

    async with receiving(status(204)) as target, receiving(away) as receiver, _sender() as sender:
        outcome = await _post(sender, receiver.url)
    assert (outcome.reason, outcome.status) == ("redirect_refused", 302)
    assert len(receiver.got) == 1
    assert target.got == []


async def test_a_connection_is_used_again() -> None:
    peers: set[object] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(text="short")

    async with receiving(answer) as receiver, _sender() as sender:
        for _ in range(5):
            assert (await _post(sender, receiver.url)).delivered
    assert len(peers) == 1


@pytest.mark.parametrize("code", [200, 500])
async def test_a_long_body_is_cut_short(code: int) -> None:
    async def long(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, body=b"\0\xff" + b"x" * 1_000_000)

    async with receiving(long) as receiver, _sender(response_limit_bytes=100) as sender:
        outcome = await _post(sender, receiver.url)
        again = await _post(sender, receiver.url)
    assert outcome.status == again.status == code
    assert outcome.body == "\ufffd\ufffd" + "x" * 98


async def test_a_compressed_bomb_is_not_unpacked() -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        assert request.headers["accept-encoding"] == "identity"
        return web.Response(body=b"\x1f\x8b" * 10, headers={"content-encoding": "gzip"})

    async with receiving(bomb) as receiver, _sender() as sender:
        assert (await _post(sender, receiver.url)).delivered


async def test_a_hang_is_a_timeout() -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with receiving(hang) as receiver, _sender(total_timeout_s=0.3) as sender:
        outcome = await _post(sender, receiver.url)
    assert (outcome.reason, outcome.status, outcome.body) == ("timeout", None, None)
    # Not before the limit; the receiver would have taken a hundred times as long.
    assert 290 < outcome.duration_ms < 30_000


async def _endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def _drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _endless_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-y: z\r\n" * 1000)
        await writer.drain()


async def _dripping_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-y: z\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _endless_continue(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _not_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n")
    await writer.drain()


async def _broken_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    await writer.drain()


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (_endless, "delivered"),
        (_drip, "delivered"),
        (_broken_body, "delivered"),
        (_endless_headers, "response_broken"),
        (_dripping_headers, "timeout"),
        (_endless_continue, "timeout"),
        (_close, "response_broken"),
        (_not_http, "response_broken"),
    ],
)
async def test_no_receiver_holds_an_attempt_beyond_its_time(talk: Talk, reason: str) -> None:
    async with talking(talk) as url, _sender(total_timeout_s=0.5, response_limit_bytes=64) as sender:
        began = time.monotonic()
        outcome = await _post(sender, url)
        assert time.monotonic() - began < 1.5
    assert outcome.reason == reason
    assert len(outcome.body or "") <= 64


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        async with _sender() as sender:
            assert (await _post(sender, url)).reason == "connect_failed"


async def test_nobody_accepts() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = []
        for _ in range(4):  # fill the queue: later connections get no answer at all
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        async with _sender(connect_timeout_s=0.2) as sender:
            outcome = await _post(sender, f"http://127.0.0.1:{address[1]}/")
        for one in waiting:
            one.close()
    assert outcome.reason == "connect_timeout"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost "
        "-keyout key.pem -out cert.pem -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=30)  # noqa: S603 (ours)
    return folder


async def test_a_certificate_that_nobody_vouches_for(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0, ssl=context)
    try:
        async with _sender() as sender:
            outcome = await _post(sender, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()
    assert outcome.reason == "tls_failed"


async def test_a_receiver_that_speaks_no_tls() -> None:
    async with receiving(status(204)) as receiver, _sender() as sender:
        assert (await _post(sender, receiver.url.replace("http:", "https:"))).reason == "tls_failed"


async def test_a_name_that_does_not_exist() -> None:
    async def nothing(host: str, port: int, family: socket.AddressFamily) -> Found:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port} {family}")

    resolver = GuardedResolver(allow_private=True, ask=nothing)
    async with Sender(_settings(), Sealer([]), resolver) as sender:
        assert (await _post(sender, "https://nowhere.example/")).reason == "name_unresolved"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:1/",
        "http://example.com/",
        "https://127.1:1/",
        "https://[::ffff:127.0.0.1]/",
        "https://user@example.com/",
    ],
)
async def test_a_url_is_checked_again_at_each_attempt(url: str) -> None:
    async with _sender(allow_private=False) as sender:
        assert (await _post(sender, url)).reason == "address_refused"


async def test_a_name_that_is_rebound_reaches_nothing() -> None:
    """The receiver's name answers differently each time: only the first answer leads anywhere."""
    answers = ["127.0.0.1", "169.254.169.254", "127.0.0.1"]
    asked: list[str] = []

    async def rebind(host: str, port: int, family: socket.AddressFamily) -> Found:
        del port, family
        asked.append(host)
        return [(socket.AF_INET, answers[len(asked) - 1])]

    async with receiving(status(204)) as receiver:
        port = int(receiver.url.rpartition(":")[2].partition("/")[0])
        for name, expected in [("a", "delivered"), ("b", "address_refused"), ("c", "delivered")]:
            resolver = GuardedResolver(allow_private=True, ask=rebind)
            async with Sender(_settings(), Sealer([]), resolver) as sender:
                # One look-up an attempt: there is no second answer between the check and the connection.
                assert (await _post(sender, f"http://{name}.example:{port}/")).reason == expected
    assert asked == ["a.example", "b.example", "c.example"]
    assert len(receiver.got) == 2


async def test_a_name_for_a_private_address_is_refused_before_anything_is_sent() -> None:
    async def inside(host: str, port: int, family: socket.AddressFamily) -> Found:
        del host, port, family
        return [(socket.AF_INET, "93.184.215.14"), (socket.AF_INET, "127.0.0.1")]

    async with receiving(status(204)) as receiver:
        port = int(receiver.url.rpartition(":")[2].partition("/")[0])
        resolver = GuardedResolver(allow_private=False, ask=inside)
        async with Sender(_settings(allow_private=False), Sealer([]), resolver) as sender:
            outcome = await _post(sender, f"https://inside.example:{port}/")
    assert outcome.reason == "address_refused"
    assert receiver.got == []
