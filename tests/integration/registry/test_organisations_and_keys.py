"""Organisations and API keys over REST, on a real database."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from app.settings import VigieSettings
from tests.conftest import Tenant, client_of


async def test_an_administrator_makes_changes_and_deletes_an_organisation(api: httpx.AsyncClient) -> None:
    made = await api.post("/v1/organisations", json={"name": "Mairie"})
    assert made.status_code == 201, made.text
    url = f"/v1/organisations/{made.json()['id']}"
    assert made.json()["platform"] is False
    assert (await api.get(url)).json() == made.json()
    changed = await api.patch(url, json={"name": "Métropole"})
    assert changed.status_code == 200
    assert changed.json()["name"] == "Métropole"
    assert (await api.delete(url)).status_code == 204
    assert (await api.get(url)).status_code == 404


async def test_an_organisation_sees_itself_alone(tenant: Tenant, other_tenant: Tenant) -> None:
    seen = (await tenant.client.get("/v1/organisations")).json()
    assert [row["id"] for row in seen["data"]] == [tenant.id]
    assert (await tenant.client.get(f"/v1/organisations/{other_tenant.id}")).status_code == 404
    assert (
        await tenant.client.patch(f"/v1/organisations/{other_tenant.id}", json={"name": "x"})
    ).status_code == 404
    refused = await tenant.client.post("/v1/organisations", json={"name": "mine too"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await tenant.client.delete(f"/v1/organisations/{tenant.id}")).status_code == 403


async def test_what_is_not_empty_stays(api: httpx.AsyncClient, tenant: Tenant, site_id: str) -> None:
    await tenant.client.post("/v1/boxes", json={"id": "gone", "site_id": site_id})
    await tenant.client.delete("/v1/boxes/gone")
    for box in ("box-1", "box-2"):
        await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})
    for path, body in (
        ("/v1/webhooks", {"url": "https://example.com/hooks/vigie"}),
        ("/v1/channels", {"kind": "mqtt"}),
    ):
        (await tenant.client.post(path, json=body)).raise_for_status()
    refused = await api.delete(f"/v1/organisations/{tenant.id}")
    told = refused.json()
    assert (refused.status_code, told["code"]) == (409, "organisation_not_empty")
    assert told["remaining"] == {"boxes": 2, "deleted_boxes": 1, "sites": 1, "webhooks": 1, "channels": 1}
    assert "still has 2 boxes, 1 deleted box whose samples" in told["detail"]
    assert "First delete its boxes; wait until" in told["detail"]
    assert (await tenant.client.get(f"/v1/sites/{site_id}")).status_code == 200
    integrator = (await api.post("/v1/organisations", json={"name": "i", "kind": "integrator"})).json()["id"]
    await api.post("/v1/organisations", json={"name": "c", "parent_id": integrator})
    told = (await api.delete(f"/v1/organisations/{integrator}")).json()
    assert told["remaining"] == {"clients": 1}
    assert told["detail"].startswith("The organisation still has 1 client. First delete its clients")
    platform = next(row for row in (await api.get("/v1/organisations")).json()["data"] if row["platform"])
    refused = await api.delete(f"/v1/organisations/{platform['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "platform_organisation")


async def test_pages_of_organisations_hold_each_one_once(api: httpx.AsyncClient) -> None:
    names = [f"org-{number}" for number in range(5)]
    for name in names:
        await api.post("/v1/organisations", json={"name": name})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("/v1/organisations", params={"limit": 2, **cursor})).json()
        assert len(page["data"]) <= 2
        seen += [row["name"] for row in page["data"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert [name for name in seen if name.startswith("org-")] == names


@pytest.mark.parametrize("cursor", ["x", "AAAA", "W10", "é", "A" * 600])
async def test_a_forged_cursor_is_refused(api: httpx.AsyncClient, cursor: str) -> None:
    answer = await api.get("/v1/organisations", params={"cursor": cursor})
    assert answer.status_code == 422


@pytest.mark.parametrize("limit", ["-1", "0", "1001", "x", "1.5"])
async def test_a_limit_out_of_range_is_refused(api: httpx.AsyncClient, limit: str) -> None:
    answer = await api.get("/v1/organisations", params={"limit": limit})
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_a_key_is_shown_once_works_and_is_revoked(application: FastAPI, tenant: Tenant) -> None:
    made = await tenant.client.post("/v1/api-keys", json={"name": "reader", "scopes": ["sites:read"]})
    assert made.status_code == 201, made.text
    key = made.json()
    assert key["key"].startswith("vg_")
    assert key["key"].startswith(key["hint"])
    assert key["organisation_id"] == tenant.id
    listed = (await tenant.client.get("/v1/api-keys")).json()["data"]
    entry = next(row for row in listed if row["id"] == key["id"])
    assert "key" not in entry
    assert "hash" not in entry
    async with client_of(application, key["key"]) as client:
        assert (await client.get("/v1/sites")).status_code == 200
        refused = await client.post("/v1/sites", json={})
        # The scope is checked before the body's fields are.
        assert refused.status_code in {403, 422}
        assert (await client.get("/v1/api-keys")).status_code == 403
        assert (await tenant.client.delete(f"/v1/api-keys/{key['id']}")).status_code == 204
        assert (await client.get("/v1/sites")).status_code == 401
    assert (await tenant.client.get(f"/v1/api-keys/{key['id']}")).status_code == 404
    assert (await tenant.client.delete(f"/v1/api-keys/{key['id']}")).status_code == 404
    revoked = (await tenant.client.get("/v1/api-keys", params={"revoked": True})).json()["data"]
    assert [row["id"] for row in revoked] == [key["id"]]
    assert revoked[0]["revoked_at"] is not None


async def test_a_key_cannot_give_what_it_lacks(application: FastAPI, tenant: Tenant) -> None:
    scopes = ["organisations:write", "organisations:read", "sites:read"]
    made = (await tenant.client.post("/v1/api-keys", json={"name": "some", "scopes": scopes})).json()
    async with client_of(application, made["key"]) as client:
        for wanted in (["*"], ["sites:write"], ["sites:read", "rules:read"]):
            refused = await client.post("/v1/api-keys", json={"name": "more", "scopes": wanted})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), wanted
        less = await client.post("/v1/api-keys", json={"name": "less", "scopes": ["sites:read"]})
        assert less.status_code == 201
        powerful = next(
            row for row in (await client.get("/v1/api-keys")).json()["data"] if row["scopes"] == ["*"]
        )
        prolonged = await client.patch(f"/v1/api-keys/{powerful['id']}", json={"expires_at": None})
        assert prolonged.status_code == 403


async def test_a_clients_key_never_speaks_for_the_platform(
    application: FastAPI, api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    foreign = await tenant.client.post(
        "/v1/api-keys", json={"organisation_id": other_tenant.id, "name": "x", "scopes": ["*"]}
    )
    assert (foreign.status_code, foreign.json()["code"]) == (422, "foreign_organisation")
    nowhere = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"
    missing = await api.post("/v1/api-keys", json={"organisation_id": nowhere, "name": "x", "scopes": ["*"]})
    assert missing.status_code == 404
    own = (await api.post("/v1/api-keys", json={"name": "second administrator", "scopes": ["*"]})).json()
    async with client_of(application, own["key"]) as client:
        assert (await client.get(f"/v1/organisations/{tenant.id}")).status_code == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "x", "scopes": []}, "invalid_value"),
        ({"name": "x", "scopes": ["everything"]}, "unknown_scope"),
        ({"name": "x", "scopes": "*"}, "wrong_type"),
        ({"name": "x"}, "missing_field"),
        ({"name": "x", "scopes": ["*"], "platform": True}, "unknown_field"),
        ({"name": "x", "scopes": ["*"], "expires_at": "2026-01-01T00:00:00"}, "time_without_zone"),
        ({"name": "x", "scopes": ["*"], "expires_at": "2020-01-01T00:00:00Z"}, "expired"),
        ({"name": "e\u0301", "scopes": ["*"]}, "name_not_normalised"),
    ],
)
async def test_a_faulty_key_is_refused(tenant: Tenant, body: dict[str, object], code: str) -> None:
    answer = await tenant.client.post("/v1/api-keys", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


async def test_an_expired_key_is_refused(application: FastAPI, tenant: Tenant) -> None:
    # A machine that stalls may let the shorter lives pass before the key is used.
    for life_s in (0.3, 3.0, 30.0):
        ends = datetime.now(UTC) + timedelta(seconds=life_s)
        body = {"name": "x", "scopes": ["*"], "expires_at": ends.isoformat()}
        made = (await tenant.client.post("/v1/api-keys", json=body)).json()
        async with client_of(application, made.get("key")) as client:
            used = await client.get("/v1/sites")
            if datetime.now(UTC) < ends:
                assert used.status_code == 200
                await asyncio.sleep((ends - datetime.now(UTC)).total_seconds() + 0.05)
                refused = await client.get("/v1/sites")
                break
    assert (refused.status_code, refused.json()["code"]) == (401, "key_expired")


async def key_until(client: httpx.AsyncClient, ends: str | None, *scopes: str) -> dict[str, str]:
    body = {"name": "k", "scopes": list(scopes or ["*"]), "expires_at": ends}
    answer = await client.post("/v1/api-keys", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, str] = answer.json()
    return made


END, BEFORE, AFTER = "2090-01-01T00:00:00Z", "2089-01-01T00:00:00Z", "2091-01-01T00:00:00Z"
OUTLIVES = (403, "outlives_key")


@pytest.fixture
def settings(settings: VigieSettings) -> VigieSettings:
    """Boxes may register themselves."""
    enrolment = settings.enrolment.model_copy(update={"enabled": True})
    return settings.model_copy(update={"enrolment": enrolment})


async def test_a_key_outlives_nothing_that_it_was_given(
    application: FastAPI, tenant: Tenant, site_id: str
) -> None:
    own = await key_until(tenant.client, END)
    path = f"/v1/api-keys/{own['id']}"
    lasting = f"/v1/api-keys/{(await key_until(tenant.client, None))['id']}"
    async with client_of(application, own["key"]) as client:
        for ends in (None, AFTER):
            for key in (path, lasting):
                refused = await client.patch(key, json={"expires_at": ends})
                assert (refused.status_code, refused.json()["code"]) == OUTLIVES, (key, ends)
                assert refused.json()["expires_at"].startswith("2090-01-01")
            body = {"name": "heir", "scopes": ["sites:read"], "expires_at": ends}
            refused = await client.post("/v1/api-keys", json=body)
            assert (refused.status_code, refused.json()["code"]) == OUTLIVES, ends
        assert (await client.patch(path, json={"name": "renamed"})).status_code == 200
        assert (await client.patch(path, json={"expires_at": END})).status_code == 200
        assert (await client.patch(path, json={"expires_at": BEFORE})).status_code == 200
        # What was given up does not come back either.
        refused = await client.patch(path, json={"expires_at": END})
        assert (refused.status_code, refused.json()["code"]) == OUTLIVES
        await key_until(client, BEFORE)
        # Nor by a person, who has no end, nor by a box's way in.
        invitation = {"email": "heir@example.com", "role": "owner"}
        refused = await client.post("/v1/invitations", json=invitation)
        assert (refused.status_code, refused.json()["code"]) == OUTLIVES
        provisioning = {"site_id": site_id, "name": "Lot", "limit": 9, "expires_at": AFTER}
        refused = await client.post("/v1/provisioning-keys", json=provisioning)
        assert (refused.status_code, refused.json()["code"]) == OUTLIVES
    soon = datetime.now(UTC) + timedelta(hours=1)
    brief = await key_until(tenant.client, soon.isoformat())
    async with client_of(application, brief["key"]) as client:
        refused = await client.post("/v1/claims", json={"site_id": site_id, "expires_in": "P1D"})
        assert (refused.status_code, refused.json()["code"]) == OUTLIVES
        claim = await client.post("/v1/claims", json={"site_id": site_id, "expires_in": "PT30M"})
        later = {"expires_at": (soon + timedelta(minutes=1)).isoformat()}
        refused = await client.patch(f"/v1/claims/{claim.json()['id']}", json=later)
        assert (refused.status_code, refused.json()["code"]) == OUTLIVES
        # What is the organisation's goes on.
        assert (await client.post("/v1/channels", json={"kind": "mqtt"})).status_code == 201
    assert (await tenant.client.patch(path, json={"expires_at": None})).status_code == 200
    assert (await tenant.client.get(lasting)).json()["expires_at"] is None


async def test_a_key_revokes_what_may_do_no_more_than_it_may(application: FastAPI, tenant: Tenant) -> None:
    scopes = ("organisations:write", "sites:read")
    narrow = await key_until(tenant.client, None, *scopes)
    wide = await key_until(tenant.client, None)
    less = await key_until(tenant.client, None, "sites:read")
    async with client_of(application, narrow["key"]) as client:
        refused = await client.delete(f"/v1/api-keys/{wide['id']}")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert refused.json()["scopes"] == ["*"]
        assert (await client.delete(f"/v1/api-keys/{less['id']}")).status_code == 204
        assert (await client.delete(f"/v1/api-keys/{narrow['id']}")).status_code == 204
        assert (await client.get("/v1/sites")).status_code == 401
    async with client_of(application, wide["key"]) as client:
        assert (await client.get("/v1/sites")).status_code == 200
