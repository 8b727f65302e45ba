"""Endpoints and deliveries by REST."""

import asyncio
import base64
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from standardwebhooks import Webhook

from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.notifications.calls import URL, create, data_of
from tests.integration.notifications.helpers import (
    alert_event,
    dispatching,
    emit,
    event,
    until,
    with_webhooks,
)
from tests.integration.notifications.receivers import receiving, status

UNKNOWN = "0199aaaa-0000-7000-8000-000000000000"


async def test_the_life_of_an_endpoint(tenant: Tenant, site_id: str) -> None:
    made = await create(tenant, description="Ours", site_ids=[site_id, site_id])
    assert made["secret"].startswith("whsec_")
    assert 24 <= len(base64.b64decode(made["secret"].removeprefix("whsec_"))) <= 64
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert shown["events"] == ["alert.firing", "alert.resolved"]
    assert (shown["organisation_id"], shown["site_ids"], shown["enabled"]) == (tenant.id, [site_id], True)
    assert shown["created_at"].endswith("Z")
    path = f"/v1/webhooks/{made['id']}"
    assert (await tenant.client.get(path)).json() == shown
    assert await data_of(tenant.client, "/v1/webhooks") == [shown]

    change = {"events": ["*"], "site_ids": None, "enabled": False}
    changed = await tenant.client.patch(path, json=change)
    assert changed.status_code == 200
    expected = {**shown, **change, "updated_at": changed.json()["updated_at"]}
    assert changed.json() == (await tenant.client.get(path)).json() == expected
    assert await data_of(tenant.client, "/v1/webhooks?enabled=true") == []
    assert len(await data_of(tenant.client, "/v1/webhooks?enabled=false")) == 1

    assert (await tenant.client.delete(path)).status_code == 204
    assert (await tenant.client.get(path)).status_code == 404
    assert (await tenant.client.delete(path)).status_code == 404


async def test_a_secret_is_shown_when_made_and_never_again(tenant: Tenant) -> None:
    made = await create(tenant)
    rotated = (await tenant.client.post(f"/v1/webhooks/{made['id']}/rotate-secret")).json()
    assert rotated["id"] == made["id"]
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != made["secret"]
    texts = [
        (await tenant.client.get(f"/v1/webhooks/{made['id']}")).text,
        (await tenant.client.get("/v1/webhooks")).text,
        (await tenant.client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": True})).text,
    ]
    assert not any("whsec_" in text for text in texts)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "https://user:password@example.com/"}, "webhook_url_not_allowed"),
        ({"url": "https://127.1/"}, "webhook_url_not_allowed"),
        ({"url": "http://127.1/"}, "webhook_url_not_allowed"),
        ({"url": "https://[::ffff:127.0.0.1]/"}, "webhook_url_not_allowed"),
        ({"url": "https://169.254.169.254/latest"}, "webhook_url_not_allowed"),
        ({"url": "https://[fd00:ec2::254]/"}, "webhook_url_not_allowed"),
        ({"url": "ftp://example.com/"}, "webhook_url_not_allowed"),
        ({"url": f"https://example.com/{'a' * 2048}"}, "webhook_url_not_allowed"),
        ({"url": ""}, "webhook_url_not_allowed"),
        ({"url": 7}, "wrong_type"),
        ({"url": None}, "wrong_type"),
        ({}, "missing_field"),
        ({"url": URL, "events": ["alert.exploded"]}, "unknown_event_type"),
        ({"url": URL, "events": ["webhook.test"]}, "unknown_event_type"),
        ({"url": URL, "events": []}, "invalid_value"),
        ({"url": URL, "events": "alert.firing"}, "wrong_type"),
        ({"url": URL, "site_ids": []}, "invalid_value"),
        ({"url": URL, "enabled": "yes"}, "wrong_type"),
        ({"url": URL, "description": "a\0b"}, "nul_in_text"),
        ({"url": URL, "secret": "whsec_mine"}, "invalid_webhook_secret"),
        ({"url": URL, "secret": "c2VjcmV0" * 4}, "invalid_webhook_secret"),
        ({"url": URL, "secret": f"whsec_{'a' * 88}"}, "invalid_webhook_secret"),
        ({"url": URL, "format": "xml"}, "invalid_value"),
        ({"url": URL, "format": None}, "invalid_value"),
        ({"url": URL, "min_severity": "fatal"}, "invalid_value"),
        ({"url": URL, "rate_per_s": 0}, "invalid_value"),
        ({"url": URL, "rate_per_s": 1000.1}, "invalid_value"),
        ({"url": URL, "rate_per_s": "10"}, "wrong_type"),
        ({"url": URL, "concurrency": 0}, "invalid_value"),
        ({"url": URL, "concurrency": 101}, "invalid_value"),
        ({"url": URL, "concurrency": 1.5}, "wrong_type"),
        ({"url": URL, "kind": "email"}, "unknown_field"),
        ({"url": URL, "disabled_reason": "gone"}, "unknown_field"),
        ({"url": URL, "headers": []}, "wrong_type"),
        ({"url": URL, "headers": {"X-Api": 7}}, "wrong_type"),
        ({"url": URL, "headers": {f"X-{number}": "" for number in range(21)}}, "invalid_header"),
        ({"url": URL, "headers": {"X-Api": "a", "x-api": "b"}}, "invalid_header"),
        ({"url": URL, "headers": {"X-Api": "a", "X_api": "b"}}, "invalid_header"),
        ({"url": URL, "headers": {"": "a"}}, "invalid_header"),
        ({"url": URL, "headers": {"X Api": "a"}}, "invalid_header"),
        ({"url": URL, "headers": {"X-Ä": "a"}}, "invalid_header"),
        ({"url": URL, "headers": {"X-" + "a" * 99: "a"}}, "invalid_header"),
        ({"url": URL, "headers": {"X-Api": "a" * 1001}}, "invalid_header"),
        ({"url": URL, "headers": {"X-Api": "a\r\nHost: evil"}}, "invalid_header"),
        ({"url": URL, "headers": {"X-Api": "a\0"}}, "invalid_header"),
        ({"url": URL, "headers": {"X-Api": "é"}}, "invalid_header"),
        ({"url": URL, "headers": {"X-Api": " a"}}, "invalid_header"),
        *(
            ({"url": URL, "headers": {name: "a"}}, "invalid_header")
            for name in (
                *("Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding"),
                *("Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Authorization"),
                *("Webhook_Signature", "content_length", "PROXY_Authorization", "User_Agent", "Accept_"),
                *("User-Agent", "Accept", "Accept-Encoding", "Expect", "Webhook-Signature", "WEBHOOK-ID"),
            )
        ),
        ({"url": URL, "organisation_id": UNKNOWN}, "foreign_organisation"),
        ({"url": URL, "events": ["alert.group"]}, "unknown_event_type"),
        ({"url": URL, "grouping": {}}, "missing_field"),
        ({"url": URL, "grouping": []}, "wrong_type"),
        ({"url": URL, "grouping": {"by": []}}, "invalid_value"),
        ({"url": URL, "grouping": {"by": ["metric"]}}, "invalid_value"),
        ({"url": URL, "grouping": {"by": "site"}}, "wrong_type"),
        ({"url": URL, "grouping": {"by": ["site"], "wait": "10s"}}, "invalid_duration"),
        ({"url": URL, "grouping": {"by": ["site"], "wait": "PT15M1S"}}, "invalid_duration"),
        ({"url": URL, "grouping": {"by": ["site"], "wait": None}}, "wrong_type"),
        ({"url": URL, "grouping": {"by": ["site"], "interval": "P1DT1S"}}, "invalid_duration"),
        ({"url": URL, "grouping": {"by": ["site"], "interval": 5}}, "wrong_type"),
        ({"url": URL, "grouping": {"by": ["site"], "window": "PT1S"}}, "unknown_field"),
    ],
)
async def test_what_cannot_be_an_endpoint(tenant: Tenant, body: dict[str, Any], code: str) -> None:
    answer = await tenant.client.post("/v1/webhooks", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    if code == "webhook_url_not_allowed":
        assert answer.json()["errors"][0]["field"] == "body.url"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "https://127.1/"}, "webhook_url_not_allowed"),
        ({"url": None}, "wrong_type"),
        ({"enabled": None}, "wrong_type"),
        ({"organisation_id": UNKNOWN}, "unknown_field"),
        ({"secret": "whsec_" + "a" * 44}, "unknown_field"),
        ({"format": None}, "invalid_value"),
        ({"min_severity": "fatal"}, "invalid_value"),
        ({"rate_per_s": 0.001}, "invalid_value"),
        ({"concurrency": True}, "wrong_type"),
        ({"headers": {"Host": "a"}}, "invalid_header"),
    ],
)
async def test_what_an_endpoint_cannot_become(tenant: Tenant, body: dict[str, Any], code: str) -> None:
    made = await create(tenant)
    answer = await tenant.client.patch(f"/v1/webhooks/{made['id']}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    if code == "webhook_url_not_allowed":
        assert answer.json()["errors"][0]["field"] == "body.url"


async def test_an_administrator_may_make_one_for_another(api: httpx.AsyncClient, tenant: Tenant) -> None:
    answer = await api.post("/v1/webhooks", json={"url": URL, "organisation_id": tenant.id})
    assert (answer.status_code, answer.json()["organisation_id"]) == (201, tenant.id)
    own = await api.post("/v1/webhooks", json={"url": URL})
    assert own.status_code == 201
    listed = await data_of(api, f"/v1/webhooks?organisation={tenant.id}")
    assert [one["id"] for one in listed] == [answer.json()["id"]]
    missing = await api.post("/v1/webhooks", json={"url": URL, "organisation_id": UNKNOWN})
    assert missing.status_code == 404


async def test_anothers_things_do_not_exist(tenant: Tenant, other_tenant: Tenant, site_id: str) -> None:
    made = await create(tenant)
    stranger = other_tenant.client
    path = f"/v1/webhooks/{made['id']}"
    answers = [
        await stranger.get(path),
        await stranger.patch(path, json={"enabled": False}),
        await stranger.delete(path),
        await stranger.post(f"{path}/rotate-secret"),
        await stranger.post(f"{path}/test"),
        await stranger.get(f"{path}/deliveries"),
        await stranger.post("/v1/webhooks", json={"url": URL, "site_ids": [site_id]}),
        await tenant.client.post("/v1/webhooks", json={"url": URL, "site_ids": [str(uuid4())]}),
        await stranger.get(f"/v1/webhooks/{UNKNOWN}"),
        await stranger.get("/v1/webhooks/not-an-id"),
        await stranger.get("/v1/deliveries/not-an-id"),
        await stranger.post(f"/v1/deliveries/{UNKNOWN}/replay"),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert await data_of(stranger, "/v1/webhooks") == []


async def test_scopes_are_asked_for(tenant: Tenant, api: httpx.AsyncClient) -> None:
    body = {"organisation_id": tenant.id, "name": "reader", "scopes": ["webhooks:read"]}
    key = (await api.post("/v1/api-keys", json=body)).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert (await api.get("/v1/webhooks", headers=headers)).status_code == 200
    refused = await api.post("/v1/webhooks", headers=headers, json={"url": URL})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_lists_come_in_pages(tenant: Tenant) -> None:
    ids = [(await create(tenant))["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        query = "?limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = (await tenant.client.get(f"/v1/webhooks{query}")).json()
        seen += [one["id"] for one in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ids
    assert (await tenant.client.get("/v1/webhooks?limit=-1")).status_code == 422
    forged = await tenant.client.get("/v1/webhooks?cursor=forged")
    assert (forged.status_code, forged.json()["code"]) == (422, "invalid_cursor")


async def test_deliveries_are_logged_and_replayed(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    async with receiving(status(500, 204)) as receiver:
        made = await create(tenant, url=receiver.url)
        path = f"/v1/webhooks/{made['id']}/deliveries"
        async with dispatching(with_webhooks(settings), database):
            records = [event(UUID(tenant.id)) for _ in range(3)]
            for record in records:
                await emit(connection, record)

            async def all_done() -> list[dict[str, Any]]:
                return (
                    data if len(data := await data_of(tenant.client, f"{path}?state=delivered")) == 3 else []
                )

            log = await until(all_done)
            assert log == await data_of(tenant.client, path)
            assert await data_of(tenant.client, f"{path}?state=failed") == []
            assert [one["event_id"] for one in log] == [str(record.id) for record in reversed(records)]
            assert log[-1]["webhook_id"] == f"msg_{records[0].id.hex}"
            assert {one["endpoint_kind"] for one in log} == {"webhook"}
            # Whichever arrived first.
            (oldest,) = (one for one in log if len(one["attempts"]) > 1)
            assert [(one["number"], one["status"], one["reason"]) for one in oldest["attempts"]] == [
                (1, 500, "http_error"),
                (2, 204, "delivered"),
            ]
            assert oldest["attempts"][0].keys() == {
                *("number", "time", "status", "duration_ms", "reason", "headers", "body")
            }
            detail = (await tenant.client.get(f"/v1/deliveries/{oldest['id']}")).json()
            assert detail["body"]["type"] == "alert.firing"
            assert {name: value for name, value in detail.items() if name != "body"} == oldest

            replayed = await tenant.client.post(f"/v1/deliveries/{oldest['id']}/replay")
            assert replayed.status_code == 202
            assert (replayed.json()["state"], replayed.json()["delivered_at"]) == ("pending", None)
            got = await receiver.wait(5)

            async def again() -> bool:
                detail = (await tenant.client.get(f"/v1/deliveries/{oldest['id']}")).json()
                return detail["state"] == "delivered" and len(detail["attempts"]) == 3

            await until(again)
        assert got[4].headers["webhook-id"] == oldest["webhook_id"]
        assert got[4].body in {each.body for each in got[:4]}
        Webhook(made["secret"]).verify(got[4].body, got[4].headers)

        page = (await tenant.client.get(f"{path}?limit=2")).json()
        rest = (await tenant.client.get(f"{path}?limit=2&cursor={page['next']}")).json()
        assert [one["id"] for one in page["data"] + rest["data"]] == [one["id"] for one in log]
        assert rest["next"] is None


async def test_a_given_up_delivery_can_be_replayed_with_its_whole_schedule(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    async with receiving(status(500, 500, 500, 204)) as receiver:
        made = await create(tenant, url=receiver.url)
        path = f"/v1/webhooks/{made['id']}/deliveries"
        async with dispatching(with_webhooks(settings, schedule_s=[0, 0.05]), database):
            await emit(connection, event(UUID(tenant.id)))
            (failed,) = await until(lambda: data_of(tenant.client, f"{path}?state=failed"))
            await tenant.client.post(f"/v1/deliveries/{failed['id']}/replay")
            (delivered,) = await until(lambda: data_of(tenant.client, f"{path}?state=delivered"))
    assert [one["number"] for one in delivered["attempts"]] == [1, 2, 3, 4]


async def test_a_test_event_reaches_one_endpoint_alone(
    tenant: Tenant, database: Database, settings: VigieSettings
) -> None:
    async with receiving(status(204)) as receiver, receiving(status(204)) as other:
        made = await create(tenant, url=receiver.url, events=["alert.resolved"])
        await create(tenant, url=other.url, events=["*"])
        async with dispatching(with_webhooks(settings), database):
            answer = await tenant.client.post(f"/v1/webhooks/{made['id']}/test")
            (got,) = await receiver.wait(1)
    assert answer.status_code == 202
    assert answer.json()["webhook_id"] == got.headers["webhook-id"]
    payload = Webhook(made["secret"]).verify(got.body, got.headers)
    assert payload["type"] == "webhook.test"
    assert other.got == []
    await tenant.client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": False})
    refused = await tenant.client.post(f"/v1/webhooks/{made['id']}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "endpoint_disabled")


async def test_the_life_of_a_grouping(tenant: Tenant) -> None:
    assert (await create(tenant))["grouping"] is None
    made = await create(tenant, grouping={"by": ["rule", "site", "rule"]})
    usual = {"by": ["rule", "site"], "wait": "PT10S", "interval": "PT5M"}
    assert made["grouping"] == usual
    path = f"/v1/webhooks/{made['id']}"
    assert (await tenant.client.get(path)).json()["grouping"] == usual
    other = {"by": ["site", "rule", "severity", "box"], "wait": "PT15M", "interval": "P1D"}
    for grouping in (other, {"by": ["box"], "wait": "PT0S", "interval": "PT0S"}, None):
        changed = await tenant.client.patch(path, json={"grouping": grouping})
        assert changed.status_code == 200, changed.text
        assert changed.json()["grouping"] == (await tenant.client.get(path)).json()["grouping"] == grouping
    assert (await tenant.client.patch(path, json={"enabled": True})).json()["grouping"] is None


async def test_another_grouping_sends_at_once_what_waits(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    grouping = {"by": ["site"], "wait": "PT15M", "interval": "P1D"}
    async with receiving(status(204)) as receiver:
        made = await create(tenant, url=receiver.url, events=["*"], grouping=grouping)
        path = f"/v1/webhooks/{made['id']}"
        async with dispatching(with_webhooks(settings, poll_s=0.2), database):

            async def waiting() -> int:
                return int(await connection.fetchval("SELECT count(*) FROM group_events"))

            await emit(connection, alert_event(UUID(tenant.id)), alert_event(UUID(tenant.id)))
            await until(waiting)
            # The same once more, and other changes, change nothing of what waits.
            for change in ({"grouping": grouping}, {"events": ["*"]}, {"enabled": False}, {"enabled": True}):
                (await tenant.client.patch(path, json=change)).raise_for_status()
            assert await waiting() == 2
            by_box = {**grouping, "by": ["box"]}
            (await tenant.client.patch(path, json={"grouping": by_box})).raise_for_status()
            (first,) = await receiver.wait(1)
            await emit(connection, alert_event(UUID(tenant.id)))
            await until(waiting)
            (await tenant.client.patch(path, json={"grouping": None})).raise_for_status()
            second = (await receiver.wait(2))[1]
            await emit(connection, alert_event(UUID(tenant.id)))
            third = (await receiver.wait(3))[2]

            async def all_done() -> list[dict[str, Any]]:
                log = await data_of(tenant.client, f"{path}/deliveries?state=delivered")
                return log if len(log) == 3 else []

            log = await until(all_done)
            assert [one["type"] for one in log] == ["alert.firing", "alert.group", "alert.group"]
            replayed = await tenant.client.post(f"/v1/deliveries/{log[-1]['id']}/replay")
            assert replayed.status_code == 202
            again = (await receiver.wait(4))[3]
    groups = [Webhook(made["secret"]).verify(got.body, got.headers)["data"] for got in (first, second)]
    assert [(list(data["group"]), data["firing"]) for data in groups] == [(["site_id"], 2), (["box"], 1)]
    assert Webhook(made["secret"]).verify(third.body, third.headers)["type"] == "alert.firing"
    assert (again.body, again.headers["webhook-id"]) == (first.body, first.headers["webhook-id"])
    detail = (await tenant.client.get(f"/v1/deliveries/{log[-1]['id']}")).json()
    assert detail["body"]["data"] == groups[0]


async def test_an_organisation_has_so_many_webhooks_and_channels_and_no_more(
    tenant: Tenant, other_tenant: Tenant, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.quotas, "webhooks", 3)
    mail = {"kind": "email", "to": ["a@example.com"]}
    monkeypatch.setattr(settings.smtp, "host", "mail.example.com")
    answers = await asyncio.gather(
        *(tenant.client.post("/v1/webhooks", json={"url": URL}) for _ in range(4)),
        *(tenant.client.post("/v1/channels", json=mail) for _ in range(3)),
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 4
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"quota_exceeded"}
    await create(other_tenant)
    made = next(answer for answer in answers if answer.status_code == 201)
    path = made.request.url.path
    assert (await tenant.client.delete(f"{path}/{made.json()['id']}")).status_code == 204
    assert (await tenant.client.post("/v1/channels", json={"kind": "mqtt"})).status_code == 201
    refused = await tenant.client.post("/v1/webhooks", json={"url": URL})
    assert refused.json()["code"] == "quota_exceeded"
