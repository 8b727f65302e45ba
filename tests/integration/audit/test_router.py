"""The log by REST: what there is to read, who may, and that reading it is in it too."""

import asyncio
import hashlib
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.audit import router
from app.audit.hash_chain import ChainVerifier
from app.audit.log_export import verify_export
from app.platform.http.fairness.fair_semaphore import ExportLimits
from app.platform.kernel.application_resources import get_resource
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of
from tests.integration.audit.logs import actions, entries, last


async def read(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (of a query)
    answer = await client.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def test_the_newest_comes_first_page_by_page(tenant: Tenant, site_id: str) -> None:
    for number in range(5):
        await tenant.client.patch(f"/v1/sites/{site_id}", json={"name": f"n{number}"})
    seen: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 3, "subject_kind": "site"}
    while True:
        page = (await tenant.client.get("/v1/audit", params=query)).raise_for_status().json()
        seen += page["data"]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert [entry["after"]["name"] for entry in seen[:5]] == ["n4", "n3", "n2", "n1", "n0"]
    assert [entry["action"] for entry in seen[5:]] == ["site.created"]
    refused = await tenant.client.get("/v1/audit?cursor=x")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor")


async def test_it_can_be_searched(api: httpx.AsyncClient, tenant: Tenant, site_id: str) -> None:
    await tenant.client.patch(f"/v1/sites/{site_id}", json={"name": "a"})
    await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})
    (made,) = await read(tenant.client, subject="box-1")
    assert made["action"] == "box.created"
    assert {entry["action"] for entry in await read(tenant.client, action="site")} == {
        "site.created",
        "site.updated",
    }
    assert [entry["action"] for entry in await read(tenant.client, action="site.updated")] == ["site.updated"]
    assert await read(tenant.client, action="sit") == []
    key = made["actor"]["id"]
    assert {entry["actor"]["id"] for entry in await read(tenant.client, actor=key)} == {key}
    assert await read(tenant.client, subject="box-1", to=made["at"]) == []
    assert [
        each["position"] for each in await read(tenant.client, subject="box-1", **{"from": made["at"]})
    ] == [made["position"]]
    assert {entry["organisation_id"] for entry in await read(api, organisation=tenant.id)} == {tenant.id}
    assert len({entry["organisation_id"] for entry in await read(api)}) > 1
    backwards = {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    refused = await tenant.client.get("/v1/audit", params=backwards)
    assert (refused.status_code, refused.json()["code"]) == (422, "range_reversed")


async def test_nobody_reads_anothers(
    application: FastAPI, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    assert {entry["organisation_id"] for entry in await read(other_tenant.client)} == {other_tenant.id}
    assert await read(other_tenant.client, organisation=tenant.id) == []
    assert await read(other_tenant.client, subject=site_id) == []
    for path in ("/v1/audit/head", "/v1/audit/export", "/v1/audit/1"):
        answer = await other_tenant.client.get(path, params={"organisation": tenant.id})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        unknown = await other_tenant.client.get(path, params={"organisation": str(uuid4())})
        assert unknown.status_code == 404
    body = {"name": "no audit", "scopes": ["sites:read"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).json()["key"]
    limited = {"name": "one site", "scopes": ["*"], "site_ids": [site_id]}
    one_site = (await tenant.client.post("/v1/api-keys", json=limited)).json()["key"]
    for held in (key, one_site):
        async with client_of(application, held) as client:
            for path in ("/v1/audit", "/v1/audit/head", "/v1/audit/export", "/v1/audit/1"):
                assert (await client.get(path)).status_code == 403


async def test_an_integrator_reads_its_clients(application: FastAPI, api: httpx.AsyncClient) -> None:
    above = (await api.post("/v1/organisations", json={"name": "I", "kind": "integrator"})).json()["id"]
    below = (await api.post("/v1/organisations", json={"name": "C", "parent_id": above})).json()["id"]
    body = {"organisation_id": above, "name": "i", "scopes": ["audit:read"]}
    key = (await api.post("/v1/api-keys", json=body)).json()["key"]
    async with client_of(application, key) as client:
        assert {entry["organisation_id"] for entry in await read(client)} == {above, below}
        assert (await client.get(f"/v1/audit/head?organisation={below}")).json()["position"] == 2
    # That somebody looked is told to whom it concerns.
    assert (await read(api, organisation=below))[0]["action"] == "audit.read"


async def test_an_entry_proves_itself(tenant: Tenant, site_id: str) -> None:
    head = (await tenant.client.get("/v1/audit/head")).json()
    entry = (await tenant.client.get(f"/v1/audit/{head['position']}")).json()
    made = hashlib.sha256(bytes.fromhex(entry["previous"]) + entry["record"].encode())
    assert made.hexdigest() == entry["hash"] == head["hash"]
    assert (entry["action"], entry["subject"]["id"]) == ("site.created", site_id)
    before = (await tenant.client.get(f"/v1/audit/{head['position'] - 1}")).json()
    assert before["hash"] == entry["previous"]
    missing = await tenant.client.get("/v1/audit/999")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_an_export_can_be_verified_somewhere_else(
    tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> None:
    change = {"name": "été \U0001f389"}
    (await tenant.client.patch(f"/v1/sites/{site_id}", json=change)).raise_for_status()
    answer = await tenant.client.get("/v1/audit/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = answer.text.splitlines()
    verifier = ChainVerifier(partial=True)
    assert list(verify_export(lines, verifier)) == []
    told = await last(owner, tenant.id)
    assert (told["action"], told["after"]) == (
        "audit.read",
        {"export": {"from": None, "to": None, "within_s": 3600}},
    )
    # The export itself is in it: it was recorded before the first line was given.
    assert verifier.entries == told["position"]
    since = json.loads(json.loads(lines[2])["record"])["at"]
    part = await tenant.client.get("/v1/audit/export", params={"from": since})
    found = part.text.splitlines()
    assert json.loads(found[0])["position"] == 3
    assert list(verify_export(found, ChainVerifier(partial=True))) == []


@pytest.mark.usefixtures("site_id")
async def test_an_organisation_exports_once_at_a_time_and_in_pieces(
    application: FastAPI, tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (await tenant.client.get("/v1/audit/export")).text
    assert json.loads(whole.splitlines()[-1])["entries"] > 2
    monkeypatch.setattr(router, "_CHUNK_ENTRIES", 1)
    assert (await tenant.client.get("/v1/audit/export")).text == whole
    with get_resource(application, ExportLimits).reserve_export(UUID(tenant.id)):
        refused = await tenant.client.get("/v1/audit/export")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_exports")
        assert int(refused.headers["retry-after"]) > 0
        assert (await other_tenant.client.get("/v1/audit/export")).status_code == 200
    assert (await tenant.client.get(f"/v1/audit/export?organisation={uuid4()}")).status_code == 404
    assert (await tenant.client.get("/v1/audit/export")).status_code == 200


async def test_addresses_are_not_shown_without_an_entry(
    *,
    application: FastAPI,
    tenant: Tenant,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
    owner: asyncpg.Connection,
    root: asyncpg.Connection,
) -> None:
    monkeypatch.setattr(settings.smtp, "host", "mail.example.com")
    mail = {"kind": "email", "to": ["jean@example.com"]}
    ids = [(await tenant.client.post("/v1/channels", json=mail)).json()["id"] for _ in range(2)]
    await tenant.client.get("/v1/channels")
    entry = await last(owner, tenant.id)
    assert (entry["action"], entry["subject"]) == ("channel.read", {"kind": "channel", "ids": ids})
    await tenant.client.get(f"/v1/channels/{ids[0]}")
    assert (await last(owner, tenant.id))["subject"] == {"kind": "channel", "id": ids[0]}
    assert [each["action"] for each in await read(tenant.client, subject=ids[1])] == [
        "channel.read",
        "channel.created",
    ]
    # An MQTT channel has no person's address.
    before = await entries(owner, tenant.id)
    await tenant.client.get("/v1/channels?kind=mqtt")
    assert await entries(owner, tenant.id) == before
    body = {"name": "has not read yet", "scopes": ["*"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    # The log cannot be written: nothing is shown.
    await root.execute("ALTER TABLE audit_pending RENAME TO gone")
    async with client_of(application, key) as client:
        for path in (
            *("/v1/channels", f"/v1/channels/{ids[0]}", "/v1/audit", "/v1/audit/1", "/v1/audit/export"),
        ):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable"), path
            assert "jean" not in answer.text


async def test_a_refused_access_is_recorded_once_a_minute(
    application: FastAPI, tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> None:
    body = {"name": "reader", "scopes": ["sites:read"]}
    made = (await tenant.client.post("/v1/api-keys", json=body)).json()
    async with client_of(application, made["key"]) as client:
        for _ in range(3):
            assert (await client.patch(f"/v1/sites/{site_id}", json={"name": "x"})).status_code == 403
    entry = await last(owner, tenant.id)
    assert (await actions(owner, tenant.id)).count("access.refused") == 1
    assert entry["actor"] == {"kind": "key", "id": made["id"], "name": "reader"}
    assert entry["after"] == {"method": "PATCH", "path": "/v1/sites/{site_id}"}


async def test_readers_at_once_do_not_wait_in_vain(tenant: Tenant, owner: asyncpg.Connection) -> None:
    await asyncio.gather(*(read(tenant.client) for _ in range(30)))
    # Those that began before the first one was committed have an entry of their own.
    assert 1 <= (await actions(owner, tenant.id)).count("audit.read") <= 30


async def test_the_log_does_not_grow_by_being_read(
    application: FastAPI, tenant: Tenant, owner: asyncpg.Connection, root: asyncpg.Connection
) -> None:
    async def readings() -> list[tuple[str, list[str]]]:
        found = await entries(owner, tenant.id)
        return [
            (each["actor"]["name"], list(each["after"])) for each in found if each["action"] == "audit.read"
        ]

    paths = ("/v1/audit", "/v1/audit/1", "/v1/audit/2", "/v1/audit/export", "/v1/audit?subject_kind=site")
    for path in (*paths, *paths, *paths):
        (await tenant.client.get(path)).raise_for_status()
    mine = (await last(owner, tenant.id))["actor"]["name"]
    assert await readings() == [(mine, ["entries"]), (mine, ["entry"]), (mine, ["export"])]
    assert (await last(owner, tenant.id))["after"]["export"]["within_s"] == 3600
    # Another one is told of by name, and so is the same one when the hour is over.
    body = {"name": "another", "scopes": ["audit:read"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).json()["key"]
    async with client_of(application, key) as client:
        await read(client)
        await read(client)
    assert (await readings())[3:] == [("another", ["entries"])]
    await root.execute("UPDATE audit_log SET at = at - interval '61 minutes'")
    await read(tenant.client)
    assert (await readings())[4:] == [(mine, ["entries"])]
