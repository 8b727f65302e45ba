"""Members: who may do what, who may make whom what, and that an organisation keeps an owner."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from tests.conftest import Tenant, client_of
from tests.integration.people.folk import PASSWORD, OrganisationPeople, refusal

SITE: dict[str, Any] = {
    "name": "Rue",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4, 43.6]},
}
FORBIDDEN = (403, "forbidden")


async def test_each_role_may_do_what_it_is_for(folk: OrganisationPeople, site_id: str) -> None:
    box = {"id": "box-1", "site_id": site_id}
    calls: dict[str, tuple[str, str, dict[str, Any] | None]] = {
        "read sites": ("GET", "/v1/sites", None),
        "read readings": ("GET", "/v1/boxes/box-1/latest", None),
        "read rules": ("GET", "/v1/rules", None),
        "make a site": ("POST", "/v1/sites", SITE),
        "make a box": ("POST", "/v1/boxes", box),
        "read members": ("GET", "/v1/members", None),
        "invite": ("POST", "/v1/invitations", {"email": "x@example.com", "role": "viewer"}),
        "make a key": ("POST", "/v1/api-keys", {"name": "k", "scopes": ["sites:read"]}),
    }
    allowed = {
        "owner": set(calls),
        "operator": {"read sites", "read readings", "read rules", "make a site", "make a box"},
        "viewer": {"read sites", "read readings", "read rules"},
        "installer": {"read sites", "read readings", "make a box"},
    }
    for role, wanted in allowed.items():
        person = await folk.join(role, role)
        done = {
            what
            for what, (method, path, body) in calls.items()
            if (await person.client.request(method, path, json=body)).status_code != 403
        }
        assert done == wanted, role


async def test_a_member_for_some_sites_sees_these_alone(
    folk: OrganisationPeople, tenant: Tenant, site_id: str
) -> None:
    other = (await tenant.client.post("/v1/sites", json=SITE)).json()["id"]
    ada = await folk.join("Ada", "operator", site_ids=[site_id])
    assert [row["id"] for row in (await ada.client.get("/v1/sites")).json()["data"]] == [site_id]
    assert (await ada.client.get(f"/v1/sites/{other}")).status_code == 404
    assert (await ada.client.get("/v1/me")).json()["site_ids"] == [site_id]
    assert (await ada.client.get("/v1/me")).json()["timezone"] == "Europe/Paris"
    # What concerns the organisation as a whole is not hers, though her role has the scope.
    assert refusal(await ada.client.get("/v1/webhooks")) == (403, "limited_to_sites")
    path = f"/v1/members/{ada.member_id}"
    changed = await tenant.client.patch(path, json={"site_ids": None})
    assert changed.json()["site_ids"] is None
    assert len((await ada.client.get("/v1/sites")).json()["data"]) == 2


async def test_a_role_that_changes_holds_from_the_next_call_on(
    folk: OrganisationPeople, tenant: Tenant
) -> None:
    ada = await folk.join("Ada", "operator")
    assert (await ada.client.post("/v1/sites", json=SITE)).status_code == 201
    path = f"/v1/members/{ada.member_id}"
    assert (await tenant.client.patch(path, json={"role": "viewer"})).json()["role"] == "viewer"
    assert refusal(await ada.client.post("/v1/sites", json=SITE)) == FORBIDDEN
    assert (await tenant.client.delete(path)).status_code == 204
    assert refusal(await ada.client.get("/v1/sites")) == (401, "unauthorised")
    assert (await tenant.client.get(path)).status_code == 404


async def test_the_last_owner_stays(folk: OrganisationPeople, tenant: Tenant) -> None:
    ada, bob = await folk.join("Ada", "owner"), await folk.join("Bob", "owner")
    hers, his = f"/v1/members/{ada.member_id}", f"/v1/members/{bob.member_id}"
    # Two who demote each other at once: one of them stays.
    answers = await asyncio.gather(
        ada.client.patch(his, json={"role": "viewer"}), bob.client.patch(hers, json={"role": "viewer"})
    )
    assert sorted(answer.status_code for answer in answers) in ([200, 403], [200, 409])
    left = (await tenant.client.get("/v1/members?role=owner")).json()["data"]
    assert len(left) == 1
    path = f"/v1/members/{left[0]['id']}"
    last = (409, "last_owner")
    assert refusal(await tenant.client.patch(path, json={"role": "operator"})) == last
    assert refusal(await tenant.client.patch(path, json={"disabled": True})) == last
    assert refusal(await tenant.client.delete(path)) == last
    other = his if path == hers else hers
    assert (await tenant.client.patch(other, json={"role": "owner"})).status_code == 200
    assert (await tenant.client.delete(path)).status_code == 204


async def test_nobody_gives_or_takes_more_than_they_have(
    folk: OrganisationPeople, application: FastAPI, api: httpx.AsyncClient, tenant: Tenant
) -> None:
    body = {
        "organisation_id": tenant.id,
        "name": "staff office",
        "scopes": ["members:read", "members:write", "sites:read", "boxes:write", "telemetry:read"],
    }
    key = (await api.post("/v1/api-keys", json=body)).json()["key"]
    ada, ina = await folk.join("Ada", "owner"), await folk.join("Ina", "installer")
    async with client_of(application, key) as office:
        for role, status in (("owner", 403), ("operator", 403), ("viewer", 403), ("installer", 201)):
            answer = await office.post("/v1/invitations", json={"email": "n@example.com", "role": role})
            assert answer.status_code == status, role
            answer = await office.patch(f"/v1/members/{ina.member_id}", json={"role": role})
            assert answer.status_code == (200 if status == 201 else status), role
        hers = f"/v1/members/{ada.member_id}"
        assert refusal(await office.patch(hers, json={"role": "installer"})) == FORBIDDEN
        assert refusal(await office.delete(hers)) == FORBIDDEN
        assert refusal(await office.post(f"{hers}/password-reset")) == FORBIDDEN
        assert (await office.post(f"/v1/members/{ina.member_id}/password-reset")).status_code == 201


async def test_a_key_that_ends_has_nobody_do_more(
    folk: OrganisationPeople, application: FastAPI, tenant: Tenant, site_id: str
) -> None:
    ada = await folk.join("Ada", "viewer", site_ids=[site_id])
    path, outlives = f"/v1/members/{ada.member_id}", (403, "outlives_key")
    body = {"name": "brief", "scopes": ["*"], "expires_at": "2090-01-01T00:00:00Z"}
    key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    async with client_of(application, key) as brief:
        for more in ({"role": "operator"}, {"role": "owner", "site_ids": None}, {"site_ids": None}):
            assert refusal(await brief.patch(path, json=more)) == outlives, more
        changes = {"role": "operator", "site_ids": None}
        assert (await tenant.client.patch(path, json=changes)).status_code == 200
        assert refusal(await brief.patch(path, json={"role": "owner"})) == outlives
        # Less it may.
        for less in ({"role": "viewer"}, {"site_ids": [site_id]}, {"disabled": True}, {"disabled": True}):
            assert (await brief.patch(path, json=less)).status_code == 200, less
        assert refusal(await brief.patch(path, json={"disabled": False})) == outlives


async def test_members_are_those_of_ones_own_and_of_clients(
    folk: OrganisationPeople, api: httpx.AsyncClient
) -> None:
    made = await api.post("/v1/organisations", json={"name": "Integrator", "kind": "integrator"})
    integrator = made.json()["id"]
    iris = await folk.join("Iris", "owner", integrator)
    client = (await iris.client.post("/v1/organisations", json={"name": "Client"})).json()["id"]
    # Whom the integrator makes an owner of its client sees the client, and nobody else.
    cleo = await folk.join("Cleo", "owner", client)
    ada = await folk.join("Ada", "owner")

    async def seen(person: httpx.AsyncClient, **params: str) -> set[str]:
        rows = (await person.get("/v1/members", params=params)).json()["data"]
        return {row["name"] for row in rows}

    assert await seen(iris.client) == {"Iris", "Cleo"}
    assert await seen(iris.client, organisation=client) == {"Cleo"}
    assert await seen(iris.client, q="IRIS@") == {"Iris"}
    assert await seen(iris.client, q="eo") == {"Cleo"}
    assert await seen(cleo.client, q="iris") == set()
    assert await seen(cleo.client) == {"Cleo"}
    assert await seen(ada.client) == {"Ada"}
    assert await seen(ada.client, organisation=client) == set()
    assert await seen(api) == {"Iris", "Cleo", "Ada"}
    for stranger in (cleo, ada):
        path = f"/v1/members/{iris.member_id}"
        for method, more in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/password-reset")):
            body = {"role": "viewer"} if method == "PATCH" else None
            answer = await stranger.client.request(method, path + more, json=body)
            assert refusal(answer) == (404, "not_found")
        answer = await stranger.client.post(
            "/v1/invitations",
            json={"email": "x@example.com", "role": "viewer", "organisation_id": integrator},
        )
        assert refusal(answer) == (422, "foreign_organisation")
    # What she makes there is the client's.
    answer = await iris.client.post("/v1/sites", json={**SITE, "organisation_id": client})
    assert answer.json()["organisation_id"] == client
    assert len((await cleo.client.get("/v1/sites")).json()["data"]) == 1


async def test_people_of_the_platform(folk: OrganisationPeople, api: httpx.AsyncClient, site_id: str) -> None:
    platform = (await api.get("/v1/organisations?kind=platform")).json()["data"][0]["id"]
    paul = await folk.join("Paul", "owner", platform)
    olga = await folk.join("Olga", "operator", platform)
    assert (await paul.client.get("/v1/me")).json()["platform"] is True
    assert (await olga.client.get("/v1/me")).json()["platform"] is False
    for person in (paul, olga):
        assert [row["id"] for row in (await person.client.get("/v1/sites")).json()["data"]] == [site_id]
    assert (await paul.client.get("/v1/ingest-totals")).status_code == 200
    assert refusal(await olga.client.get("/v1/ingest-totals")) == FORBIDDEN
    assert (await olga.client.patch(f"/v1/sites/{site_id}", json={"name": "New"})).status_code == 200
    assert refusal(await olga.client.post("/v1/organisations", json={"name": "x"})) == FORBIDDEN
    # A key that an administrator makes is one; a key of a client's is none.
    body = {"name": "own", "scopes": ["*"]}
    assert (await paul.client.post("/v1/api-keys", json=body)).json()["organisation_id"] == platform


async def test_a_token_for_a_new_password(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, database: Database
) -> None:
    owner, ada = await folk.join("Oda", "owner"), await folk.join("Ada", "viewer")
    path = f"/v1/members/{ada.member_id}/password-reset"
    first = (await owner.client.post(path)).json()["token"]
    made = await owner.client.post(path)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    token, new = made.json()["token"], "cinq canards dans la brume"
    assert made.json()["link"].endswith(f"/welcome#{token}")

    async def reset(token: str, password: str = new) -> httpx.Response:
        return await anybody.post("/v1/passwords/reset", json={"token": token, "password": password})

    refused = (401, "token_refused")
    assert refusal(await reset(first)) == refused
    assert refusal(await reset("vgr_" + "a" * 38)) == refused
    # A password that is not taken costs nothing.
    assert refusal(await reset(token, "short")) == (422, "password_too_short")
    answers = await asyncio.gather(reset(token), reset(token))
    assert sorted(answer.status_code for answer in answers) == [204, 401]
    assert refusal(await ada.client.get("/v1/me")) == (401, "unauthorised")
    body = {"email": ada.email, "password": new}
    assert (await anybody.post("/v1/sessions", json=body)).status_code == 201
    late = (await owner.client.post(path)).json()["token"]
    async with database.write() as session:
        await session.execute(text("UPDATE password_resets SET expires_at = now()"))
    assert refusal(await reset(late)) == refused
    own = f"/v1/members/{owner.member_id}/password-reset"
    assert refusal(await owner.client.post(own)) == (403, "own_password")


async def test_a_key_that_a_stolen_session_made_takes_over_no_account(
    folk: OrganisationPeople, tenant: Tenant
) -> None:
    oda, bob = await folk.join("Oda", "owner"), await folk.join("Bob", "owner")
    made = await oda.client.post("/v1/api-keys", json={"name": "hers", "scopes": ["*"]})
    first = await folk.client(made.raise_for_status().json()["key"])
    made = await first.post("/v1/api-keys", json={"name": "hers too", "scopes": ["*"]})
    second = await folk.client(made.raise_for_status().json()["key"])
    own = f"/v1/members/{oda.member_id}"
    for key in (first, second):
        assert refusal(await key.post(f"{own}/password-reset")) == (403, "own_password")
        assert refusal(await key.delete(f"{own}/second-factors")) == (403, "own_second_factors")
    # Keys of others may, and hers may for others.
    assert (await tenant.client.post(f"{own}/password-reset")).status_code == 201
    assert (await second.post(f"/v1/members/{bob.member_id}/password-reset")).status_code == 201


@pytest.mark.parametrize("joins", ["before", "after"])
async def test_an_owner_takes_over_nobodys_part_elsewhere(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    api: httpx.AsyncClient,
    other_tenant: Tenant,
    joins: str,
) -> None:
    owner, ada = await folk.join("Oda", "owner"), await folk.join("Ada", "viewer")
    path = f"/v1/members/{ada.member_id}"
    elsewhere = (409, "member_elsewhere")
    if joins == "before":
        await folk.join("Ada", "owner", other_tenant.id)
        assert refusal(await owner.client.post(f"{path}/password-reset")) == elsewhere
        assert refusal(await owner.client.patch(path, json={"disabled": True})) == elsewhere
        assert (await owner.client.patch(path, json={"role": "operator"})).status_code == 200
        # The platform's administrators reach all of it.
        assert (await api.post(f"{path}/password-reset")).status_code == 201
        return
    token = (await owner.client.post(f"{path}/password-reset")).json()["token"]
    await folk.join("Ada", "owner", other_tenant.id)
    body = {"token": token, "password": "cinq canards dans la brume"}
    assert refusal(await anybody.post("/v1/passwords/reset", json=body)) == (401, "token_refused")


async def test_a_disabled_person_cannot_sign_in(folk: OrganisationPeople, anybody: httpx.AsyncClient) -> None:
    owner, ada = await folk.join("Oda", "owner"), await folk.join("Ada", "viewer")
    path = f"/v1/members/{ada.member_id}"
    token = (await owner.client.post(f"{path}/password-reset")).json()["token"]
    assert (await owner.client.patch(path, json={"disabled": True})).json()["disabled"] is True
    assert refusal(await ada.client.get("/v1/me")) == (401, "unauthorised")
    body = {"email": ada.email, "password": PASSWORD}
    assert refusal(await anybody.post("/v1/sessions", json=body)) == (401, "wrong_credentials")
    assert (await owner.client.patch(path, json={"disabled": False})).json()["disabled"] is False
    # What ended then has ended, the token for a new password too.
    assert refusal(await ada.client.get("/v1/me")) == (401, "unauthorised")
    reset = {"token": token, "password": "cinq canards dans la brume"}
    assert refusal(await anybody.post("/v1/passwords/reset", json=reset)) == (401, "token_refused")
    assert (await anybody.post("/v1/sessions", json=body)).status_code == 201


async def test_sign_ins_of_who_was_removed_do_not_come_back(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    tenant: Tenant,
    other_tenant: Tenant,
    database: Database,
) -> None:
    elsewhere = await folk.join("Ada", "owner", other_tenant.id)
    ada = await folk.join("Ada", "viewer")
    body = {"email": ada.email, "password": ada.password}
    kept = (await anybody.post("/v1/sessions", json=body)).json()
    assert kept["organisation"]["id"] == other_tenant.id
    oda = await folk.join("Oda", "owner")
    assert (await oda.client.delete(f"/v1/members/{ada.member_id}")).status_code == 204
    async with database.read() as session:
        ended = text("SELECT organisation_id FROM user_sessions WHERE revoked_at IS NULL AND user_id = :id")
        held = [str(row) for row in await session.scalars(ended, {"id": ada.id})]
    # Those that work for others go on: what she is there is not the owner's to end.
    assert held == [other_tenant.id]
    assert (await (await folk.client(kept["token"])).get("/v1/me")).status_code == 200
    # A member there again, by whatever way: the old token stays what it is.
    async with database.write() as session:
        await session.execute(
            text("INSERT INTO memberships VALUES (gen_random_uuid(), :u, :o, 'viewer', NULL, now(), now())"),
            {"u": ada.id, "o": tenant.id},
        )
    assert refusal(await ada.client.get("/v1/me")) == (401, "unauthorised")
    assert elsewhere.id == ada.id


async def test_what_a_person_did_has_their_name(folk: OrganisationPeople, site_id: str) -> None:
    ada = await folk.join("Ada", "operator")
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    rule = {"site_id": site_id, "name": "Dust", "severity": "info", "condition": condition}
    made = (await ada.client.post("/v1/rules", json=rule)).json()
    (version,) = (await ada.client.get(f"/v1/rules/{made['id']}/versions")).json()["data"]
    assert (version["created_by"], version["created_by_name"]) == (ada.id, "Ada")
    silence = {"matchers": {"site_ids": [site_id]}, "ends_at": "2099-01-01T00:00:00Z", "comment": "x"}
    assert (await ada.client.post("/v1/silences", json=silence)).json()["author"] == "Ada"
