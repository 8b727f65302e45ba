"""The receiver, over HTTP on loopback."""

import asyncio
import base64
import json
import time
from typing import Any

import aiohttp
import pytest

from simulators.webhook_receiver import ReceiverBehaviour, WebhookReceiver
from simulators.webhook_signatures import compute_signature, decode_secret

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
MESSAGE: dict[str, Any] = {
    "type": "alert.firing",
    "data": {
        "box": "b\n1",
        "metric": "pm2_5",
        "value": 31.2,
        "threshold": 25,
        "severity": "warning",
        "sequence": 1,
    },
}


async def post(url: str, message_id: str, *, secret: str = SECRET) -> int:
    body = json.dumps(MESSAGE).encode()
    now = str(int(time.time()))
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{compute_signature(decode_secret(secret), message_id, now, body)}",
    }
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        return answer.status


async def test_it_verifies_counts_repetitions_and_prints_a_line_each() -> None:
    lines: list[str] = []
    async with WebhookReceiver(secret=SECRET, print_line=lines.append) as receiver:
        assert receiver.url == f"http://127.0.0.1:{receiver.port}/"
        assert [await post(receiver.url, name) for name in ("msg_a", "msg_b", "msg_a")] == [204, 204, 204]
        other = "whsec_" + base64.b64encode(b"x" * 32).decode()
        assert await post(receiver.url, "msg_c", secret=other) == 401
    counts = receiver.counts
    assert (counts.requests, counts.verified, counts.duplicates, counts.refused) == (4, 3, 1, 1)
    assert counts.by_type == {"alert.firing": 2}
    assert len(lines) == 4
    assert lines[0].startswith("webhook verified msg_a alert.firing ")
    assert "\n" not in lines[0]
    assert "duplicate" in lines[2]
    assert "REFUSED" in lines[3]


async def test_it_fails_first_as_told_and_what_failed_is_no_repetition() -> None:
    behaviour = ReceiverBehaviour(fail_first=2)
    async with WebhookReceiver(secret=SECRET, behaviour=behaviour, print_line=lambda _line: None) as receiver:
        assert [await post(receiver.url, "msg_a") for _ in range(4)] == [500, 500, 204, 204]
    assert (receiver.counts.failed, receiver.counts.duplicates) == (2, 1)


async def test_it_answers_with_another_status_after_a_delay() -> None:
    behaviour = ReceiverBehaviour(status=418, delay_s=0.05)
    async with WebhookReceiver(secret=SECRET, behaviour=behaviour, print_line=lambda _line: None) as receiver:
        started = time.monotonic()
        assert await post(receiver.url, "msg_a") == 418
        assert time.monotonic() - started >= 0.05
        assert await post(receiver.url, "msg_a") == 418
    assert receiver.counts.duplicates == 0


async def test_without_a_secret_it_refuses_or_says_that_nothing_is_checked() -> None:
    async with WebhookReceiver(print_line=lambda _line: None) as receiver:
        assert await post(receiver.url, "msg_a") == 401
        receiver.use_secret(SECRET)
        assert await post(receiver.url, "msg_a") == 204
    lines: list[str] = []
    async with WebhookReceiver(unsigned=True, print_line=lines.append) as receiver:
        assert await post(receiver.url, "msg_a") == 204
    assert "unchecked" in lines[0]


async def test_a_taken_port_is_an_error() -> None:
    async with WebhookReceiver(secret=SECRET) as first:
        with pytest.raises(OSError, match="in use"):
            await WebhookReceiver(port=first.port).open()


async def test_while_a_secret_is_changed_either_verifies() -> None:
    other = "whsec_" + base64.b64encode(b"x" * 32).decode()
    async with WebhookReceiver(secret=[SECRET, other], print_line=lambda _line: None) as receiver:
        assert await post(receiver.url, "msg_a") == 204
        assert await post(receiver.url, "msg_b", secret=other) == 204
        assert await post(receiver.url, "msg_c", secret="whsec_" + base64.b64encode(b"y").decode()) == 401


async def test_failures_say_when_to_come_again() -> None:
    behaviour = ReceiverBehaviour(status=429, fail_first=1, retry_after_s=7)
    async with (
        WebhookReceiver(unsigned=True, behaviour=behaviour, print_line=lambda _line: None) as receiver,
        aiohttp.ClientSession() as session,
    ):
        for status in (503, 429, 429):
            async with session.post(receiver.url, data=b"{}") as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (status, "7")
    assert receiver.counts.by_type == {}


async def test_it_hangs_as_asked_and_still_stops() -> None:
    lines: list[str] = []
    async with (
        WebhookReceiver(
            unsigned=True, behaviour=ReceiverBehaviour(hang=True), print_line=lines.append
        ) as receiver,
        aiohttp.ClientSession() as session,
    ):
        asking = asyncio.ensure_future(session.post(receiver.url, data=json.dumps(MESSAGE).encode()))
        async with asyncio.timeout(60):
            while not lines:  # noqa: ASYNC110 (a list has no event)
                await asyncio.sleep(0.01)
        done, _ = await asyncio.wait({asking}, timeout=0.2)
        assert not done
        asking.cancel()
        await asyncio.wait({asking})
    assert "not answered: alert.firing" in lines[0]
