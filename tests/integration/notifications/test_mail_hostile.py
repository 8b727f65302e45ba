"""Mail servers that hang, drip, shout and lie: an attempt ends, and gives nothing away."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.notifications.email.email_transport import ANSWER_LIMIT, EmailTransport
from tests.integration.notifications.helpers import claim_of
from tests.integration.notifications.mail_servers import HOST, Talk, hostile, mailbox, smtp

NOW = datetime(2026, 11, 24, 10, 10, 2, tzinfo=UTC)
PATIENCE_S = 0.4
# Of a machine that stands still for seconds; far below what an attempt would last without its bounds.
SLACK_S = 20.0

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def claim(text: str = "t", **changes: Any) -> LeasedDelivery:  # noqa: ANN401 (fields of a claim)
    mail = json.dumps({"subject": "s", "text": text, "html": "<p>t</p>"}).encode()
    usual: dict[str, Any] = {
        "kind": "email",
        "event_id": uuid4(),
        "target": {"to": [f"a{number}@b.example" for number in range(20)]},
        "leased_until": NOW + timedelta(seconds=30),
    }
    return claim_of("", "", mail)._replace(**{**usual, **changes})


async def send(
    port: int,
    claimed: LeasedDelivery | None = None,
    *,
    patience_s: float = PATIENCE_S,
    **settings: Any,  # noqa: ANN401
) -> tuple[AttemptOutcome, float]:
    """Attempt a delivery; gives how long it took, in seconds."""
    async with EmailTransport(smtp(port, timeout_s=patience_s, **settings)) as mailer:
        begun = time.monotonic()
        outcome = await mailer.send(claimed or claim(), NOW)
        return outcome, time.monotonic() - begun


async def speak(
    streams: Streams, said: list[bytes], answers: dict[bytes, bytes], pause_s: float = 0.0
) -> None:
    """Greet, then answer each command; what has no answer of its own is answered by yes."""
    reader, writer = streams
    writer.write(answers.get(b"", b"220 mail.test\r\n"))
    while line := await reader.readline():
        said.append(line.rstrip())
        await asyncio.sleep(pause_s)
        verb = line.split()[0].upper()
        writer.write(answers.get(verb, b"250 OK\r\n"))
        await writer.drain()


@asynccontextmanager
async def speaking(
    answers: dict[bytes, bytes], pause_s: float = 0.0
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Run a server that answers so; gives its port, and what it is told."""
    said: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await speak((reader, writer), said, answers, pause_s)

    async with hostile(talk) as port:
        yield port, said


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    while not writer.is_closing():
        writer.write(b"2")
        await writer.drain()
        await asyncio.sleep(0.02)


async def dripping_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    while not writer.is_closing():
        writer.write(b"220-still here\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("talk", [silent, dripping, dripping_lines])
async def test_a_greeting_that_does_not_come(talk: Talk) -> None:
    async with hostile(talk) as port:
        outcome, took_s = await send(port)
    assert (outcome.reason, outcome.status) == ("timeout", None)
    assert PATIENCE_S * 0.9 < took_s < PATIENCE_S + SLACK_S


async def test_answers_that_each_come_in_time_do_not_add_up() -> None:
    async with speaking({}, pause_s=PATIENCE_S * 0.6) as (port, said):
        outcome, took_s = await send(port)
    assert outcome.reason == "timeout"
    assert 2 * PATIENCE_S * 0.9 < took_s < 2 * PATIENCE_S + SLACK_S
    assert b"DATA" not in said


@pytest.mark.parametrize("shout", [b"x" * 65_536, b"220-more and more of it\r\n" * 2000, b"\n" * 65_536])
async def test_an_answer_without_end(shout: bytes) -> None:
    shouted = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal shouted
        del reader
        while not writer.is_closing():
            writer.write(shout)
            await writer.drain()
            shouted += len(shout)

    async with hostile(talk) as port:
        outcome, took_s = await send(port)
    assert (outcome.reason, outcome.status) == ("response_broken", None)
    assert took_s < PATIENCE_S + SLACK_S
    # What the kernel holds, and not what could be shouted in the time.
    assert shouted < 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("greeting", "reason", "status"),
    [
        (b"\x00\xff\xfe garbage\r\n", "response_broken", None),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "response_broken", None),
        (b"-12 what\r\n", "response_broken", None),
        (b"250 not a greeting\r\n", "response_broken", 250),
        (b"421 busy\r\n", "mail_deferred", 421),
        (b"554 no\r\n", "mail_refused", 554),
    ],
)
async def test_greetings_that_are_none(greeting: bytes, reason: str, status: int | None) -> None:
    async with speaking({b"": greeting}) as (port, said):
        outcome, _ = await send(port, patience_s=SLACK_S)
    assert (outcome.reason, outcome.status) == (reason, status)
    assert not said


@pytest.mark.parametrize("verb", [b"EHLO", b"MAIL", b"RCPT", b"DATA"])
async def test_a_connection_that_is_closed_on_the_way(verb: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test\r\n")
        while not (await reader.readuntil(b"\n")).upper().startswith(verb):
            writer.write(b"250 OK\r\n")

    async with hostile(talk) as port:
        outcome, took_s = await send(port, patience_s=2 * SLACK_S)
    assert (outcome.reason, outcome.status) == ("response_broken", None)
    assert took_s < SLACK_S


async def test_answers_are_cut_and_fit_for_the_database() -> None:
    answer = b"550-\x00 \xff\xfe " + b"long " * 1000 + b"\r\n550 \xe9nd\r\n"
    async with speaking({b"MAIL": answer}) as (port, _):
        outcome, _ = await send(port, patience_s=SLACK_S)
    assert (outcome.reason, outcome.status) == ("mail_refused", 550)
    assert outcome.body is not None
    assert len(outcome.body) == ANSWER_LIMIT
    assert outcome.body.startswith("\ufffd \ufffd\ufffd long long")
    assert outcome.body.encode()


async def test_what_comes_after_the_mail_was_taken_changes_nothing() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test\r\n")
        while not (await reader.readuntil(b"\n")).upper().startswith(b"DATA"):
            writer.write(b"250 OK\r\n")
        writer.write(b"354 go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.read()

    async with hostile(talk) as port:
        outcome, took_s = await send(port)
    assert (outcome.reason, outcome.status, outcome.body) == ("delivered", 250, "taken")
    assert took_s < PATIENCE_S + SLACK_S


async def test_a_server_that_reads_nothing_keeps_nothing_of_ours() -> None:
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 mail.test\r\n")
            while not (await reader.readuntil(b"\n")).upper().startswith(b"DATA"):
                writer.write(b"250 OK\r\n")
            writer.write(b"354 go on\r\n")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            # Writing fails once the other side has let go of the connection, whatever it had still to write.
            while not writer.is_closing():
                writer.write(b"2")
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            ended.set()

    async with hostile(talk) as port:
        outcome, took_s = await send(port, claim("x" * 16_000_000))
        async with asyncio.timeout(60):
            await ended.wait()
    assert outcome.reason == "timeout"
    assert took_s < 2 * PATIENCE_S + SLACK_S + 1.0


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {b"EHLO": b"250-mail.test\r\n250 AUTH PLAIN LOGIN CRAM-MD5\r\n"},
        {b"EHLO": b"250-STARTTLS\r\n250 AUTH PLAIN\r\n", b"STARTTLS": b"454 not now\r\n"},
        {b"EHLO": b"250 STARTTLS\r\n", b"STARTTLS": b"220 no TLS follows\r\n"},
        {b"EHLO": b"502 what is that\r\n"},
    ],
)
async def test_without_tls_neither_the_account_nor_the_mail_is_given_away(
    answers: dict[bytes, bytes],
) -> None:
    answers.setdefault(b"EHLO", b"250 mail.test\r\n")
    async with speaking(answers) as (port, said):
        outcome, took_s = await send(port, security="starttls", username="vigie", password="secret")
    expected = "mail_refused" if answers[b"EHLO"].startswith(b"5") else "tls_failed"
    if answers.get(b"STARTTLS", b"").startswith(b"220"):
        # It waits for the rest of a handshake that the server does not know of.
        expected = outcome.reason
        assert expected in ("tls_failed", "timeout", "response_broken")
    assert outcome.reason == expected
    assert took_s < 2 * PATIENCE_S + SLACK_S
    verbs = {line.split()[0] for line in said[:2]}
    assert verbs <= {b"EHLO", b"STARTTLS"}
    for line in said:
        assert not line.upper().startswith((b"AUTH", b"MAIL", b"RCPT", b"DATA"))


async def test_a_handshake_that_hangs() -> None:
    async with hostile(silent) as port:
        outcome, took_s = await send(port, security="tls")
    assert outcome.reason == "timeout"
    assert took_s < PATIENCE_S + SLACK_S


async def test_a_connection_that_is_never_taken() -> None:
    with socket.socket() as full:
        full.bind((HOST, 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        try:
            outcome, took_s = await send(full.getsockname()[1])
        finally:
            for each in waiting:
                each.close()
    assert outcome.reason == "connect_timeout"
    assert took_s < PATIENCE_S + SLACK_S


@pytest.mark.parametrize(
    ("lease_s", "longest_s"), [(0.4, 0.4), (0.0, 0.1), (-5.0, 0.1)], ids=["short", "over", "long over"]
)
async def test_an_attempt_is_over_before_its_lease(lease_s: float, longest_s: float) -> None:
    async with hostile(silent) as port, EmailTransport(smtp(port, timeout_s=60)) as mailer:
        begun = time.monotonic()
        outcome = await mailer.send(claim(leased_until=NOW + timedelta(seconds=lease_s)), NOW)
        took_s = time.monotonic() - begun
    assert outcome.reason in ("timeout", "connect_timeout")
    assert took_s < longest_s + SLACK_S


async def test_a_stop_cuts_an_attempt_short_and_leaves_nothing_open() -> None:
    connected, gone = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        connected.set()
        await reader.read()
        gone.set()

    async with hostile(talk) as port, EmailTransport(smtp(port, timeout_s=60)) as mailer:
        task = asyncio.create_task(mailer.send(claim(), NOW))
        async with asyncio.timeout(60):
            await connected.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(60):
            await gone.wait()


async def test_other_mails_go_on_while_one_hangs() -> None:
    async with mailbox() as server, EmailTransport(smtp(server.port)) as mailer:
        server.delay_s = 30
        slow = asyncio.create_task(mailer.send(claim(), NOW))
        async with asyncio.timeout(60):
            while not server.sessions:  # noqa: ASYNC110 (the server counts, and tells nobody)
                await asyncio.sleep(0.01)
        server.delay_s = 0.0
        assert (await mailer.send(claim(), NOW)).delivered
        assert not slow.done()
        slow.cancel()
