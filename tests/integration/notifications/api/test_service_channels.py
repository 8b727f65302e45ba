"""Channels to services by HTTP: made by the API, delivered to real receivers; their secrets stay secret."""

import base64
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from app.platform.db.database import Database
from app.platform.kernel.application_resources import provide_resources
from app.platform.kernel.ids import new_id
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.notifications.helpers import (
    alert_event,
    attempts,
    dispatching,
    emit,
    states,
    until,
    with_webhooks,
)
from tests.integration.notifications.receivers import Answer, receiving, status
from tests.service_schemas import SCHEMAS

KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
PASSWORD = "correct horse"
SECRETS: dict[str, dict[str, Any]] = {
    "slack": {},
    "teams": {},
    "discord": {},
    "pagerduty": {"routing_key": KEY},
    "ntfy": {"topic": "ville", "token": "tk_secret"},
    "alertmanager": {"username": "vigie", "password": PASSWORD},
}
ANSWERS: dict[str, tuple[int, str]] = {
    "slack": (200, "ok"),
    "teams": (202, ""),
    "discord": (204, ""),
    "pagerduty": (202, '{"status":"success"}'),
    "ntfy": (200, '{"id":"x"}'),
    "alertmanager": (200, ""),
}
KINDS = sorted(SECRETS)
HIDDEN = ("/hook", KEY, "tk_secret", PASSWORD)


def says(*answers: tuple[int, str], headers: dict[str, str] | None = None) -> Answer:
    """Gives one answer after the other, then the last one."""
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        del request
        code, text = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=code, text=text, headers=headers)

    return answer


async def create(tenant: Tenant, kind: str, url: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    grouping = {} if kind in ("pagerduty", "alertmanager") else {"grouping": None}
    wanted = {"kind": kind, "url": url, **SECRETS[kind], **grouping, **body}
    answer = await tenant.client.post("/v1/channels", json=wanted)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def alert_of(tenant: Tenant, site_id: str, type_: str = "alert.firing", **data: Any) -> Any:  # noqa: ANN401 (an event)
    usual = {
        "rule_name": "Particules fines",
        "organisation_id": tenant.id,
        "metric": "pm2_5",
        "value": 31.2,
        "threshold": 25.0,
    }
    return alert_event(UUID(tenant.id), type_=type_, site_id=UUID(site_id), **{**usual, **data})


@pytest.mark.parametrize("kind", KINDS)
async def test_an_alert_reaches_a_service_as_its_schema_says(
    *,
    kind: str,
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    async with receiving(says(ANSWERS[kind])) as receiver:
        made = await create(tenant, kind, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, alert_of(tenant, site_id))
            (got,) = await receiver.wait(1)

            async def delivered() -> bool:
                return await states(connection) == {"delivered": 1}

            await until(delivered)
    body = json.loads(got.body)
    Draft202012Validator(SCHEMAS[kind]).validate(body)
    assert got.path == ("/hook/api/v2/alerts" if kind == "alertmanager" else "/hook")
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("Vigie/")
    assert "webhook-signature" not in got.headers
    authorization = {
        "ntfy": "Bearer tk_secret",
        "alertmanager": f"Basic {base64.b64encode(b'vigie:correct horse').decode()}",
    }
    assert got.headers.get("authorization") == authorization.get(kind)
    assert await attempts(connection) == [(1, "delivered", ANSWERS[kind][0])]
    log = await tenant.client.get(f"/v1/channels/{made['id']}/deliveries")
    (listed,) = log.json()["data"]
    detail = await tenant.client.get(f"/v1/deliveries/{listed['id']}")
    assert listed["endpoint_kind"] == kind
    assert detail.status_code == 200, detail.text
    for text in (log.text, detail.text):
        assert not [secret for secret in HIDDEN if secret in text]
    replayed = await tenant.client.post(f"/v1/deliveries/{listed['id']}/replay")
    assert replayed.status_code == 202


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_secret_is_sealed_and_never_shown_again(
    *, kind: str, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    made = await create(tenant, kind, "https://service.example.com/hook")
    path = f"/v1/channels/{made['id']}"
    # The address of these is no secret.
    hidden = [secret for secret in HIDDEN if secret != "/hook" or kind in ("slack", "teams", "discord")]
    changed = await tenant.client.patch(path, json={"description": "Night shift"})
    for text in (json.dumps(made), changed.text, (await tenant.client.get(path)).text):
        assert not [secret for secret in hidden if secret in text]
    if kind in ("slack", "teams", "discord"):
        assert made["host"] == "https://service.example.com"
    row = await connection.fetchrow("SELECT * FROM webhook_endpoints WHERE id = $1", UUID(made["id"]))
    assert row is not None
    assert row["credentials"].startswith("sealed:1:")
    entries = await connection.fetch("SELECT * FROM audit_log")
    for stored in (str(dict(row)), *(str(dict(entry)) for entry in entries)):
        assert not [secret for secret in hidden if secret in stored]
    assert [entry for entry in entries if made["id"] in str(dict(entry))]


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        ("slack", (200, "<html>Welcome</html>"), "http_error"),
        ("slack", (404, "no_service"), "http_error"),
        ("slack", (410, "channel_is_archived"), "gone"),
        ("teams", (204, ""), "http_error"),
        ("discord", (404, '{"code":10015}'), "http_error"),
        ("pagerduty", (200, "ok"), "http_error"),
        ("pagerduty", (400, '{"status":"invalid event"}'), "http_error"),
        ("ntfy", (403, '{"code":40301}'), "http_error"),
        ("ntfy", (204, ""), "http_error"),
        ("alertmanager", (400, '"bad"'), "http_error"),
        ("alertmanager", (302, ""), "redirect_refused"),
    ],
)
async def test_what_is_no_success_of_the_service_is_none(
    *,
    kind: str,
    answer: tuple[int, str],
    reason: str,
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    async with receiving(says(answer)) as receiver:
        await create(tenant, kind, receiver.url)
        async with dispatching(with_webhooks(settings, schedule_s=[0]), database):
            await emit(connection, alert_of(tenant, site_id))

            async def failed() -> bool:
                return await states(connection) == {"failed": 1}

            await until(failed)
    assert await attempts(connection) == [(1, reason, answer[0])]


async def test_retry_after_is_respected(
    *,
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    answer = says((429, '{"retry_after": 1.0}'), headers={"Retry-After": "1"})
    async with receiving(answer) as receiver:
        await create(tenant, "discord", receiver.url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, alert_of(tenant, site_id))

            async def twice() -> bool:
                return len(await attempts(connection)) >= 2

            await until(twice)
    rows = await connection.fetch("SELECT started_at, reason FROM delivery_attempts ORDER BY number LIMIT 2")
    assert {row["reason"] for row in rows} == {"rate_limited"}
    assert (rows[1]["started_at"] - rows[0]["started_at"]).total_seconds() >= 1


async def test_what_is_over_is_never_triggered_after_it(
    *,
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    async with receiving(says((503, ""), (503, ""), (202, ""))) as receiver:
        await create(tenant, "pagerduty", receiver.url)
        alert = new_id()
        async with dispatching(with_webhooks(settings, schedule_s=[0, 0.4, 0.4, 0.4]), database):
            await emit(connection, alert_of(tenant, site_id, alert_id=alert))
            await receiver.wait(1)
            # The end is due at once, while the beginning waits for its next attempt.
            over = alert_of(tenant, site_id, "alert.resolved", alert_id=alert, sequence=2)
            other = alert_of(tenant, site_id, alert_id=new_id())
            await emit(connection, over, other)

            async def all_delivered() -> bool:
                return await states(connection) == {"delivered": 3}

            await until(all_delivered)
    told = [json.loads(got.body) for got in receiver.got]
    mine = [each["event_action"] for each in told if each["dedup_key"] == str(alert)]
    assert mine[-1] == "resolve"
    assert mine.count("resolve") == 1
    assert set(mine[:-1]) == {"trigger"}
    assert len(told) == 5


async def test_several_alerts_are_one_message_of_a_chat(
    *,
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    grouping = {"by": ["site", "rule"], "wait": "PT1S", "interval": "PT0S"}
    async with receiving(says((200, "ok"))) as receiver:
        await create(tenant, "slack", receiver.url, grouping=grouping, language="fr")
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, *(alert_of(tenant, site_id, box=f"box-{number}") for number in range(12)))
            (got,) = await receiver.wait(1)
    body = json.loads(got.body)
    Draft202012Validator(SCHEMAS["slack"]).validate(body)
    text = json.dumps(body, ensure_ascii=False)
    assert "12 en cours" in text
    assert text.count("box-") >= 12


@pytest.mark.parametrize("kind", KINDS)
async def test_a_test_message_arrives(
    *, kind: str, tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    async with receiving(says(ANSWERS[kind])) as receiver:
        made = await create(tenant, kind, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            asked = await tenant.client.post(f"/v1/channels/{made['id']}/test")
            assert asked.status_code == 202
            (got,) = await receiver.wait(1)

            async def delivered() -> bool:
                return await states(connection) == {"delivered": 1}

            await until(delivered)
    Draft202012Validator(SCHEMAS[kind]).validate(json.loads(got.body))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_guard_holds_for_services_too(
    *, kind: str, tenant: Tenant, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.webhooks, "allow_private", False)
    for url in ("http://service.example.com/", "https://10.0.0.1/", "https://localhost/", "ftp://a.example"):
        wanted = {"kind": kind, "url": url, **SECRETS[kind]}
        answer = await tenant.client.post("/v1/channels", json=wanted)
        assert (answer.status_code, answer.json()["code"]) == (422, "webhook_url_not_allowed")
        assert url not in answer.text or kind not in ("slack", "teams", "discord")


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("slack", {"url": None}, "wrong_type"),
        ("slack", {"topic": "x"}, "unknown_field"),
        ("teams", {"language": "de"}, "invalid_value"),
        ("discord", {"routing_key": KEY}, "unknown_field"),
        ("pagerduty", {"routing_key": "short"}, "invalid_value"),
        ("pagerduty", {"grouping": None}, "unknown_field"),
        ("ntfy", {"topic": "a b"}, "invalid_value"),
        ("ntfy", {"token": "tk\n"}, "invalid_value"),
        ("alertmanager", {"grouping": None}, "unknown_field"),
        ("alertmanager", {"password": None}, "missing_field"),
        ("alertmanager", {"username": None}, "missing_field"),
        ("alertmanager", {"username": "a:b"}, "invalid_value"),
        ("alertmanager", {"url": "https://service.example.com/am?x="}, "webhook_url_not_allowed"),
    ],
)
async def test_what_cannot_be_such_a_channel(
    tenant: Tenant, kind: str, body: dict[str, Any], code: str
) -> None:
    wanted = {"kind": kind, "url": "https://service.example.com/", **SECRETS[kind], **body}
    answer = await tenant.client.post("/v1/channels", json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert not [secret for secret in (KEY, "tk_secret", PASSWORD) if secret in answer.text]


@pytest.mark.parametrize(
    ("kind", "needed"), [("ntfy", "token"), ("pagerduty", "routing_key"), ("alertmanager", "password")]
)
async def test_a_secret_goes_to_no_address_that_it_was_not_given_for(
    tenant: Tenant, kind: str, needed: str
) -> None:
    made = await create(tenant, kind, "https://service.example.com/")
    path = f"/v1/channels/{made['id']}"
    moved = {"url": "https://elsewhere.example.com/"}
    refused = await tenant.client.patch(path, json=moved)
    assert (refused.status_code, refused.json()["code"]) == (422, "missing_field")
    assert refused.json()["errors"][0]["field"] == f"body.{needed}"
    taken = await tenant.client.patch(path, json={**moved, needed: SECRETS[kind][needed]})
    assert taken.status_code == 200, taken.text
    assert taken.json()["url"] == moved["url"]


async def test_a_token_can_be_taken_away(tenant: Tenant, connection: asyncpg.Connection) -> None:
    made = await create(tenant, "ntfy", "https://service.example.com/")
    assert made["has_token"] is True
    changed = await tenant.client.patch(f"/v1/channels/{made['id']}", json={"token": None, "topic": "other"})
    assert (changed.json()["has_token"], changed.json()["topic"]) == (False, "other")
    assert await connection.fetchval("SELECT credentials FROM webhook_endpoints") is None


async def test_channels_without_a_key_to_seal_with(tenant: Tenant, application: FastAPI) -> None:
    provide_resources(application, SecretSealer([]))
    wanted = {"kind": "slack", "url": "https://hooks.slack.com/services/x"}
    answer = await tenant.client.post("/v1/channels", json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (503, "encryption_key_missing")


async def test_who_cannot_open_the_secret_sends_nothing(
    *,
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    async with receiving(status(200)) as receiver:
        await create(tenant, "pagerduty", receiver.url)
        await connection.execute("UPDATE webhook_endpoints SET credentials = 'sealed:1:00000000:AAAA'")
        async with dispatching(with_webhooks(settings, schedule_s=[0]), database):
            await emit(connection, alert_of(tenant, site_id))

            async def failed() -> bool:
                return await states(connection) == {"failed": 1}

            await until(failed)
        assert receiver.got == []
    assert await attempts(connection) == [(1, "not_configured", None)]
