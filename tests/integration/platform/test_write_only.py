"""Who may change and not read is not shown, by the answer of a change, what was there."""

import httpx
import pytest
from fastapi import FastAPI

from app.settings import VigieSettings
from tests.conftest import Tenant, client_of

WRITES = [
    *("organisations:write", "sites:write", "rules:write", "alerts:write", "webhooks:write"),
    "telemetry:write",
]
ADDRESS = "night-shift@example.com"
RULE = {
    "name": "Dust",
    "severity": "warning",
    "condition": {"metric": "pm10", "operator": ">", "threshold": 80},
}
SILENCE = {"ends_at": "2099-01-01T00:00:00Z", "comment": "Roadworks"}
WEBHOOK = {"url": "https://example.com/hooks/vigie"}


@pytest.fixture(autouse=True)
def mail_server(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.smtp, "host", "mail.example.com")


async def key_for(tenant: Tenant, scopes: list[str]) -> str:
    made = await tenant.client.post("/v1/api-keys", json={"name": "k", "scopes": scopes})
    key: str = made.raise_for_status().json()["key"]
    return key


async def make(client: httpx.AsyncClient, path: str, body: object) -> str:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    identifier: str = answer.json()["id"]
    return f"{path}/{identifier}"


async def test_recipients_are_shown_to_those_who_may_read_them(tenant: Tenant, application: FastAPI) -> None:
    channel = await make(tenant.client, "/v1/channels", {"kind": "email", "to": [ADDRESS]})
    async with client_of(application, await key_for(tenant, ["webhooks:write"])) as writer:
        for body in ({}, {"description": "Night shift"}):
            changed = await writer.patch(channel, json=body)
            assert (changed.status_code, changed.content) == (204, b"")
            assert "etag" not in changed.headers
            assert "content-type" not in changed.headers
        assert (await writer.get(channel)).status_code == 403
        # Refusals tell why, as ever.
        assert (await writer.patch(channel, json={"to": ["x"]})).json()["code"] == "invalid_email_address"
    assert (await tenant.client.get(channel)).json()["description"] == "Night shift"
    async with client_of(application, await key_for(tenant, ["webhooks:write", "webhooks:read"])) as both:
        assert (await both.patch(channel, json={})).json()["to"] == [ADDRESS]


async def test_whoever_is_shown_recipients_is_recorded(tenant: Tenant, application: FastAPI) -> None:
    channel = await make(tenant.client, "/v1/channels", {"kind": "email", "to": [ADDRESS]})
    identifier = channel.rpartition("/")[2]

    async def seen() -> int:
        found = await tenant.client.get("/v1/audit", params={"action": "channel.read", "subject": identifier})
        return len(found.raise_for_status().json()["data"])

    async with client_of(application, await key_for(tenant, ["webhooks:write"])) as writer:
        (await writer.patch(channel, json={"description": "x"})).raise_for_status()
    assert await seen() == 0
    (await tenant.client.patch(channel, json={"description": "y"})).raise_for_status()
    assert await seen() == 1


async def test_no_change_shows_what_the_caller_may_not_read(
    tenant: Tenant, site_id: str, application: FastAPI
) -> None:
    box = await make(tenant.client, "/v1/boxes", {"id": "box-1", "site_id": site_id})
    rule = await make(tenant.client, "/v1/rules", {**RULE, "site_id": site_id})
    silence = await make(tenant.client, "/v1/silences", {**SILENCE, "matchers": {"site_ids": [site_id]}})
    webhook = await make(tenant.client, "/v1/webhooks", WEBHOOK)
    calls = [
        ("PATCH", f"/v1/sites/{site_id}"),
        ("PATCH", box),
        ("POST", f"{box}/credentials/revoke"),
        ("PATCH", rule),
        ("POST", f"{rule}/dry-run"),
        ("POST", f"{rule}/versions/1/restore"),
        ("PATCH", silence),
        ("POST", f"{silence}/expire"),
        ("PATCH", webhook),
        ("PATCH", f"/v1/organisations/{tenant.id}"),
    ]
    async with client_of(application, await key_for(tenant, WRITES)) as writer:
        for method, path in calls:
            body: dict[str, str] | None = {} if method == "PATCH" else None
            answer = await writer.request(method, path, json=body)
            assert (answer.status_code, answer.content) == (204, b""), path
        # What one makes oneself is one's own to see: else nobody would know its id.
        await make(writer, "/v1/rules", {**RULE, "site_id": site_id})
        shown = await writer.post(f"{box}/credentials")
        assert shown.json()["credentials"]["username"] == "box-1"
        again = [await writer.post(f"{rule}/go-live", headers={"Idempotency-Key": "live"}) for _ in range(2)]
        assert [(answer.status_code, answer.content) for answer in again] == [(204, b""), (204, b"")]
    assert (await tenant.client.get(rule)).json()["dry_run"] is False
