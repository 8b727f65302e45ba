"""Portal links: what they open, and all that they do not."""

from typing import Any
from uuid import UUID

import asyncpg
from fastapi import FastAPI

from app.platform.kernel.secret_tokens import generate_key
from tests.conftest import Tenant, client_of
from tests.integration.notifications.helpers import add_endpoint
from tests.integration.notifications.log import add_delivery


async def _link(tenant: Tenant, endpoint: object, **more: str) -> dict[str, Any]:
    body = {"name": "Developers", **more}
    answer = await tenant.client.post(f"/v1/webhooks/{endpoint}/portal-links", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_link_opens_one_webhook_and_nothing_else(
    application: FastAPI, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    owner = UUID(tenant.id)
    endpoint, secret = await add_endpoint(connection, owner, "https://example.com/hook")
    other, _ = await add_endpoint(connection, owner, "https://example.com/other")
    mine = await add_delivery(connection, owner, endpoint, state="pending")
    theirs = await add_delivery(connection, owner, other, state="pending")
    made = await _link(tenant, endpoint)
    assert made["url"].endswith(f"/console/portal#{made['token']}")
    async with client_of(application, made["token"]) as holder:
        opened = (await holder.get("/v1/portal")).raise_for_status()
        assert opened.json()["url"] == "https://example.com/hook"
        assert secret not in opened.text
        assert (await holder.get("/v1/portal/health")).json()["pending"] == 1
        listed = (await holder.get("/v1/portal/deliveries")).json()["data"]
        assert [each["id"] for each in listed] == [str(mine)]
        assert (await holder.get("/v1/portal/deliveries?state=failed")).json()["data"] == []
        assert (await holder.get(f"/v1/portal/deliveries/{mine}")).json()["id"] == str(mine)
        assert (await holder.get(f"/v1/portal/deliveries/{theirs}")).status_code == 404
        # It is no API key: every other call refuses it.
        for method, path in (
            ("GET", "/v1/me"),
            ("GET", "/v1/webhooks"),
            ("GET", f"/v1/deliveries/{mine}"),
            ("POST", f"/v1/deliveries/{mine}/replay"),
            ("GET", "/v1/metrics"),
        ):
            assert (await holder.request(method, path)).status_code == 401, path
    # And a key is no link.
    assert (await tenant.client.get("/v1/portal")).status_code == 401
    used = (await tenant.client.get(f"/v1/webhooks/{endpoint}/portal-links")).json()["data"]
    assert used[0]["last_used_at"] is not None
    assert "token" not in used[0]


async def test_a_link_ends(application: FastAPI, tenant: Tenant, connection: asyncpg.Connection) -> None:
    endpoint, _ = await add_endpoint(connection, UUID(tenant.id), "https://example.com/hook")
    expired, deleted = [await _link(tenant, endpoint, lifetime="PT1H") for _ in range(2)]
    await connection.execute("UPDATE portal_links SET expires_at = now() WHERE id = $1", UUID(expired["id"]))
    path = f"/v1/webhooks/{endpoint}/portal-links"
    assert (await tenant.client.delete(f"{path}/{deleted['id']}")).status_code == 204
    for token, code in (
        (expired["token"], "link_expired"),
        (deleted["token"], "unauthorised"),
        (generate_key("vgl_"), "unauthorised"),
        ("vgl_x", "unauthorised"),
    ):
        async with client_of(application, token) as holder:
            for call in ("portal", "portal/health", "portal/deliveries", f"portal/deliveries/{endpoint}"):
                answer = await holder.get(f"/v1/{call}")
                assert (answer.status_code, answer.json()["code"]) == (401, code), call
    async with client_of(application, None) as anybody:
        assert (await anybody.get("/v1/portal")).status_code == 401


async def test_who_may_not_change_webhooks_makes_no_links(
    application: FastAPI, tenant: Tenant, other_tenant: Tenant, connection: asyncpg.Connection
) -> None:
    endpoint, _ = await add_endpoint(connection, UUID(tenant.id), "https://example.com/hook")
    other, _ = await add_endpoint(connection, UUID(tenant.id), "https://example.com/hook")
    made = await _link(tenant, endpoint)
    path = f"/v1/webhooks/{endpoint}/portal-links"
    key = {"name": "reader", "scopes": ["webhooks:read"]}
    reader_key = (await tenant.client.post("/v1/api-keys", json=key)).json()["key"]
    async with client_of(application, reader_key) as reader:
        assert len((await reader.get(path)).json()["data"]) == 1
        assert (await reader.post(path, json={"name": "x"})).status_code == 403
        assert (await reader.delete(f"{path}/{made['id']}")).status_code == 403
    for method in ("GET", "POST"):
        body = {"name": "x"} if method == "POST" else None
        assert (await other_tenant.client.request(method, path, json=body)).status_code == 404
    assert (await other_tenant.client.delete(f"{path}/{made['id']}")).status_code == 404
    # The link is not one of the other webhook.
    wrong = f"/v1/webhooks/{other}/portal-links/{made['id']}"
    assert (await tenant.client.delete(wrong)).status_code == 404


async def test_links_are_limited_in_time_and_number(tenant: Tenant, connection: asyncpg.Connection) -> None:
    endpoint, _ = await add_endpoint(connection, UUID(tenant.id), "https://example.com/hook")
    path = f"/v1/webhooks/{endpoint}/portal-links"
    for body in ({"name": ""}, {"name": "x", "lifetime": "PT5M"}, {"name": "x", "lifetime": "P2Y"}, {}):
        assert (await tenant.client.post(path, json=body)).status_code == 422, body
    for _ in range(50):
        await _link(tenant, endpoint)
    answer = await tenant.client.post(path, json={"name": "one more"})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_links")
