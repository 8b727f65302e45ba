"""Webhooks that lead back to Vigie: they end after one step, whatever they carry."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.notifications.http.http_transport import _USER_AGENT
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_application, running
from tests.integration.notifications.helpers import attempts, dispatching, until, with_webhooks
from tests.integration.notifications.streams import serving

OURS = {"webhook-id": f"msg_{'0' * 32}"}


async def register(tenant: Tenant, url: str) -> str:
    body = {"url": url, "events": ["*"], "headers": {"Authorization": f"Bearer {tenant.key}"}}
    made: str = (await tenant.client.post("/v1/webhooks", json=body)).raise_for_status().json()["id"]
    return made


async def test_a_webhook_onto_the_api_calls_it_once_and_never_again(
    application: FastAPI,
    tenant: Tenant,
    settings: VigieSettings,
    database: Database,
    connection: asyncpg.Connection,
) -> None:
    async with serving(application) as url:
        # It would send itself a test for each test that it gets.
        endpoint = await register(tenant, url)
        path = f"/v1/webhooks/{endpoint}"
        change = {"url": f"{url}{path}/test"}
        (await tenant.client.patch(path, json=change)).raise_for_status()

        async def tried() -> bool:
            return len(await attempts(connection)) == 2

        async with dispatching(with_webhooks(settings, schedule_s=[0, 0.05]), database):
            (await tenant.client.post(f"{path}/test")).raise_for_status()
            await until(tried)
            await asyncio.sleep(0.3)
    assert await attempts(connection) == [(1, "http_error", 403), (2, "http_error", 403)]
    assert await connection.fetchval("SELECT count(*) FROM outbox") == 1
    (delivery,) = (await tenant.client.get(f"{path}/deliveries")).json()["data"]
    assert delivery["state"] == "failed"
    assert '"code":"own_webhook"' in delivery["attempts"][0]["body"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/telemetry"),
        ("POST", "/v1/webhooks"),
        ("PATCH", "/v1/webhooks/x"),
        ("DELETE", "/v1/webhooks/x"),
        ("POST", "/v1/deliveries/x/replay"),
        ("PUT", "/nowhere"),
    ],
)
@pytest.mark.parametrize("headers", [OURS, {"user-agent": _USER_AGENT}, {"user-agent": "Vigie/0"}])
async def test_what_vigie_sent_changes_nothing(
    tenant: Tenant, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = await tenant.client.request(method, path, headers=headers, content=b"{")
    assert (answer.status_code, answer.json()["code"]) == (403, "own_webhook"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]


async def test_reading_and_the_webhooks_of_others_are_no_loops(tenant: Tenant) -> None:
    for headers in (OURS, {"user-agent": _USER_AGENT}):
        assert (await tenant.client.get("/v1/webhooks", headers=headers)).status_code == 200
    # Others sign by the same standard.
    others: dict[str, str] = {
        "webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
        "user-agent": "Other/1 Vigie/1",
    }
    answer = await tenant.client.post("/v1/webhooks", json={"url": "https://example.com/"}, headers=others)
    assert answer.status_code == 201, answer.text


async def test_a_url_at_the_apis_own_host_is_refused(settings: VigieSettings, tenant: Tenant) -> None:
    own = settings.api.model_copy(update={"public_url": "https://Vigie.example.com/base"})
    made: dict[str, Any] = {"url": "https://example.com/"}
    async with (
        running(new_application(settings.model_copy(update={"api": own}))) as app,
        client_of(app, tenant.key) as client,
    ):
        answers = [
            await client.post("/v1/webhooks", json={"url": url})
            for url in ("https://vigie.example.com/v1/x", "https://VIGIE.example.com.:8443/")
        ]
        endpoint = (await client.post("/v1/webhooks", json=made)).raise_for_status().json()
        path = f"/v1/webhooks/{endpoint['id']}"
        answers.append(await client.patch(path, json={"url": "https://vigie.example.com/"}))
        elsewhere = {"url": "https://my.vigie.example.com/"}
        assert (await client.patch(path, json=elsewhere)).status_code == 200
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (422, "webhook_url_not_allowed"), answer.text
        assert answer.json()["errors"][0]["field"] == "body.url"


async def test_on_a_loopback_address_the_port_decides(settings: VigieSettings, tenant: Tenant) -> None:
    own = settings.api.model_copy(update={"public_url": "http://127.0.0.1:8000"})
    async with (
        running(new_application(settings.model_copy(update={"api": own}))) as app,
        client_of(app, tenant.key) as client,
    ):
        beside = await client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9000/"})
        itself = [
            await client.post("/v1/webhooks", json={"url": f"http://{host}:8000/v1/x"})
            for host in ("127.0.0.1", "localhost", "[::1]")
        ]
    assert beside.status_code == 201, beside.text
    for answer in itself:
        assert (answer.status_code, answer.json()["code"]) == (422, "webhook_url_not_allowed"), answer.text
        assert "public URL" in answer.json()["detail"]


async def test_without_a_key_it_is_refused_as_soon(application: FastAPI) -> None:
    async with client_of(application, None) as client:
        answer: httpx.Response = await client.post("/v1/telemetry", headers=OURS)
    assert answer.json()["code"] == "own_webhook"
