"""Channels by REST: mails and topics, what they may be, and who may see them."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_tenant

MAIL = {"kind": "email", "to": ["night-shift@example.com"]}
UNKNOWN = "0199aaaa-0000-7000-8000-000000000000"
URL = "https://example.com/hooks/vigie"


@pytest.fixture(autouse=True)
def mail_server(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.smtp, "host", "mail.example.com")


async def create(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    answer = await client.post("/v1/channels", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def listed(client: httpx.AsyncClient, query: str = "") -> list[str]:
    answer = await client.get(f"/v1/channels{query}")
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["data"]]


async def test_the_life_of_an_email_channel(tenant: Tenant, site_id: str) -> None:
    made = await create(tenant.client, **MAIL, site_ids=[site_id], description="Night shift")
    path = f"/v1/channels/{made['id']}"
    usual = {
        "kind": "email",
        "organisation_id": tenant.id,
        "to": ["night-shift@example.com"],
        "language": "en",
        "notices": True,
        "events": ["alert.firing", "alert.escalated", "alert.resolved"],
        "site_ids": [site_id],
        "min_severity": None,
        "recipient": None,
        "grouping": {"by": ["site", "rule"], "wait": "PT30S", "interval": "PT5M"},
        "rate_per_s": None,
        "description": "Night shift",
        "enabled": True,
        "disabled_reason": None,
        "disabled_at": None,
    }
    assert {name: made[name] for name in usual} == usual
    assert set(made) == {*usual, "id", "created_at", "updated_at"}
    assert (await tenant.client.get(path)).json() == made

    change = {
        "to": ["b@Example.COM", "b@example.com", "a@example.com"],
        "language": "fr",
        "notices": False,
        "grouping": None,
        "min_severity": "critical",
        "site_ids": None,
        "rate_per_s": 0.5,
        "enabled": False,
    }
    changed = await tenant.client.patch(path, json=change)
    assert changed.status_code == 200, changed.text
    expected = {**made, **change, "to": ["b@example.com", "a@example.com"]}
    assert changed.json() == {**expected, "updated_at": changed.json()["updated_at"]}
    assert (await tenant.client.get(path)).json() == changed.json()
    # One of the fields that are kept together changes alone.
    again = await tenant.client.patch(path, json={"language": "en"})
    assert (again.json()["language"], again.json()["to"]) == ("en", ["b@example.com", "a@example.com"])

    assert (await tenant.client.delete(path)).status_code == 204
    assert (await tenant.client.get(path)).status_code == 404
    assert (await tenant.client.delete(path)).status_code == 404


async def test_each_event_may_have_a_mail_of_its_own(tenant: Tenant) -> None:
    assert (await create(tenant.client, **MAIL, grouping=None))["grouping"] is None


async def test_the_life_of_an_mqtt_channel(tenant: Tenant) -> None:
    made = await create(tenant.client, kind="mqtt")
    path = f"/v1/channels/{made['id']}"
    credentials = made.pop("credentials")
    assert credentials["username"] == made["username"] == f"@{tenant.id}"
    assert len(credentials["password"]) == 32
    assert made["topic"] == f"vigie/v1/@{tenant.id}/alerts/#"
    assert (made["events"], made["format"], made["grouping"]) == (["*"], "native", None)
    for text in (
        await tenant.client.get(path),
        await tenant.client.get("/v1/channels"),
        await tenant.client.patch(path, json={"format": "cloudevents"}),
    ):
        assert "password" not in text.text
    assert (await tenant.client.get(path)).json()["format"] == "cloudevents"

    second = await tenant.client.post("/v1/channels", json={"kind": "mqtt"})
    assert (second.status_code, second.json()["code"]) == (409, "mqtt_channel_exists")
    rotated = (await tenant.client.post(f"{path}/rotate-password")).json()
    assert (rotated["id"], rotated["credentials"]["username"]) == (made["id"], f"@{tenant.id}")
    assert rotated["credentials"]["password"] != credentials["password"]

    assert (await tenant.client.delete(path)).status_code == 204
    assert (await tenant.client.post(f"{path}/rotate-password")).status_code == 404
    again = await create(tenant.client, kind="mqtt", events=["alert.firing"], enabled=False)
    assert (again["events"], again["enabled"]) == (["alert.firing"], False)


async def test_of_two_who_open_an_mqtt_channel_at_once_one_does(tenant: Tenant) -> None:
    answers = await asyncio.gather(
        *(tenant.client.post("/v1/channels", json={"kind": "mqtt"}) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.is_error} == {"mqtt_channel_exists"}


async def test_without_a_mail_server_there_are_no_mails(
    tenant: Tenant, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.smtp, "host", None)
    answer = await tenant.client.post("/v1/channels", json=MAIL)
    assert (answer.status_code, answer.json()["code"]) == (409, "email_not_configured")
    assert "VIGIE_SMTP__HOST" in answer.json()["detail"]
    await create(tenant.client, kind="mqtt")


async def test_recipients_are_limited_to_the_installation_s_domains(
    tenant: Tenant, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create(tenant.client, **MAIL)
    monkeypatch.setattr(settings.smtp, "recipient_domains", ["example.org"])
    refused = await tenant.client.post("/v1/channels", json=MAIL)
    assert (refused.status_code, refused.json()["code"]) == (422, "recipient_domain_not_allowed")
    refused = await tenant.client.patch(f"/v1/channels/{made['id']}", json={"to": ["a@example.com"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "recipient_domain_not_allowed")
    await create(tenant.client, kind="email", to=["a@example.org"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"to": ["a@example.com"]}, "missing_field"),
        ({"kind": "pigeon"}, "invalid_value"),
        ({"kind": "webhook", "url": URL}, "invalid_value"),
        ({"kind": 7}, "invalid_value"),
        ({"kind": "email"}, "missing_field"),
        ({"kind": "email", "to": []}, "invalid_value"),
        ({"kind": "email", "to": ["a@example.com"] * 21}, "invalid_value"),
        ({"kind": "email", "to": "a@example.com"}, "wrong_type"),
        ({"kind": "email", "to": ["a"]}, "invalid_email_address"),
        ({"kind": "email", "to": ["a@example.com\r\nBcc: b@example.com"]}, "invalid_email_address"),
        ({**MAIL, "language": "de"}, "invalid_value"),
        ({**MAIL, "notices": "yes"}, "wrong_type"),
        ({**MAIL, "format": "native"}, "unknown_field"),
        ({**MAIL, "url": URL}, "unknown_field"),
        ({**MAIL, "events": ["alert.exploded"]}, "unknown_event_type"),
        ({**MAIL, "grouping": {"by": ["metric"]}}, "invalid_value"),
        ({**MAIL, "min_severity": "grave"}, "invalid_value"),
        ({**MAIL, "rate_per_s": 0}, "invalid_value"),
        ({**MAIL, "organisation_id": UNKNOWN}, "foreign_organisation"),
        ({"kind": "mqtt", "format": "alertmanager"}, "invalid_value"),
        ({"kind": "mqtt", "to": ["a@example.com"]}, "unknown_field"),
        ({"kind": "mqtt", "secret": "whsec_mine"}, "unknown_field"),
    ],
)
async def test_what_cannot_be_a_channel(tenant: Tenant, body: dict[str, Any], code: str) -> None:
    answer = await tenant.client.post("/v1/channels", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert await listed(tenant.client) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.kind"),
        ({"kind": "pigeon"}, "body.kind"),
        ({"kind": ["email"]}, "body.kind"),
        ({"kind": "email"}, "body.to"),
        ({"kind": "email", "to": ["a@example.com", "a"]}, "body.to.1"),
        ({**MAIL, "to": ["a@elsewhere.example"]}, "body.to.0"),
        ({**MAIL, "grouping": {"by": ["metric"]}}, "body.grouping.by.0"),
        ({"kind": "mqtt", "to": ["a@example.com"]}, "body.to"),
        ({"kind": "mqtt", "events": ["alert.exploded"]}, "body.events"),
    ],
)
async def test_what_is_wrong_is_named_by_the_place_that_the_client_knows(
    tenant: Tenant, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], field: str
) -> None:
    monkeypatch.setattr(settings.smtp, "recipient_domains", ["example.com"])
    answer = (await tenant.client.post("/v1/channels", json=body)).json()
    (fault,) = answer["errors"]
    assert (fault["field"], fault["code"]) == (field, answer["code"])
    assert answer["detail"] == f"{field}: {fault['detail']}"
    if field == "body.kind":
        assert fault["detail"] == (
            "`kind` has to be email, mqtt, slack, teams, discord, pagerduty, ntfy or alertmanager"
        )


@pytest.mark.parametrize(
    ("kind", "change", "code"),
    [
        ("email", {"format": "cloudevents"}, "unknown_field"),
        ("email", {"kind": "mqtt"}, "unknown_field"),
        ("email", {"to": []}, "invalid_value"),
        ("email", {"to": None}, "wrong_type"),
        ("email", {"to": ["a b@example.com"]}, "invalid_email_address"),
        ("email", {"site_ids": [UNKNOWN]}, "not_found"),
        ("mqtt", {"to": ["a@example.com"]}, "unknown_field"),
        ("mqtt", {"language": "fr"}, "unknown_field"),
        ("mqtt", {"notices": False}, "unknown_field"),
        ("mqtt", {"format": "alertmanager"}, "invalid_value"),
        ("mqtt", {"url": URL}, "unknown_field"),
    ],
)
async def test_what_a_channel_cannot_become(
    tenant: Tenant, kind: str, change: dict[str, Any], code: str
) -> None:
    made = await create(tenant.client, **(MAIL if kind == "email" else {"kind": "mqtt"}))
    path = f"/v1/channels/{made['id']}"
    before = (await tenant.client.get(path)).json()
    answer = await tenant.client.patch(path, json=change)
    assert (answer.status_code, answer.json()["code"]) == (404 if code == "not_found" else 422, code)
    if code != "not_found":
        (fault,) = answer.json()["errors"]
        assert (fault["code"], fault["field"].split(".")[:2]) == (code, ["body", *change])
    assert (await tenant.client.get(path)).json() == before


async def test_an_email_channel_has_no_password(tenant: Tenant) -> None:
    made = await create(tenant.client, **MAIL)
    answer = await tenant.client.post(f"/v1/channels/{made['id']}/rotate-password")
    assert (answer.status_code, answer.json()["code"]) == (409, "channel_without_password")


async def test_lists_are_filtered_and_come_in_pages(tenant: Tenant) -> None:
    mails = [(await create(tenant.client, **MAIL, enabled=on))["id"] for on in (True, False, True)]
    topic = (await create(tenant.client, kind="mqtt"))["id"]
    assert await listed(tenant.client) == [*mails, topic]
    assert await listed(tenant.client, "?kind=email") == mails
    assert await listed(tenant.client, "?kind=mqtt") == [topic]
    assert await listed(tenant.client, "?enabled=false") == [mails[1]]
    assert await listed(tenant.client, f"?organisation={UNKNOWN}") == []
    answer = await tenant.client.get("/v1/channels?kind=webhook")
    assert answer.status_code == 422
    found, cursor = [], ""
    while True:
        page = (await tenant.client.get(f"/v1/channels?limit=2{cursor}")).json()
        found += [each["id"] for each in page["data"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == [*mails, topic]
    foreign = await tenant.client.get(f"/v1/webhooks?cursor={cursor.removeprefix('&cursor=')}")
    assert foreign.json()["code"] == "invalid_cursor"


async def test_webhooks_and_channels_are_not_found_under_each_other_s_paths(tenant: Tenant) -> None:
    webhook = (await tenant.client.post("/v1/webhooks", json={"url": URL})).json()["id"]
    channel = (await create(tenant.client, kind="mqtt"))["id"]
    assert await listed(tenant.client) == [channel]
    assert [each["id"] for each in (await tenant.client.get("/v1/webhooks")).json()["data"]] == [webhook]
    for path in (f"/v1/channels/{webhook}", f"/v1/webhooks/{channel}"):
        assert (await tenant.client.get(path)).status_code == 404
        assert (await tenant.client.get(f"{path}/deliveries")).status_code == 404
        assert (await tenant.client.patch(path, json={"enabled": False})).status_code == 404
        assert (await tenant.client.post(f"{path}/test")).status_code == 404
        assert (await tenant.client.delete(path)).status_code == 404
    assert (await tenant.client.post(f"/v1/channels/{webhook}/rotate-password")).status_code == 404
    assert (await tenant.client.post(f"/v1/webhooks/{channel}/rotate-secret")).status_code == 404


async def test_another_organisation_s_channel_is_not_there(tenant: Tenant, other_tenant: Tenant) -> None:
    theirs = (await create(other_tenant.client, kind="mqtt"))["id"]
    mine = (await create(tenant.client, kind="mqtt"))["id"]
    assert await listed(tenant.client) == [mine]
    path = f"/v1/channels/{theirs}"
    for answer in (
        await tenant.client.get(path),
        await tenant.client.patch(path, json={"enabled": False}),
        await tenant.client.post(f"{path}/rotate-password"),
        await tenant.client.post(f"{path}/test"),
        await tenant.client.delete(path),
    ):
        assert answer.status_code == 404
    assert (await other_tenant.client.get(path)).json()["enabled"] is True


async def test_scopes(tenant: Tenant, application: FastAPI) -> None:
    made = await create(tenant.client, kind="mqtt")
    path = f"/v1/channels/{made['id']}"
    # Who may change a channel and not read it is told that it is done, and nothing else.
    for scope, reads, changes, writes in (
        ("webhooks:read", 200, 403, 403),
        ("webhooks:write", 403, 204, 200),
    ):
        key = await tenant.client.post("/v1/api-keys", json={"name": "scoped", "scopes": [scope]})
        async with client_of(application, key.json()["key"]) as client:
            assert (await client.get(path)).status_code == reads
            assert (await client.get("/v1/channels")).status_code == reads
            assert (await client.patch(path, json={"enabled": True})).status_code == changes
            assert (await client.post(f"{path}/rotate-password")).status_code == writes
    async with client_of(application, None) as client:
        assert (await client.post("/v1/channels", json={"kind": "mqtt"})).status_code == 401


async def test_the_administrator_opens_channels_for_others(
    api: httpx.AsyncClient, application: FastAPI, tenant: Tenant
) -> None:
    made = await create(api, kind="mqtt", organisation_id=tenant.id)
    assert made["credentials"]["username"] == f"@{tenant.id}"
    own = await create(api, kind="mqtt")
    assert own["organisation_id"] != tenant.id
    assert await listed(api, f"?organisation={tenant.id}") == [made["id"]]
    async with new_tenant(application, api, "Third") as third:
        assert await listed(third.client) == []


async def test_an_organisation_with_a_channel_is_not_deleted(api: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await create(tenant.client, kind="mqtt")
    answer = await api.delete(f"/v1/organisations/{tenant.id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "organisation_not_empty")
    await tenant.client.delete(f"/v1/channels/{made['id']}")
    assert (await api.delete(f"/v1/organisations/{tenant.id}")).status_code == 204


async def test_passwords_are_kept_as_hashes(
    tenant: Tenant, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    made = await create(tenant.client, kind="mqtt")
    (row,) = await connection.fetch("SELECT * FROM broker_accounts")
    assert row["username"] == f"@{tenant.id}"
    assert made["credentials"]["password"] not in str(dict(row))
    path = settings.broker.password_file
    assert path is not None
    assert path.read_text().splitlines()[-1] == f"{row['username']}:{row['password_hash']}"
    await tenant.client.delete(f"/v1/channels/{made['id']}")
    assert await connection.fetchval("SELECT count(*) FROM broker_accounts") == 0
    assert "@" not in path.read_text()
