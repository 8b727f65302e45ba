"""One POST against real receivers on loopback, well-behaved and not."""

import asyncio
import resource
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from app.notifications.delivery.transport_types import REASONS, AttemptOutcome
from app.notifications.http.guarded_resolver import GuardedResolver, ResolvedAddresses
from app.notifications.http.http_transport import HttpTransport
from app.notifications.http.webhook_secrets import seal_headers, seal_secret
from app.notifications.http.webhook_signatures import generate_secret
from app.notifications.settings import WebhookSettings
from app.platform.kernel.ids import new_id
from app.platform.secrets.sealing import SecretSealer
from tests.integration.notifications.helpers import claim_of
from tests.integration.notifications.receivers import Talk, receiving, status, talking

SECRET = generate_secret()
BODY = b'{"type":"alert.firing","timestamp":"2026-11-24T10:10:02Z","data":{"value":31.2}}'


def _settings(**changes: Any) -> WebhookSettings:  # noqa: ANN401 (whatever a setting holds)
    usual = {"allow_private": True, "connect_timeout_s": 20.0, "total_timeout_s": 40.0, "lease_s": 80.0}
    return WebhookSettings.model_validate({**usual, **changes})


async def _post(sender: HttpTransport, url: str, timestamp: int | None = None) -> AttemptOutcome:
    now = datetime.now(UTC) if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
    outcome = await sender.send(claim_of(url, SECRET, BODY), now)
    assert outcome.reason in REASONS
    return outcome


@asynccontextmanager
async def _sender(**changes: Any) -> AsyncIterator[HttpTransport]:  # noqa: ANN401 (whatever a setting holds)
    async with HttpTransport(_settings(**changes), SecretSealer([])) as sender:
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
        (410, "gone"),
        (429, "rate_limited"),
        (500, "http_error"),
        (503, "http_error"),
    ],
)
async def test_what_a_status_means(code: int, reason: str) -> None:
    async with receiving(status(code)) as receiver, _sender() as sender:
        outcome = await _post(sender, receiver.url)
    assert (outcome.reason, outcome.status) == (reason, code)


@pytest.mark.parametrize(
    ("code", "value", "seconds"),
    [
        (503, "30", 30),
        (429, "Thu, 26 Nov 2026 10:02:00 GMT", 120),
        (503, "later", None),
        (503, None, None),
        # A year that no number holds.
        (503, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        (204, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        (204, "30", None),
    ],
)
async def test_a_receiver_says_when_it_wants_to_hear_again(
    code: int, value: str | None, seconds: float | None
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={} if value is None else {"Retry-After": value})

    now = datetime(2026, 11, 26, 10, tzinfo=UTC)
    async with receiving(answer) as receiver, _sender() as sender:
        outcome = await _post(sender, receiver.url, int(now.timestamp()))
    assert (outcome.status, outcome.retry_after_s) == (code, seconds)


@pytest.mark.parametrize(
    ("format_", "type_"),
    [
        ("native", "application/json"),
        ("alertmanager", "application/json"),
        ("cloudevents", "application/cloudevents+json; charset=utf-8"),
    ],
)
async def test_each_format_has_its_type(format_: str, type_: str) -> None:
    async with receiving(status(204)) as receiver, _sender() as sender:
        claimed = claim_of(receiver.url, SECRET, BODY, format=format_)
        assert (await sender.send(claimed, datetime.now(UTC))).delivered
    assert receiver.got[0].headers["content-type"] == type_
    Webhook(SECRET).verify(receiver.got[0].body, receiver.got[0].headers)


async def test_an_endpoints_own_headers_do_not_replace_ours() -> None:
    sealer, endpoint = SecretSealer([b"k" * 32]), new_id()
    own = {
        "Authorization": "Bearer t0ken",
        "Webhook-Id": "msg_forged",
        "WEBHOOK-SIGNATURE": "v1,forged",
        "Content-Type": "text/plain",
        "User-Agent": "curl",
        "Host": "inside.example",
        "Content-Length": "3",
        "Transfer-Encoding": "chunked",
        "Expect": "100-continue",
        "Connection": "close",
    }
    claimed = claim_of(
        "", seal_secret(sealer, endpoint, SECRET), BODY, endpoint_id=endpoint,
        headers=seal_headers(sealer, endpoint, own),
    )  # fmt: skip
    async with receiving(status(204)) as receiver, HttpTransport(_settings(), sealer) as sender:
        outcome = await sender.send(claimed._replace(url=receiver.url), datetime.now(UTC))
    assert outcome.delivered
    (got,) = receiver.got
    Webhook(SECRET).verify(got.body, got.headers)
    assert got.headers["authorization"] == "Bearer t0ken"
    assert got.headers["webhook-id"] == claimed.message_id
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("Vigie/")
    assert got.headers["host"] in receiver.url
    assert got.headers["content-length"] == str(len(BODY))
    assert not {"transfer-encoding", "expect", "connection"} & got.headers.keys()


async def test_a_secret_of_another_key_is_told_apart() -> None:
    sealed = seal_secret(SecretSealer([b"k" * 32]), new_id(), SECRET)
    async with (
        receiving(status(204)) as receiver,
        HttpTransport(_settings(), SecretSealer([b"x" * 32])) as sender,
    ):
        outcome = await sender.send(claim_of(receiver.url, sealed, BODY), datetime.now(UTC))
    assert outcome.reason == "not_configured"
    assert receiver.got == []


async def test_former_secrets_sign_too() -> None:
    now, former, past = datetime.now(UTC), generate_secret(), generate_secret()
    alive, dead = (now + timedelta(hours=1)).isoformat(), (now - timedelta(seconds=1)).isoformat()
    claimed = claim_of(
        "",
        SECRET,
        BODY,
        former_secrets=[{"secret": former, "expires_at": alive}, {"secret": past, "expires_at": dead}],
    )
    async with receiving(status(204)) as receiver, _sender() as sender:
        await sender.send(claimed._replace(url=receiver.url), now)
    (got,) = receiver.got
    assert len(got.headers["webhook-signature"].split()) == 2
    Webhook(SECRET).verify(got.body, got.headers)
    Webhook(former).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(past).verify(got.body, got.headers)


async def test_an_answer_before_the_request_was_read() -> None:
    """A receiver that answers at once, and reads nothing of a large body: it has said what it has to say."""

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(5)

    async with talking(hasty, listens=False) as url, _sender(total_timeout_s=2.0) as sender:
        outcome = await sender.send(claim_of(url, SECRET, b"x" * 10_000_000), datetime.now(UTC))
    assert (outcome.reason, outcome.status) == ("http_error", 413)


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


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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


async def _flood_of_continue(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        await writer.drain()


async def _huge_header(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx-huge: ")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def _huge_status_line(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 ")
    while True:
        writer.write(b"K" * 65_536)
        await writer.drain()


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _http_0_9(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"<html>It works!</html>")
    await writer.drain()


async def _two_lengths(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc")
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
        (_endless_continue, "response_broken"),
        (_flood_of_continue, "response_broken"),
        (_huge_header, "response_broken"),
        (_huge_status_line, "response_broken"),
        (_reset, "response_broken"),
        (_http_0_9, "response_broken"),
        (_two_lengths, "response_broken"),
        (_close, "response_broken"),
        (_not_http, "response_broken"),
    ],
)
async def test_no_receiver_holds_an_attempt_beyond_its_time(talk: Talk, reason: str) -> None:
    # Half a second for those that are cut by it alone.
    patience = 0.5 if reason == "timeout" else 3.0 if talk is _drip else 20.0
    async with talking(talk) as url, _sender(total_timeout_s=patience, response_limit_bytes=64) as sender:
        before = _peak_bytes()
        began = time.monotonic()
        outcome = await _post(sender, url)
        assert time.monotonic() - began < 10
    assert outcome.reason == reason
    # Whatever was sent in that time, next to nothing of it was kept.
    assert _peak_bytes() - before < 30_000_000
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


async def _taken(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("case", ["valid", "nobody vouches", "another name", "expired"])
async def test_certificates(case: str) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = {
        "valid": lambda: authority.issue_cert("localhost"),
        "nobody vouches": lambda: stranger.issue_cert("localhost"),
        "another name": lambda: authority.issue_cert("example.com"),
        "expired": lambda: authority.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC)),
    }[case]()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    sending = HttpTransport(_settings(), SecretSealer([]), trusted=trusted)
    async with talking(_taken, certificate=certificate) as url, sending as sender:
        outcome = await _post(sender, url)
    assert outcome.reason == ("delivered" if case == "valid" else "tls_failed")


async def test_a_certificate_that_this_machine_does_not_know() -> None:
    certificate = trustme.CA().issue_cert("localhost")
    async with talking(_taken, certificate=certificate) as url, _sender() as sender:
        assert (await _post(sender, url)).reason == "tls_failed"


async def test_a_receiver_that_speaks_no_tls() -> None:
    async with receiving(status(204)) as receiver, _sender() as sender:
        assert (await _post(sender, receiver.url.replace("http:", "https:"))).reason == "tls_failed"


async def test_a_name_that_does_not_exist() -> None:
    async def nothing(host: str, port: int, family: socket.AddressFamily) -> ResolvedAddresses:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port} {family}")

    resolver = GuardedResolver(allow_private=True, look_up=nothing)
    async with HttpTransport(_settings(), SecretSealer([]), resolver) as sender:
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

    async def rebind(host: str, port: int, family: socket.AddressFamily) -> ResolvedAddresses:
        del port, family
        asked.append(host)
        return [(socket.AF_INET, answers[len(asked) - 1])]

    async with receiving(status(204)) as receiver:
        port = int(receiver.url.rpartition(":")[2].partition("/")[0])
        for name, expected in [("a", "delivered"), ("b", "address_refused"), ("c", "delivered")]:
            resolver = GuardedResolver(allow_private=True, look_up=rebind)
            async with HttpTransport(_settings(), SecretSealer([]), resolver) as sender:
                # One look-up an attempt: there is no second answer between the check and the connection.
                assert (await _post(sender, f"http://{name}.example:{port}/")).reason == expected
    assert asked == ["a.example", "b.example", "c.example"]
    assert len(receiver.got) == 2


async def test_a_name_for_a_private_address_is_refused_before_anything_is_sent() -> None:
    async def inside(host: str, port: int, family: socket.AddressFamily) -> ResolvedAddresses:
        del host, port, family
        return [(socket.AF_INET, "93.184.215.14"), (socket.AF_INET, "127.0.0.1")]

    async with receiving(status(204)) as receiver:
        port = int(receiver.url.rpartition(":")[2].partition("/")[0])
        resolver = GuardedResolver(allow_private=False, look_up=inside)
        async with HttpTransport(_settings(allow_private=False), SecretSealer([]), resolver) as sender:
            outcome = await _post(sender, f"https://inside.example:{port}/")
    assert outcome.reason == "address_refused"
    assert receiver.got == []


async def test_a_name_that_is_rebound_between_two_attempts() -> None:
    """A kept connection goes on to where it was checked; a new one is checked anew."""
    asked = 0

    async def rebind(host: str, port: int, family: socket.AddressFamily) -> ResolvedAddresses:
        nonlocal asked
        del host, port, family
        asked += 1
        return [(socket.AF_INET, "127.0.0.1" if asked == 1 else "169.254.169.254")]

    peers: set[object] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        response = web.Response(status=204)
        if len(receiver.got) == 2:
            response.force_close()
        return response

    async with receiving(answer) as receiver:
        port = int(receiver.url.rpartition(":")[2].partition("/")[0])
        resolver = GuardedResolver(allow_private=True, look_up=rebind)
        async with HttpTransport(_settings(), SecretSealer([]), resolver) as sender:
            reasons = []
            for _ in range(3):
                reasons.append((await _post(sender, f"http://rebound.example:{port}/")).reason)
                # What was looked up and checked is remembered for some seconds: as if they had passed.
                assert sender._session is not None
                assert isinstance(sender._session.connector, aiohttp.TCPConnector)
                sender._session.connector.clear_dns_cache()
    assert reasons == ["delivered", "delivered", "address_refused"]
    assert (asked, len(receiver.got), len(peers)) == (2, 2, 1)
