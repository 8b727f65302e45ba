"""Boxes that are registered without an API key: by claim codes, and by provisioning keys."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.kernel.application_resources import provide_resources
from app.platform.kernel.secret_tokens import generate_key
from app.registry.claim_codes import generate_code
from app.registry.settings import EnrolmentSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant, client_of
from tests.integration.registry.links import can_connect

SITE = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"


@pytest.fixture
async def installer(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without an API key."""
    async with client_of(application, None) as client:
        yield client


async def claim(tenant: Tenant, site_id: str, **more: object) -> dict[str, Any]:
    answer = await tenant.client.post("/v1/claims", json={"site_id": site_id, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def redeem(client: httpx.AsyncClient, code: str, identifier: str, **more: object) -> httpx.Response:
    return await client.post("/v1/claims/redeem", json={"code": code, "id": identifier, **more})


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_an_installer_registers_boxes_with_a_code_until_it_is_used_up(
    tenant: Tenant, site_id: str, installer: httpx.AsyncClient, mosquitto: PrivateMosquitto
) -> None:
    made = await claim(tenant, site_id, name="Monday", boxes=2, expires_in="PT8H")
    code = made.pop("code")
    assert (made["state"], made["used"], made["hint"]) == ("open", 0, code[:2])
    place = {"type": "Point", "coordinates": [1.5, 43.7]}
    first = await redeem(
        installer, code.lower().replace("-", " "), "claimed-1", name="North", location=place, ack=True
    )
    assert first.status_code == 201, first.text
    box = first.json()
    assert (box["site_id"], box["organisation_id"]) == (site_id, tenant.id)
    assert (box["name"], box["location"], box["ack"]) == ("North", place, True)
    assert await can_connect(mosquitto, **box["credentials"])
    # A box that could not be made does not count.
    assert refusal(await redeem(installer, code, "claimed-1")) == (409, "box_exists")
    assert (await redeem(installer, code, "claimed-2")).status_code == 201
    assert refusal(await redeem(installer, code, "claimed-3")) == (409, "claim_used_up")
    seen = (await tenant.client.get(f"/v1/claims/{made['id']}")).json()
    assert (seen["state"], seen["used"]) == ("used_up", 2)
    assert seen["last_used_at"] is not None
    assert code not in str(seen)


async def test_of_many_at_once_only_so_many_get_through(
    tenant: Tenant, site_id: str, installer: httpx.AsyncClient
) -> None:
    code = (await claim(tenant, site_id, boxes=3))["code"]
    answers = await asyncio.gather(*(redeem(installer, code, f"rush-{number}") for number in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    boxes = (await tenant.client.get("/v1/boxes")).json()["data"]
    assert len(boxes) == 3


async def test_a_code_ends_by_time_and_by_hand(
    tenant: Tenant, other_tenant: Tenant, site_id: str, installer: httpx.AsyncClient, database: Database
) -> None:
    late, gone = await claim(tenant, site_id), await claim(tenant, site_id)
    async with database.write() as session:
        await session.execute(
            text("UPDATE claims SET expires_at = now() - interval '1 second' WHERE id = :id"),
            {"id": late["id"]},
        )
    assert refusal(await redeem(installer, late["code"], "box-1")) == (409, "claim_expired")
    path = f"/v1/claims/{gone['id']}"
    assert (await other_tenant.client.delete(path)).status_code == 404
    assert (await other_tenant.client.get(path)).status_code == 404
    assert (await tenant.client.delete(path)).status_code == 204
    assert refusal(await redeem(installer, gone["code"], "box-1")) == (409, "claim_revoked")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    changed = await tenant.client.patch(
        f"/v1/claims/{late['id']}", json={"expires_at": tomorrow, "name": "again"}
    )
    assert (changed.json()["state"], changed.json()["name"]) == ("open", "again")
    past = {"expires_at": "2026-01-01T00:00:00Z"}
    assert refusal(await tenant.client.patch(f"/v1/claims/{late['id']}", json=past)) == (422, "expired")
    far = {"expires_at": (datetime.now(UTC) + timedelta(days=91)).isoformat()}
    assert refusal(await tenant.client.patch(f"/v1/claims/{late['id']}", json=far)) == (
        422,
        "invalid_duration",
    )
    assert (await redeem(installer, late["code"], "box-1")).status_code == 201


async def test_claims_are_listed_by_site_and_state(
    tenant: Tenant, other_tenant: Tenant, site_id: str, installer: httpx.AsyncClient
) -> None:
    made = [await claim(tenant, site_id, name=f"c{number}") for number in range(3)]
    await redeem(installer, made[0]["code"], "box-1")
    await tenant.client.delete(f"/v1/claims/{made[1]['id']}")

    async def names(tenant: Tenant = tenant, **params: str) -> list[str]:
        answer = await tenant.client.get("/v1/claims", params=params)
        assert answer.status_code == 200, answer.text
        return [row["name"] for row in answer.json()["data"]]

    assert await names() == ["c0", "c1", "c2"]
    assert await names(site=site_id, state="open") == ["c2"]
    assert await names(state="used_up") == ["c0"]
    assert await names(state="revoked") == ["c1"]
    assert await names(state="expired") == []
    assert await names(q="C1") == ["c1"]
    assert await names(q="%") == []
    assert await names(other_tenant) == []
    page = (await tenant.client.get("/v1/claims", params={"limit": 2})).json()
    assert await names(cursor=page["next"]) == ["c2"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"site_id": SITE}, "not_found"),
        ({"boxes": 0}, "invalid_value"),
        ({"boxes": 1001}, "invalid_value"),
        ({"expires_in": "P91D"}, "invalid_duration"),
        ({"expires_in": "PT1S"}, "invalid_duration"),
        ({"expires_in": "a week"}, "invalid_duration"),
        ({"organisation_id": SITE}, "unknown_field"),
    ],
)
async def test_an_odd_claim_is_refused(tenant: Tenant, site_id: str, body: dict[str, Any], code: str) -> None:
    answer = await tenant.client.post("/v1/claims", json={"site_id": site_id, **body})
    assert answer.json()["code"] == code
    assert answer.status_code in {404, 422}


async def test_codes_cannot_be_gone_through(
    application: FastAPI, tenant: Tenant, site_id: str, installer: httpx.AsyncClient, database: Database
) -> None:
    provide_resources(application, EnrolmentSettings(attempts=3))
    code = (await claim(tenant, site_id, boxes=50))["code"]
    # Successes are not held against anybody.
    for number in range(5):
        assert (await redeem(installer, code, f"box-{number}")).status_code == 201
    swapped = code[1] + code[0] + code[2:]
    mistyped = code.replace(code[0], "2" if code[0] != "2" else "3", 1) if swapped == code else swapped
    assert refusal(await redeem(installer, mistyped, "box-9")) == (422, "claim_mistyped")
    assert refusal(await redeem(installer, generate_code(), "box-9")) == (404, "unknown_claim")
    assert refusal(await redeem(installer, generate_code(), "box-9")) == (404, "unknown_claim")
    held = await redeem(installer, code, "box-9")
    assert refusal(held) == (429, "too_many_attempts")
    assert 0 < int(held.headers["retry-after"]) <= 600
    # From elsewhere it goes on, but not with one code for ever.
    async with database.write() as session:
        await session.execute(text("UPDATE claim_attempts SET attempts = 3 WHERE subject LIKE 'code:%'"))
        await session.execute(text("DELETE FROM claim_attempts WHERE subject LIKE 'address:%'"))
    assert refusal(await redeem(installer, code, "box-9")) == (429, "too_many_attempts")
    async with database.write() as session:
        await session.execute(text("UPDATE claim_attempts SET until = now() - interval '1 second'"))
    assert (await redeem(installer, code, "box-9")).status_code == 201
    async with database.read() as reader:
        left = (await reader.execute(text("SELECT count(*), sum(attempts) FROM claim_attempts"))).one()
    assert tuple(left) == (2, 0)


@pytest.fixture
def enrolment_on(application: FastAPI) -> None:
    provide_resources(application, EnrolmentSettings(enabled=True))


async def provisioning_key(tenant: Tenant, site_id: str, **more: object) -> dict[str, Any]:
    body = {"site_id": site_id, "name": "lot", **more}
    answer = await tenant.client.post("/v1/provisioning-keys", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def provision(client: httpx.AsyncClient, key: str, identifier: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return await client.post("/v1/provision", json={"id": identifier}, headers=headers)


async def test_by_default_no_box_registers_itself(
    tenant: Tenant, site_id: str, installer: httpx.AsyncClient
) -> None:
    assert refusal(await provision(installer, generate_key("vgp_"), "box-1")) == (404, "enrolment_off")
    body = {"site_id": site_id, "name": "lot"}
    assert refusal(await tenant.client.post("/v1/provisioning-keys", json=body)) == (404, "enrolment_off")
    assert (await tenant.client.get("/v1/provisioning-keys")).json()["data"] == []


@pytest.mark.usefixtures("enrolment_on")
async def test_a_box_registers_itself_once(
    tenant: Tenant, site_id: str, installer: httpx.AsyncClient, mosquitto: PrivateMosquitto
) -> None:
    made = await provisioning_key(tenant, site_id, id_prefix="lot-", limit=2)
    key = made["key"]
    assert made["hint"] == key[:10]
    first = await provision(installer, key, "lot-1")
    assert first.status_code == 201, first.text
    assert first.json()["site_id"] == site_id
    assert await can_connect(mosquitto, **first.json()["credentials"])
    # Whoever has the key gets nothing of a box that is there.
    again = await provision(installer, key, "lot-1")
    assert refusal(again) == (409, "box_exists")
    assert "credentials" not in again.json()
    assert refusal(await provision(installer, key, "other-1")) == (403, "id_prefix")
    assert (await provision(installer, key, "lot-2")).status_code == 201
    assert refusal(await provision(installer, key, "lot-3")) == (409, "provisioning_limit")
    path = f"/v1/provisioning-keys/{made['id']}"
    assert (await tenant.client.get(path)).json()["used"] == 2
    assert (await tenant.client.patch(path, json={"limit": None})).json()["limit"] is None
    answers = await asyncio.gather(*(provision(installer, key, f"lot-{number}") for number in range(3, 7)))
    assert {answer.status_code for answer in answers} == {201}
    assert (await tenant.client.get(path)).json()["used"] == 6


@pytest.mark.usefixtures("enrolment_on")
async def test_a_provisioning_key_that_is_none_is_refused(
    tenant: Tenant, other_tenant: Tenant, site_id: str, installer: httpx.AsyncClient, database: Database
) -> None:
    made = await provisioning_key(tenant, site_id)
    key, path = made["key"], f"/v1/provisioning-keys/{made['id']}"
    # An API key provisions nothing, and a provisioning key opens nothing else.
    assert refusal(await provision(installer, tenant.key, "box-1")) == (401, "unauthorised")
    answer = await installer.get("/v1/boxes", headers={"Authorization": f"Bearer {key}"})
    assert refusal(answer) == (401, "unauthorised")
    assert refusal(await installer.post("/v1/provision", json={"id": "box-1"})) == (401, "unauthorised")
    assert refusal(await provision(installer, generate_key("vgp_"), "box-1")) == (401, "unauthorised")
    assert (await other_tenant.client.get(path)).status_code == 404
    assert (await other_tenant.client.delete(path)).status_code == 404
    body = {"site_id": site_id, "name": "theirs"}
    assert (await other_tenant.client.post("/v1/provisioning-keys", json=body)).status_code == 404
    async with database.write() as session:
        await session.execute(text("UPDATE provisioning_keys SET expires_at = now()"))
    assert refusal(await provision(installer, key, "box-1")) == (401, "key_expired")
    await tenant.client.patch(path, json={"expires_at": None, "name": "lot 2"})
    assert (await provision(installer, key, "box-1")).status_code == 201
    assert (await tenant.client.delete(path)).status_code == 204
    assert refusal(await provision(installer, key, "box-2")) == (401, "unauthorised")
    listed = (await tenant.client.get("/v1/provisioning-keys", params={"revoked": True})).json()["data"]
    assert [(row["name"], row["used"]) for row in listed] == [("lot 2", 1)]
    for part, found in (("OT", ["lot 2"]), ("lot 3", [])):
        answer = await tenant.client.get("/v1/provisioning-keys", params={"revoked": True, "q": part})
        assert [row["name"] for row in answer.json()["data"]] == found
    assert (await tenant.client.get("/v1/provisioning-keys", params={"site": site_id})).json()["data"] == []


@pytest.mark.usefixtures("enrolment_on")
async def test_who_may_not_register_boxes_makes_no_key_that_does(
    application: FastAPI, tenant: Tenant, site_id: str
) -> None:
    path = f"/v1/provisioning-keys/{(await provisioning_key(tenant, site_id, limit=1))['id']}"
    body = {"name": "narrow", "scopes": ["organisations:read", "organisations:write"]}
    narrow = (await tenant.client.post("/v1/api-keys", json=body)).json()["key"]
    async with client_of(application, narrow) as client:
        wanted = {"site_id": site_id, "name": "lot"}
        assert refusal(await client.post("/v1/provisioning-keys", json=wanted)) == (403, "forbidden")
        assert refusal(await client.patch(path, json={"limit": None})) == (403, "forbidden")
        # To end one takes nothing from anybody.
        assert (await client.delete(path)).status_code == 204


async def test_who_has_no_key_sends_little(installer: httpx.AsyncClient) -> None:
    for path in ("/v1/claims/redeem", "/v1/provision"):
        answer = await installer.post(path, json={"id": "b", "name": "x" * 17_000})
        assert refusal(answer) == (413, "body_too_large")
