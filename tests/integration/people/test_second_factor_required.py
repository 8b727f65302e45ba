"""Organisations require a second factor; owners help who lost theirs; joining and linking end all of them."""

from dataclasses import replace
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.identity import principal_cache
from tests.conftest import Tenant, client_of
from tests.integration.notifications.helpers import until
from tests.integration.people.authenticator import SoftwareAuthenticator
from tests.integration.people.factors import ask, complete, enrol_passkey, enrol_totp
from tests.integration.people.folk import PASSWORD, OrganisationPeople, SignedInPerson, refusal

NEEDED = (403, "second_factor_needed")
NEW = "cinq canards dans la brume"


async def require(client: httpx.AsyncClient, organisation: str, *, required: bool = True) -> None:
    path = f"/v1/organisations/{organisation}"
    answer = await client.patch(path, json={"second_factor_required": required})
    assert answer.status_code == 200, answer.text
    assert answer.json()["second_factor_required"] is required


async def state_of(person: SignedInPerson) -> tuple[str, list[str]]:
    me = (await person.client.get("/v1/me")).json()
    return me["second_factor"], me["scopes"]


async def test_a_person_without_a_factor_can_only_enrol_one(
    folk: OrganisationPeople, tenant: Tenant, anybody: httpx.AsyncClient, site_id: str
) -> None:
    ada, bob = await folk.join("Ada", "owner"), await folk.join("Bob", "viewer")
    assert (await tenant.client.get(f"/v1/organisations/{tenant.id}")).json()[
        "second_factor_required"
    ] is False
    assert (await bob.client.get("/v1/sites")).status_code == 200
    await require(ada.client, tenant.id)
    # From the next request on, the owner who said so included. Keys are no people.
    for person in (ada, bob):
        assert await state_of(person) == ("missing", [])
        for method, path in (
            ("GET", "/v1/sites"),
            ("GET", f"/v1/sites/{site_id}"),
            ("GET", "/v1/metrics"),
            ("GET", "/v1/members"),
            ("PATCH", f"/v1/organisations/{tenant.id}"),
            ("POST", "/v1/api-keys"),
        ):
            body = None if method == "GET" else {"name": "x", "scopes": ["*"]}
            answer = await person.client.request(method, path, json=body)
            assert refusal(answer) == NEEDED, path
            assert "/v1/me/totp" in answer.json()["detail"]
    assert (await tenant.client.get("/v1/sites")).status_code == 200
    assert (await bob.client.get("/v1/me/sessions")).status_code == 200
    assert (await bob.client.patch("/v1/me", json={"locale": "fr"})).status_code == 200
    shown = (await bob.client.get("/v1/me/second-factors")).json()
    assert [each["id"] for each in shown["required_by"]] == [tenant.id]
    # Once it is enrolled, all is as before.
    await enrol_totp(bob)
    assert (await state_of(bob))[0] == "enrolled"
    assert (await bob.client.get("/v1/sites")).status_code == 200
    # Who removes it is asked for it again.
    assert (await bob.client.delete("/v1/me/totp")).status_code == 204
    assert refusal(await bob.client.get("/v1/sites")) == NEEDED
    # Who signs in gets no further; nor does a member who comes.
    body = {"email": ada.email, "password": PASSWORD}
    later = await folk.client((await anybody.post("/v1/sessions", json=body)).json()["token"])
    assert refusal(await later.get("/v1/sites")) == NEEDED
    eve = await folk.join("Eve", "operator")
    assert await state_of(eve) == ("missing", [])
    assert (await eve.client.delete("/v1/sessions/current")).status_code == 204
    await require(tenant.client, tenant.id, required=False)
    assert await state_of(ada) == ("not_required", ["*"])


async def test_it_holds_in_that_organisation_and_for_its_administrators(
    folk: OrganisationPeople, api: httpx.AsyncClient, other_tenant: Tenant
) -> None:
    await folk.join("Ada", "viewer")
    ada = await folk.join("Ada", "owner", other_tenant.id)
    await require(other_tenant.client, other_tenant.id)
    assert refusal(await ada.client.get("/v1/sites")) == NEEDED
    me = (await ada.client.get("/v1/me")).json()
    elsewhere = next(
        each["organisation"]["id"]
        for each in me["memberships"]
        if each["organisation"]["id"] != other_tenant.id
    )
    switched = await ada.client.post("/v1/sessions/switch", json={"organisation_id": elsewhere})
    assert switched.status_code == 200, switched.text
    assert (await ada.client.get("/v1/sites")).status_code == 200
    platform = (await api.get("/v1/me")).json()["organisation"]["id"]
    root = await folk.join("Root", "owner", platform)
    await require(api, platform)
    me = (await root.client.get("/v1/me")).json()
    assert (me["platform"], me["second_factor"]) == (False, "missing")
    assert refusal(await root.client.get("/v1/settings/public-url")) == NEEDED


async def test_who_may_change_the_organisation_requires_it(
    folk: OrganisationPeople, tenant: Tenant, other_tenant: Tenant
) -> None:
    operator = await folk.join("Bob", "operator")
    body = {"second_factor_required": True}
    assert refusal(await operator.client.patch(f"/v1/organisations/{tenant.id}", json=body)) == (
        403,
        "forbidden",
    )
    foreign = await other_tenant.client.patch(f"/v1/organisations/{tenant.id}", json=body)
    assert refusal(foreign) == (404, "not_found")


async def test_another_process_notices(
    folk: OrganisationPeople,
    tenant: Tenant,
    application: FastAPI,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database tells of it: here, who changes it is not this process."""
    # A cached caller does not expire meanwhile.
    monkeypatch.setattr(principal_cache, "_TTL_S", 3600.0)
    ada = await folk.join("Ada", "viewer")

    async def answers(status: int) -> bool:
        return (await ada.client.get("/v1/sites")).status_code == status

    assert await answers(200)
    change = text("UPDATE organisations SET second_factor_required = true WHERE id = :id")
    async with database.write() as session:
        await session.execute(change, {"id": UUID(tenant.id)})
    await until(lambda: answers(403))
    async with database.write() as session:
        await session.execute(text("UPDATE users SET second_factor_at = now()"))
    await until(lambda: answers(200))
    async with client_of(application, tenant.key) as key:
        assert (await key.get("/v1/sites")).status_code == 200


async def test_an_owner_resets_the_factors_of_a_member(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant
) -> None:
    oda, bob = await folk.join("Oda", "owner"), await folk.join("Bob", "operator")
    await enrol_totp(bob)
    phone = SoftwareAuthenticator()
    await enrol_passkey(bob, phone)
    members = {each["name"]: each for each in (await oda.client.get("/v1/members")).json()["data"]}
    assert (members["Bob"]["second_factor"], members["Oda"]["second_factor"]) == (True, False)
    path = f"/v1/members/{bob.member_id}/second-factors"
    assert refusal(await bob.client.delete(path)) == (403, "forbidden")
    assert (await oda.client.delete(path)).status_code == 204
    assert refusal(await bob.client.get("/v1/me")) == (401, "unauthorised")
    assert refusal(await oda.client.delete(path)) == (404, "not_found")
    begun = (await anybody.post("/v1/sessions/passkey-options")).json()
    body = {"challenge": begun["challenge"], "passkey": phone.get(begun["options"])}
    assert refusal(await anybody.post("/v1/sessions/passkey", json=body)) == (401, "passkey_refused")
    again = await anybody.post("/v1/sessions", json={"email": bob.email, "password": PASSWORD})
    assert again.status_code == 201, again.text
    # One's own are removed with a recent proof; those of a person elsewhere by who reaches both.
    await enrol_totp(oda)
    own = f"/v1/members/{oda.member_id}/second-factors"
    assert refusal(await oda.client.delete(own)) == (403, "own_second_factors")
    assert (await tenant.client.delete(own)).status_code == 204


async def test_a_member_elsewhere_is_not_stripped_by_one_owner(
    folk: OrganisationPeople, api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    first = await folk.join("Ada", "viewer")
    ada = await folk.join("Ada", "viewer", other_tenant.id)
    await enrol_totp(ada)
    path = f"/v1/members/{first.member_id}/second-factors"
    assert refusal(await tenant.client.delete(path)) == (409, "member_elsewhere")
    assert (await api.delete(path)).status_code == 204


async def test_an_invitation_does_not_open_an_account_by_its_password_alone(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, other_tenant: Tenant
) -> None:
    """Who knows a password invites its owner to an organisation of theirs, and accepts."""
    ada = await folk.join("Ada", "owner")
    app = await enrol_totp(ada)
    token = await folk.invite(ada.email, "viewer", other_tenant.id)
    body = {"token": token, "current_password": PASSWORD, "password": NEW}
    path = "/v1/invitations/accept"
    assert refusal(await anybody.post(path, json=body)) == (422, "second_factor_code_needed")
    wrong = await anybody.post(path, json=body | {"totp": "000000"})
    assert refusal(wrong) == (401, "wrong_second_factor")
    wrong = await anybody.post(path, json=body | {"recovery_code": "x"})
    assert refusal(wrong) == (401, "wrong_second_factor")
    assert (await ada.client.get("/v1/me")).status_code == 200
    made = await anybody.post(path, json=body | {"totp": app.next_code()})
    assert made.status_code == 201, made.text
    # The first owner may have had factors of the account: they end, like its password.
    client = await folk.client(made.json()["token"])
    shown = (await client.get("/v1/me/second-factors")).json()
    assert (shown["totp"], shown["recovery_codes_left"]) == (None, 0)


async def test_a_sign_in_with_the_factor_accepts_an_invitation(
    folk: OrganisationPeople, other_tenant: Tenant
) -> None:
    ada = await folk.join("Ada", "owner")
    await enrol_passkey(ada, SoftwareAuthenticator())
    token = await folk.invite(ada.email, "viewer", other_tenant.id)
    body = {"token": token, "current_password": PASSWORD, "password": NEW}
    made = await ada.client.post("/v1/invitations/accept", json=body)
    assert made.status_code == 201, made.text


async def test_a_reset_password_does_not_replace_the_factor(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant
) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    reset = (await tenant.client.post(f"/v1/members/{ada.member_id}/password-reset")).json()
    body = {"token": reset["token"], "password": NEW}
    assert (await anybody.post("/v1/passwords/reset", json=body)).status_code == 204
    problem = await ask(anybody, ada.email, NEW)
    assert (await complete(anybody, problem, totp=app.next_code())).status_code == 201


async def _lock_out(database: Database, email: str, anybody: httpx.AsyncClient, password: str) -> None:
    """Use up all attempts at a person's second factors."""
    async with database.write() as session:
        await session.execute(
            text("UPDATE claim_attempts SET attempts = 1000000 WHERE subject LIKE 'second-factor:%'")
        )
    refused = await complete(anybody, await ask(anybody, email, password), totp="000000")
    assert refusal(refused) == (429, "too_many_attempts")


async def test_a_reset_of_factors_or_password_ends_a_lock_out(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, database: Database
) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    wrong = await complete(anybody, await ask(anybody, ada.email), totp="000000")
    assert refusal(wrong) == (401, "wrong_second_factor")
    await _lock_out(database, ada.email, anybody, PASSWORD)
    # Until the token is used, nobody can guess on with the former password.
    reset = (await tenant.client.post(f"/v1/members/{ada.member_id}/password-reset")).json()
    locked = await complete(anybody, await ask(anybody, ada.email), totp=app.next_code())
    assert refusal(locked) == (429, "too_many_attempts")
    body = {"token": reset["token"], "password": NEW}
    assert (await anybody.post("/v1/passwords/reset", json=body)).status_code == 204
    wrong = await complete(anybody, await ask(anybody, ada.email, NEW), totp="000000")
    assert refusal(wrong) == (401, "wrong_second_factor")
    await _lock_out(database, ada.email, anybody, NEW)
    assert (await tenant.client.delete(f"/v1/members/{ada.member_id}/second-factors")).status_code == 204
    again = await anybody.post("/v1/sessions", json={"email": ada.email, "password": NEW})
    fresh = await enrol_totp(replace(ada, client=await folk.client(again.json()["token"])))
    done = await complete(anybody, await ask(anybody, ada.email, NEW), recovery_code=fresh.recovery_codes[0])
    assert done.status_code == 201, done.text
