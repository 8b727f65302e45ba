"""Quotas over REST: who gives them, what they refuse, and what is shown of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY

from app.platform.db.database import Database
from app.registry.settings import QUOTAS
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of

SITE: dict[str, Any] = {
    "name": "Rue",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4, 43.6]},
}


async def give(giver: httpx.AsyncClient, organisation: str, **quotas: int | None) -> httpx.Response:
    return await giver.put(f"/v1/organisations/{organisation}/quotas", json=quotas)


async def usage(tenant: Tenant) -> dict[str, Any]:
    answer = await tenant.client.get(f"/v1/organisations/{tenant.id}/usage")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def box(tenant: Tenant, site: str, name: str) -> httpx.Response:
    return await tenant.client.post("/v1/boxes", json={"id": name, "site_id": site})


@pytest.fixture
async def integrator(application: FastAPI, api: httpx.AsyncClient) -> AsyncIterator[Tenant]:
    body = {"name": "Capteurs du Midi", "kind": "integrator"}
    made = (await api.post("/v1/organisations", json=body)).raise_for_status().json()
    wanted = {"organisation_id": made["id"], "name": "tests", "scopes": ["*"]}
    key = (await api.post("/v1/api-keys", json=wanted)).raise_for_status().json()["key"]
    async with client_of(application, key) as client:
        yield Tenant(client, made["id"], key)


async def client_of_integrator(application: FastAPI, integrator: Tenant, name: str) -> Tenant:
    made = (await integrator.client.post("/v1/organisations", json={"name": name})).raise_for_status().json()
    wanted = {"organisation_id": made["id"], "name": "tests", "scopes": ["*"]}
    key = (await integrator.client.post("/v1/api-keys", json=wanted)).raise_for_status().json()["key"]
    return Tenant(client_of(application, key), made["id"], key)


async def site_of(tenant: Tenant) -> str:
    made = (await tenant.client.post("/v1/sites", json=SITE)).raise_for_status()
    identifier: str = made.json()["id"]
    return identifier


async def test_who_gives_quotas_and_who_does_not(
    application: FastAPI, api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant, integrator: Tenant
) -> None:
    given = await give(api, tenant.id, boxes=3, samples_per_day=100)
    assert given.status_code == 200, given.text
    assert given.json() == dict.fromkeys(QUOTAS) | {"boxes": 3, "samples_per_day": 100}
    seen = await tenant.client.get(f"/v1/organisations/{tenant.id}/quotas")
    assert seen.json() == given.json()
    mine = await give(tenant.client, tenant.id, boxes=10**6)
    assert (mine.status_code, mine.json()["code"]) == (403, "forbidden")
    for foreign in ("quotas", "usage"):
        path = f"/v1/organisations/{tenant.id}/{foreign}"
        assert (await other_tenant.client.get(path)).status_code == 404
    assert (await give(other_tenant.client, tenant.id, boxes=1)).status_code == 404
    # An integrator gives its clients, up to what it was given itself, and nothing to itself.
    client = await client_of_integrator(application, integrator, "Mairie")
    await give(api, integrator.id, boxes=5)
    assert (await give(integrator.client, client.id, boxes=5, sites=9)).status_code == 200
    above = await give(integrator.client, client.id, boxes=6)
    assert (above.status_code, above.json()["code"]) == (422, "quota_above_own")
    assert above.json()["errors"][0]["field"] == "body.boxes"
    assert (await give(integrator.client, integrator.id, boxes=6)).status_code == 403
    assert (await give(client.client, client.id, boxes=6)).status_code == 403
    assert (await api.get(f"/v1/organisations/{client.id}/quotas")).json()["boxes"] == 5
    # All of them are replaced.
    await give(api, tenant.id)
    assert (await tenant.client.get(f"/v1/organisations/{tenant.id}/quotas")).json() == dict.fromkeys(QUOTAS)
    await client.client.aclose()


@pytest.mark.parametrize("most", [-1, 2**53 + 1, 1.5, True, "3"])
async def test_a_quota_that_is_no_number_of_things_is_refused(
    api: httpx.AsyncClient, tenant: Tenant, most: object
) -> None:
    answer = await api.put(f"/v1/organisations/{tenant.id}/quotas", json={"boxes": most})
    assert answer.status_code == 422, answer.text


async def test_a_box_too_many_is_refused_counted_and_shown(
    api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    before = REGISTRY.get_sample_value("vigie_quota_refused_total", {"quota": "boxes"}) or 0
    await give(api, tenant.id, boxes=2)
    for name in ("a", "b"):
        assert (await box(tenant, site_id, name)).status_code == 201
    refused = await box(tenant, site_id, "c")
    assert refused.status_code == 409, refused.text
    assert {name: refused.json()[name] for name in ("code", "quota", "limit", "used")} == {
        "code": "quota_exceeded",
        "quota": "boxes",
        "limit": 2,
        "used": 2,
    }
    assert (await tenant.client.get("/v1/boxes/c")).status_code == 404
    # What is taken is told before what is too much: a box that registers again must know.
    assert (await box(tenant, site_id, "a")).json()["code"] == "box_exists"
    shown = await usage(tenant)
    assert shown["boxes"] == {
        "limit": 2,
        "used": 2,
        "remaining": 0,
        "refused": 1,
        "with_clients": False,
    }
    assert datetime.fromisoformat(shown["resets_at"]) - datetime.now(UTC) <= timedelta(days=1)
    after = REGISTRY.get_sample_value("vigie_quota_refused_total", {"quota": "boxes"})
    assert after == before + 1
    assert (await tenant.client.delete("/v1/boxes/a")).status_code == 204
    assert (await box(tenant, site_id, "c")).status_code == 201


async def test_of_many_boxes_all_are_refused_or_none(
    api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    await give(api, tenant.id, boxes=5)
    boxes = [{"id": f"box-{number}", "site_id": site_id} for number in range(6)]
    refused = await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})
    assert (refused.status_code, refused.json()["code"], refused.json()["used"]) == (409, "quota_exceeded", 0)
    assert (await usage(tenant))["boxes"]["refused"] == 6
    made = await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes[:5]})
    assert made.status_code == 201
    assert (await usage(tenant))["boxes"]["used"] == 5


async def test_two_at_once_do_not_both_get_the_last_place(
    api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    await give(api, tenant.id, boxes=3, sites=4)
    answers = await asyncio.gather(
        *(box(tenant, site_id, f"box-{number}") for number in range(8)),
        *(tenant.client.post("/v1/sites", json=SITE) for _ in range(6)),
    )
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses[:8]) == [201] * 3 + [409] * 5
    assert sorted(statuses[8:]) == [201] * 3 + [409] * 3
    shown = await usage(tenant)
    assert (shown["boxes"]["used"], shown["boxes"]["refused"]) == (3, 5)
    assert (shown["sites"]["used"], shown["sites"]["refused"]) == (4, 3)


async def test_installers_are_told_as_clearly(api: httpx.AsyncClient, tenant: Tenant, site_id: str) -> None:
    await give(api, tenant.id, boxes=1)
    claim = {"site_id": site_id, "boxes": 5}
    code = (await tenant.client.post("/v1/claims", json=claim)).raise_for_status().json()["code"]
    async with httpx.AsyncClient(transport=tenant.client._transport, base_url="http://vigie.test") as anybody:
        first = await anybody.post("/v1/claims/redeem", json={"code": code, "id": "one"})
        assert first.status_code == 201, first.text
        second = await anybody.post("/v1/claims/redeem", json={"code": code, "id": "two"})
    assert (second.status_code, second.json()["code"]) == (409, "quota_exceeded")
    (kept,) = (await tenant.client.get("/v1/claims")).json()["data"]
    assert kept["used"] == 1


async def test_boxes_that_register_themselves_are_told_too(
    settings: VigieSettings,
    api: httpx.AsyncClient,
    tenant: Tenant,
    site_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings.enrolment, "enabled", True)
    monkeypatch.setattr(settings.quotas, "boxes", 1)
    wanted = {"site_id": site_id, "name": "fleet"}
    key = (await tenant.client.post("/v1/provisioning-keys", json=wanted)).raise_for_status().json()["key"]
    authorised = {"Authorization": f"Bearer {key}"}
    answers = [
        await api.post("/v1/provision", json={"id": name}, headers=authorised)
        for name in ("one", "two", "one")
    ]
    assert [answer.status_code for answer in answers] == [201, 409, 409]
    assert [answer.json().get("code") for answer in answers[1:]] == ["quota_exceeded", "box_exists"]


async def test_keys_webhooks_and_channels_have_quotas(
    settings: VigieSettings, api: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.smtp, "host", "mail.example.com")
    await give(api, tenant.id, api_keys=2, webhooks=1)  # one key is the tenant's own
    key = {"name": "k", "scopes": ["sites:read"]}
    made = await tenant.client.post("/v1/api-keys", json=key)
    assert made.status_code == 201
    assert (await tenant.client.post("/v1/api-keys", json=key)).json()["quota"] == "api_keys"
    await tenant.client.delete(f"/v1/api-keys/{made.json()['id']}")
    assert (await tenant.client.post("/v1/api-keys", json=key)).status_code == 201
    hook = await tenant.client.post("/v1/webhooks", json={"url": "https://example.com/"})
    assert hook.status_code == 201
    mail = {"kind": "email", "to": ["a@example.com"]}
    assert (await tenant.client.post("/v1/channels", json=mail)).json()["quota"] == "webhooks"
    shown = await usage(tenant)
    assert {name: shown[name]["used"] for name in QUOTAS} == {
        "sites": 0,
        "boxes": 0,
        "api_keys": 2,
        "webhooks": 1,
        "clients": 0,
        "samples_per_day": 0,
    }


async def test_what_a_quota_refused_may_be_asked_for_again_under_the_same_key(
    api: httpx.AsyncClient, tenant: Tenant
) -> None:
    await give(api, tenant.id, sites=0)
    once = {"Idempotency-Key": "first"}
    refused = await tenant.client.post("/v1/sites", json=SITE, headers=once)
    assert (refused.status_code, refused.json()["code"]) == (409, "quota_exceeded")
    assert (await usage(tenant))["sites"]["refused"] == 1
    await give(api, tenant.id, sites=1)
    assert (await tenant.client.post("/v1/sites", json=SITE, headers=once)).status_code == 201


async def test_an_integrators_quota_holds_for_its_clients_together(
    application: FastAPI, api: httpx.AsyncClient, integrator: Tenant
) -> None:
    await give(api, integrator.id, boxes=3, clients=2)
    first, second = [await client_of_integrator(application, integrator, name) for name in ("a", "b")]
    third = await integrator.client.post("/v1/organisations", json={"name": "c"})
    assert (third.json()["code"], third.json()["quota"]) == ("quota_exceeded", "clients")
    await give(integrator.client, first.id, boxes=2)
    sites = [await site_of(each) for each in (integrator, first, second)]
    assert (await box(integrator, sites[0], "mine")).status_code == 201
    assert (await box(first, sites[1], "a-1")).status_code == 201
    assert (await box(second, sites[2], "b-1")).status_code == 201
    refused = await box(second, sites[2], "b-2")
    # What its siblings have is not for a client to know.
    assert (refused.status_code, refused.json()["limit"], refused.json()["used"]) == (409, None, None)
    assert "3" not in refused.json()["detail"]
    told = await integrator.client.post("/v1/boxes", json={"id": "b-2", "site_id": sites[2]})
    assert (told.json()["limit"], told.json()["used"]) == (3, 3)
    assert (await usage(second))["boxes"] == {
        "limit": None,
        "used": 1,
        "remaining": None,
        "refused": 2,
        "with_clients": False,
    }
    assert (await usage(integrator))["boxes"] == {
        "limit": 3,
        "used": 3,
        "remaining": 0,
        "refused": 2,
        "with_clients": True,
    }
    for each in (first, second):
        await each.client.aclose()


async def test_an_installations_default_holds_for_each_by_itself(
    settings: VigieSettings,
    application: FastAPI,
    api: httpx.AsyncClient,
    integrator: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings.quotas, "boxes", 1)
    client = await client_of_integrator(application, integrator, "a")
    sites = [await site_of(each) for each in (integrator, client)]
    assert (await box(integrator, sites[0], "mine")).status_code == 201
    assert (await box(client, sites[1], "a-1")).status_code == 201
    assert (await box(client, sites[1], "a-2")).json()["limit"] == 1
    assert (await usage(integrator))["boxes"]["with_clients"] is False
    # A quota of its own goes before it, in both directions.
    await give(api, client.id, boxes=2)
    assert (await box(client, sites[1], "a-2")).status_code == 201
    await client.client.aclose()


async def test_one_call_for_several_organisations_heeds_each_quota(
    api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    other_site = await site_of(other_tenant)
    await give(api, other_tenant.id, boxes=1)
    boxes = [{"id": f"mine-{number}", "site_id": site_id} for number in range(3)]
    boxes += [{"id": f"theirs-{number}", "site_id": other_site} for number in range(2)]
    refused = await api.post("/v1/boxes/bulk", json={"boxes": boxes})
    assert (refused.status_code, refused.json()["limit"], refused.json()["used"]) == (409, 1, 0)
    assert (await usage(tenant))["boxes"]["refused"] == 0
    assert (await usage(other_tenant))["boxes"]["refused"] == 2
    assert (await api.post("/v1/boxes/bulk", json={"boxes": boxes[:4]})).status_code == 201


async def test_whoever_takes_room_reaches_no_further_afterwards(
    database: Database, api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    await give(api, tenant.id, boxes=2)
    connection = await database.connect()
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL ROLE vigie_api")
            await connection.execute(
                "SELECT set_config('vigie.reach', $1, true), set_config('vigie.sites', $2, true)",
                *(tenant.id, other_tenant.id),
            )
            room = await connection.fetch("SELECT * FROM vigie_quota_room($1, 'boxes', NULL)", [tenant.id])
            assert [(row["most"], row["used"]) for row in room] == [(2, 0)]
            seen = await connection.fetch("SELECT id::text FROM organisations")
            assert [row["id"] for row in seen] == [tenant.id]
            assert await connection.fetchval("SELECT vigie_sites()::text") == f"{{{other_tenant.id}}}"
        # Whoever takes in samples or delivers has no use for it.
        for role in ("vigie_ingest", "vigie_deliver", "vigie_maintain"):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL ROLE {role}")
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute("SELECT vigie_quota_room($1, 'boxes', NULL)", [tenant.id])
        async with connection.transaction():
            await connection.execute("SET LOCAL ROLE vigie_maintain")
            assert await connection.fetchval("SELECT count(organisation_id) FROM api_keys") == 3
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.fetch("SELECT hash FROM api_keys")
    finally:
        await connection.close()
