"""People sign in, work, and sign out; nobody learns who has an account."""

import asyncio
from datetime import UTC, datetime, timedelta
from statistics import median
from time import thread_time

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.people.password_hashing import PasswordHashingPool
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.secret_tokens import generate_key
from tests.conftest import Tenant, client_of
from tests.integration.people.folk import PASSWORD, OrganisationPeople, refusal

WRONG = (401, "wrong_credentials")


async def sign_in(
    client: httpx.AsyncClient, email: str, password: str = PASSWORD, **more: object
) -> httpx.Response:
    return await client.post("/v1/sessions", json={"email": email, "password": password, **more})


async def test_a_person_signs_in_works_and_signs_out(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant
) -> None:
    await folk.join("Ada", "owner")
    answer = await sign_in(anybody, "ADA@Example.com")
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert (made["organisation"]["id"], made["user"]["email"]) == (tenant.id, "ada@example.com")
    assert [place["role"] for place in made["memberships"]] == ["owner"]
    ada = await folk.client(made["token"])
    me = (await ada.get("/v1/me")).json()
    assert (me["kind"], me["name"], me["scopes"], me["platform"]) == ("user", "Ada", ["*"], False)
    assert (await ada.get("/v1/sites")).status_code == 200
    assert (await ada.delete("/v1/sessions/current")).status_code == 204
    assert refusal(await ada.get("/v1/me")) == (401, "unauthorised")


async def test_an_api_key_asks_who_it_is_and_is_no_person(tenant: Tenant) -> None:
    me = (await tenant.client.get("/v1/me")).json()
    assert (me["kind"], me["name"], me["user"], me["memberships"]) == ("key", "tests", None, [])
    assert me["organisation"]["id"] == tenant.id
    for method, path in (
        ("PATCH", "/v1/me"),
        ("POST", "/v1/me/password"),
        ("GET", "/v1/me/sessions"),
        ("DELETE", "/v1/sessions/current"),
        ("POST", "/v1/sessions/switch"),
    ):
        body = {
            "PATCH": {"name": "x"},
            "/v1/me/password": {"current_password": "x", "new_password": "y"},
            "/v1/sessions/switch": {"organisation_id": tenant.id},
        }
        answer = await tenant.client.request(method, path, json=body.get(path, body.get(method)))
        assert refusal(answer) == (403, "people_only"), path


async def test_who_has_an_account_cannot_be_told(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await folk.join("Ada", "owner")
    answers = [await sign_in(anybody, ada.email, "not her password"), await sign_in(anybody, "no@one.org")]
    assert [refusal(answer) for answer in answers] == [WRONG] * 2
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    assert bodies[0] == bodies[1]
    costs: list[float] = []
    verify = PasswordHashingPool._verify

    def measured(self: PasswordHashingPool, password: str, hashed: str) -> bool:
        began = thread_time()
        try:
            return verify(self, password, hashed)
        finally:
            costs.append(thread_time() - began)

    monkeypatch.setattr(PasswordHashingPool, "_verify", measured)
    took: dict[str, list[float]] = {ada.email: [], "no@one.org": []}
    for _ in range(4):
        for email, times in took.items():
            costs.clear()
            await sign_in(anybody, email, "not her password")
            times.append(sum(costs))
    known, unknown = (median(times) for times in took.values())
    # A hash is nearly all that an attempt costs. Without one for an unknown address the ratio is 0.
    assert 0.4 < unknown / known < 2.5


async def test_guessing_ends_for_an_address_and_for_an_account(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, application: FastAPI, database: Database
) -> None:
    ada = await folk.join("Ada", "owner")
    limits = get_resource(application, PeopleContext).settings
    async with database.write() as session:
        await session.execute(
            text("UPDATE claim_attempts SET attempts = :most"), {"most": limits.attempts - 1}
        )
        await session.execute(
            text(
                "INSERT INTO claim_attempts"
                " VALUES ('sign-in:address:127.0.0.1', :most, now() + interval '1 hour')"
                " ON CONFLICT (subject) DO UPDATE SET attempts = excluded.attempts"
            ),
            {"most": limits.attempts - 1},
        )
    # What succeeds is not counted.
    assert (await sign_in(anybody, ada.email)).status_code == 201
    assert refusal(await sign_in(anybody, ada.email, "wrong")) == WRONG
    answer = await sign_in(anybody, ada.email)
    assert refusal(answer) == (429, "too_many_attempts")
    assert int(answer.headers["retry-after"]) > 0
    # From elsewhere she can sign in, until too many were tried there together.
    elsewhere = httpx.ASGITransport(application, client=("203.0.113.7", 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://vigie.test") as client:
        assert (await sign_in(client, ada.email)).status_code == 201
        async with database.write() as session:
            await session.execute(
                text("UPDATE claim_attempts SET attempts = :most WHERE subject LIKE 'account:%'"),
                {"most": limits.account_attempts},
            )
            held = (
                await session.execute(text("SELECT count(*) FROM claim_attempts WHERE subject ~ 'ada'"))
            ).scalar_one()
        assert held == 0
        assert refusal(await sign_in(client, ada.email)) == (429, "too_many_attempts")


async def test_a_sign_in_ends_by_time_by_idleness_and_by_hand(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, database: Database
) -> None:
    ada = await folk.join("Ada", "owner")
    other = (await sign_in(anybody, ada.email)).json()["token"]
    listed = (await ada.client.get("/v1/me/sessions")).json()["data"]
    assert [row["current"] for row in listed] == [True, False]
    assert all(row["address"] == "127.0.0.1" for row in listed)
    for change, code in (
        ("last_used_at = now() - interval '13 hours'", "session_expired"),
        ("last_used_at = now(), expires_at = now() - interval '1 second'", "session_expired"),
    ):
        async with database.write() as session:
            await session.execute(
                text(f"UPDATE user_sessions SET {change} WHERE id = :id"),  # noqa: S608 (of this test)
                {"id": listed[1]["id"]},
            )
        assert refusal(await (await folk.client(other)).get("/v1/me")) == (401, code)
    assert len((await ada.client.get("/v1/me/sessions")).json()["data"]) == 1
    path = f"/v1/me/sessions/{listed[1]['id']}"
    assert refusal(await ada.client.delete(path)) == (404, "not_found")
    assert (await ada.client.delete(f"/v1/me/sessions/{listed[0]['id']}")).status_code == 204
    assert refusal(await ada.client.get("/v1/me")) == (401, "unauthorised")


async def test_nobody_ends_or_sees_the_sign_ins_of_others(folk: OrganisationPeople) -> None:
    ada, bob = await folk.join("Ada", "owner"), await folk.join("Bob", "owner")
    (hers,) = (await ada.client.get("/v1/me/sessions")).json()["data"]
    (his,) = (await bob.client.get("/v1/me/sessions")).json()["data"]
    assert hers["id"] != his["id"]
    assert (await bob.client.delete(f"/v1/me/sessions/{hers['id']}")).status_code == 404
    assert (await ada.client.get("/v1/me")).status_code == 200


async def test_last_use_is_kept_to_the_minute(folk: OrganisationPeople, database: Database) -> None:
    ada = await folk.join("Ada", "owner")
    read = text("SELECT last_used_at FROM user_sessions")
    async with database.write() as session:
        await session.execute(text("UPDATE user_sessions SET last_used_at = now() - interval '2 minutes'"))
    await ada.client.get("/v1/me")
    async with database.read() as session:
        first = (await session.execute(read)).scalar_one()
    assert first > datetime.now(UTC) - timedelta(seconds=30)
    await ada.client.get("/v1/me")
    async with database.read() as session:
        assert (await session.execute(read)).scalar_one() == first


async def test_a_token_that_was_made_up_is_refused_without_a_look(application: FastAPI) -> None:
    for token in ("vgs_" + "a" * 38, "vgs_", generate_key("vgs_")):
        async with client_of(application, token) as client:
            assert refusal(await client.get("/v1/me")) == (401, "unauthorised"), token


async def test_people_change_their_name_and_language(folk: OrganisationPeople) -> None:
    ada = await folk.join("Ada", "viewer")
    changed = await ada.client.patch("/v1/me", json={"name": "Ada Lovelace", "locale": "fr"})
    assert (changed.json()["name"], changed.json()["locale"]) == ("Ada Lovelace", "fr")
    assert (await ada.client.get("/v1/me")).json()["name"] == "Ada Lovelace"
    assert (await ada.client.patch("/v1/me", json={"email": "other@example.com"})).status_code == 422
    assert (await ada.client.patch("/v1/me", json={"locale": "de"})).status_code == 422


async def test_a_new_password_ends_the_other_sign_ins(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    ada = await folk.join("Ada", "viewer")
    other = await folk.client((await sign_in(anybody, ada.email)).json()["token"])
    path, new = "/v1/me/password", "cinq canards dans la brume"
    for present, wanted, expected in (
        ("wrong", new, WRONG),
        (PASSWORD, "short", (422, "password_too_short")),
        (PASSWORD, "password12345", (422, "password_too_common")),
        (PASSWORD, "ada@example.com", (422, "password_about_you")),
        (PASSWORD, "x" * 257, (422, "password_too_long")),
    ):
        body = {"current_password": present, "new_password": wanted}
        assert refusal(await ada.client.post(path, json=body)) == expected
    body = {"current_password": PASSWORD, "new_password": new}
    assert (await ada.client.post(path, json=body)).status_code == 204
    assert (await ada.client.get("/v1/me")).status_code == 200
    assert (await other.get("/v1/me")).status_code == 401
    assert refusal(await sign_in(anybody, ada.email)) == WRONG
    assert (await sign_in(anybody, ada.email, new)).status_code == 201


async def test_a_wrong_password_leaves_the_idempotency_key_free(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    ada = await folk.join("Ada", "viewer")
    new = "cinq canards dans la brume"

    async def change(present: str, key: str) -> httpx.Response:
        body = {"current_password": present, "new_password": new}
        return await ada.client.post("/v1/me/password", json=body, headers={"Idempotency-Key": key})

    assert refusal(await change("wrong", "first")) == WRONG
    again = await change("wrong", "first")
    assert refusal(again) == WRONG
    assert "idempotency-replayed" not in again.headers
    # Nothing was changed: it is mended, and sent again under the same key.
    done = await change(PASSWORD, "first")
    assert done.status_code == 204, done.text
    repeat = await change(PASSWORD, "first")
    assert (repeat.status_code, repeat.headers["idempotency-replayed"]) == (204, "true")
    assert refusal(await change("wrong", "first")) == (409, "idempotency_key_reused")
    assert refusal(await change(PASSWORD, "second")) == WRONG
    assert (await sign_in(anybody, ada.email, new)).status_code == 201


async def test_a_person_has_so_many_sign_ins_at_once(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    application: FastAPI,
    database: Database,
    tenant: Tenant,
) -> None:
    ada, bob = await folk.join("Ada", "owner"), await folk.join("Bob", "owner")
    limits = get_resource(application, PeopleContext).settings
    limits.at_once = 3
    tokens = [ada.token, *[(await sign_in(anybody, ada.email)).json()["token"] for _ in range(2)]]

    async def hold() -> list[bool]:
        return [(await (await folk.client(each)).get("/v1/me")).status_code == 200 for each in tokens]

    assert await hold() == [True] * 3
    # Two at once are not one too many.
    both = await asyncio.gather(*(sign_in(anybody, ada.email) for _ in range(2)))
    tokens += [answer.json()["token"] for answer in both]
    assert await hold() == [False, False, True, True, True]
    assert (await bob.client.get("/v1/me")).status_code == 200
    audited = (await tenant.client.get("/v1/audit?action=session.revoked")).json()["data"]
    assert [entry["actor"]["id"] for entry in audited] == [ada.id] * 2
    # One that ended by itself is none.
    async with database.write() as session:
        await session.execute(
            text("UPDATE user_sessions SET last_used_at = now() - interval '13 hours' WHERE user_id = :id"),
            {"id": ada.id},
        )
    tokens[:] = [(await sign_in(anybody, ada.email)).json()["token"] for _ in range(3)]
    assert await hold() == [True] * 3


async def test_right_passwords_are_counted_too(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, application: FastAPI
) -> None:
    ada, bob = await folk.join("Ada", "owner"), await folk.join("Bob", "owner")
    limits = get_resource(application, PeopleContext).settings
    limits.account_checks = 5
    # To come here was the first one.
    assert [(await sign_in(anybody, ada.email)).status_code for _ in range(5)] == [201] * 4 + [429]
    assert (await sign_in(anybody, bob.email)).status_code == 201
    limits.account_checks, limits.checks = 100, 10
    answers = [await sign_in(anybody, bob.email) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert refusal(answers[2]) == (429, "too_many_attempts")


async def test_hashes_are_renewed_when_they_cost_too_little(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, application: FastAPI, database: Database
) -> None:
    ada = await folk.join("Ada", "viewer")
    people = get_resource(application, PeopleContext)
    people.hasher._argon = type(people.hasher._argon)(time_cost=3, memory_cost=19_456, parallelism=1)
    assert (await sign_in(anybody, ada.email)).status_code == 201
    async with database.read() as session:
        hashed = (await session.execute(text("SELECT password_hash FROM users"))).scalar_one()
    assert hashed.startswith("$argon2id$v=19$m=19456,t=3,p=1$")
    assert (await sign_in(anybody, ada.email)).status_code == 201


async def test_a_person_works_for_one_organisation_at_a_time(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    await folk.join("Ada", "viewer")
    ada = await folk.join("Ada", "owner", other_tenant.id)
    me = (await ada.client.get("/v1/me")).json()
    assert me["organisation"]["id"] == other_tenant.id
    assert [(p["organisation"]["id"], p["role"]) for p in me["memberships"]] == [
        (tenant.id, "viewer"),
        (other_tenant.id, "owner"),
    ]
    site = {
        "name": "Rue",
        "kind": "street",
        "timezone": "Europe/Paris",
        "location": {"type": "Point", "coordinates": [1.4, 43.6]},
    }
    assert (await ada.client.post("/v1/sites", json=site)).json()["organisation_id"] == other_tenant.id
    switched = await ada.client.post("/v1/sessions/switch", json={"organisation_id": tenant.id})
    assert switched.json()["organisation"]["id"] == tenant.id
    assert refusal(await ada.client.post("/v1/sites", json=site)) == (403, "forbidden")
    assert (await ada.client.get("/v1/sites")).json()["data"] == []
    # By default for whom was joined first; for whom is no organisation of hers, not at all.
    assert (await sign_in(anybody, ada.email, ada.password)).json()["organisation"]["id"] == tenant.id
    named = await sign_in(anybody, ada.email, ada.password, organisation_id=other_tenant.id)
    assert named.json()["organisation"]["id"] == other_tenant.id
    nowhere = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"
    answer = await sign_in(anybody, ada.email, ada.password, organisation_id=nowhere)
    assert refusal(answer) == (404, "not_found")
    answer = await ada.client.post("/v1/sessions/switch", json={"organisation_id": nowhere})
    assert refusal(answer) == (404, "not_found")
