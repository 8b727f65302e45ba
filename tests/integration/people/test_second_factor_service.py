"""People enrol second factors and remove them; a stolen session does not."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.people.second_factor_service import PASSKEYS_MAX
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from tests.conftest import Tenant
from tests.integration.people.authenticator import ORIGIN, SoftwareAuthenticator, encode
from tests.integration.people.factors import ask, complete, enrol_passkey, enrol_totp
from tests.integration.people.folk import PASSWORD, OrganisationPeople, SignedInPerson, refusal

NONE: dict[str, object] = {
    "totp": None,
    "passkeys": [],
    "passkeys_available": True,
    "recovery_codes_left": 0,
    "required_by": [],
}
TOO_OLD = (403, "reauthentication_required")


async def factors_of(person: SignedInPerson) -> dict[str, object]:
    shown: dict[str, object] = (await person.client.get("/v1/me/second-factors")).json()
    return shown


async def grow_old(database: Database, person: SignedInPerson) -> None:
    """Let a person's sign-ins be of an hour ago."""
    statement = text(
        "UPDATE user_sessions SET authenticated_at = now() - interval '1 hour' WHERE user_id = :id"
    )
    async with database.write() as session:
        await session.execute(statement, {"id": UUID(person.id)})


async def test_an_app_is_enrolled_by_its_code_and_removed(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    ada = await folk.join("Ada", "viewer")
    assert await factors_of(ada) == NONE
    assert refusal(await ada.client.post("/v1/me/totp/confirm", json={"code": "123456"})) == (
        409,
        "totp_not_started",
    )
    assert refusal(await ada.client.delete("/v1/me/totp")) == (404, "not_found")
    started = (await ada.client.post("/v1/me/totp")).json()
    uri = urlsplit(started["uri"])
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Vigie:ada%40example.com")
    assert parse_qs(uri.query)["secret"] == [started["secret"]]
    # Until the app has shown that it has the secret, nothing is asked.
    assert refusal(await ada.client.post("/v1/me/totp/confirm", json={"code": "000000"})) == (
        401,
        "wrong_second_factor",
    )
    assert (await ada.client.get("/v1/me")).json()["second_factor"] == "not_required"
    assert await factors_of(ada) == NONE
    app = await enrol_totp(ada)
    shown = await factors_of(ada)
    assert isinstance(shown["totp"], dict)
    assert datetime.fromisoformat(shown["totp"]["enrolled_at"]) <= datetime.now(UTC)
    assert shown["recovery_codes_left"] == len(app.recovery_codes) == 10
    assert (await ada.client.get("/v1/me")).json()["second_factor"] == "enrolled"
    assert refusal(await ada.client.post("/v1/me/totp")) == (409, "totp_enrolled")
    assert (await ada.client.delete("/v1/me/totp")).status_code == 204
    assert await factors_of(ada) == NONE
    body = {"email": ada.email, "password": PASSWORD}
    assert (await anybody.post("/v1/sessions", json=body)).status_code == 201


async def test_passkeys_are_enrolled_named_and_removed(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    ada, eve = await folk.join("Ada", "viewer"), await folk.join("Eve", "viewer")
    phone, key = SoftwareAuthenticator(), SoftwareAuthenticator()
    first = await enrol_passkey(ada, phone, "Ada's phone")
    assert len(first["recovery_codes"]) == 10
    second = await enrol_passkey(ada, key, "Blue key")
    assert second["recovery_codes"] is None
    shown = (await ada.client.get("/v1/me/second-factors")).json()["passkeys"]
    assert [(each["id"], each["name"]) for each in shown] == [
        (first["id"], "Ada's phone"),
        (second["id"], "Blue key"),
    ]
    begun = (await ada.client.post("/v1/me/passkeys/options")).json()
    assert len(begun["options"]["excludeCredentials"]) == 2
    again = {"challenge": begun["challenge"], "name": "x", "credential": phone.create(begun["options"])}
    assert refusal(await ada.client.post("/v1/me/passkeys", json=again)) == (409, "passkey_enrolled")
    # Nobody removes what is another one's, or enrols with a challenge that is.
    assert refusal(await eve.client.delete(f"/v1/me/passkeys/{first['id']}")) == (404, "not_found")
    foreign = again | {"credential": SoftwareAuthenticator().create(begun["options"])}
    assert refusal(await eve.client.post("/v1/me/passkeys", json=foreign)) == (401, "challenge_refused")
    assert (await ada.client.delete(f"/v1/me/passkeys/{first['id']}")).status_code == 204
    assert (await ada.client.get("/v1/me")).json()["second_factor"] == "enrolled"
    problem = await ask(anybody, ada.email)
    assert len(problem["options"]["allowCredentials"]) == 1
    assert (await ada.client.delete(f"/v1/me/passkeys/{second['id']}")).status_code == 204
    assert await factors_of(ada) == NONE
    assert (await ada.client.get("/v1/me")).json()["second_factor"] == "not_required"


async def test_what_an_authenticator_did_not_make_is_no_passkey(
    folk: OrganisationPeople, database: Database
) -> None:
    ada = await folk.join("Ada", "viewer")
    begun = (await ada.client.post("/v1/me/passkeys/options")).json()
    options = begun["options"]
    good = SoftwareAuthenticator().create(options)
    wrong = [
        {},
        good | {"id": 7},
        good | {"rawId": encode(b"another")},
        good | {"response": {**good["response"], "attestationObject": encode(b"no cbor")}},
        SoftwareAuthenticator(origin="https://vigie.example.org").create(options),
        SoftwareAuthenticator().create(options | {"challenge": encode(bytes(32))}),
        SoftwareAuthenticator().create(options | {"rp": {"id": "example.org"}}),
        SoftwareAuthenticator(credential_id=bytes(1024)).create(options),
    ]
    body = {"challenge": begun["challenge"], "name": "x"}
    for credential in wrong:
        answer = await ada.client.post("/v1/me/passkeys", json=body | {"credential": credential})
        assert refusal(answer) == (422, "invalid_passkey"), credential
    assert await factors_of(ada) == NONE
    made = await ada.client.post("/v1/me/passkeys", json=body | {"credential": good})
    assert made.status_code == 201, made.text
    used = body | {"credential": SoftwareAuthenticator().create(options)}
    assert refusal(await ada.client.post("/v1/me/passkeys", json=used)) == (401, "challenge_refused")
    statement = (
        "INSERT INTO passkeys SELECT gen_random_uuid(), user_id, sha256(n::text::bytea), public_key, 0, '{}',"
        " 'x', now() FROM passkeys, generate_series(2, :most) AS n"
    )
    async with database.write() as session:
        await session.execute(text(statement), {"most": PASSKEYS_MAX})
    assert refusal(await ada.client.post("/v1/me/passkeys/options")) == (409, "too_many_passkeys")


async def test_passkeys_are_of_the_public_address(
    folk: OrganisationPeople, api: httpx.AsyncClient, application: FastAPI
) -> None:
    ada = await folk.join("Ada", "viewer")

    async def move(url: str) -> None:
        answer = await api.put("/v1/settings/public-url", json={"url": url})
        assert answer.status_code == 200, answer.text
        await get_resource(application, PeopleContext).installation.refresh(
            get_resource(application, Database)
        )

    await move("https://vigie.example.com:8443/city")
    phone = SoftwareAuthenticator(origin="https://vigie.example.com:8443")
    await enrol_passkey(ada, phone)
    begun = (await ada.client.post("/v1/me/passkeys/options")).json()
    assert begun["options"]["rp"] == {"id": "vigie.example.com", "name": "Vigie"}
    elsewhere = SoftwareAuthenticator(origin=ORIGIN).create(begun["options"])
    body = {"challenge": begun["challenge"], "name": "x", "credential": elsewhere}
    assert refusal(await ada.client.post("/v1/me/passkeys", json=body)) == (422, "invalid_passkey")
    await move("http://vigie.example.com")
    assert (await factors_of(ada))["passkeys_available"] is False
    for path in ("/v1/me/passkeys/options", "/v1/sessions/passkey-options"):
        assert refusal(await ada.client.post(path)) == (409, "passkeys_unavailable")
    # Those who have only passkeys still have recovery codes.
    assert (await ask(ada.client, ada.email))["methods"] == ["recovery_code"]


async def test_the_first_factor_ends_sign_ins_without_one(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    ada = await folk.join("Ada", "viewer")
    other = await anybody.post("/v1/sessions", json={"email": ada.email, "password": PASSWORD})
    stolen = await folk.client(other.json()["token"])
    await enrol_totp(ada)
    assert refusal(await stolen.get("/v1/me")) == (401, "unauthorised")
    # A second one does not: these sign-ins have shown the first.
    await enrol_passkey(ada, SoftwareAuthenticator())
    assert (await ada.client.get("/v1/me")).status_code == 200


async def test_recovery_codes_are_replaced(folk: OrganisationPeople, anybody: httpx.AsyncClient) -> None:
    ada = await folk.join("Ada", "viewer")
    assert refusal(await ada.client.post("/v1/me/recovery-codes")) == (409, "no_second_factor")
    app = await enrol_totp(ada)
    answer = await ada.client.post("/v1/me/recovery-codes")
    assert answer.status_code == 201
    new = answer.json()["recovery_codes"]
    assert set(new).isdisjoint(app.recovery_codes)
    problem = await ask(anybody, ada.email)
    former = await complete(anybody, problem, recovery_code=app.recovery_codes[0])
    assert refusal(former) == (401, "wrong_second_factor")
    assert (await complete(anybody, problem, recovery_code=new[0])).status_code == 201


async def test_an_old_sign_in_changes_nothing_until_a_new_proof(
    folk: OrganisationPeople, database: Database
) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    phone = SoftwareAuthenticator()
    passkey = await enrol_passkey(ada, phone)
    begun = (await ada.client.post("/v1/me/passkeys/options")).json()
    credential = SoftwareAuthenticator().create(begun["options"])
    changes = [
        ("POST", "/v1/me/totp", None),
        ("POST", "/v1/me/totp/confirm", {"code": "123456"}),
        ("DELETE", "/v1/me/totp", None),
        ("POST", "/v1/me/passkeys/options", None),
        ("POST", "/v1/me/passkeys", {"challenge": begun["challenge"], "name": "x", "credential": credential}),
        ("DELETE", f"/v1/me/passkeys/{passkey['id']}", None),
        ("POST", "/v1/me/recovery-codes", None),
    ]
    await grow_old(database, ada)
    before = await factors_of(ada)
    for method, path, body in changes:
        answer = await ada.client.request(method, path, json=body)
        assert refusal(answer) == TOO_OLD, path
    problem = answer.json()
    assert problem["methods"] == ["password", "totp", "passkey", "recovery_code"]
    assert await factors_of(ada) == before
    # Each proof opens it again; a wrong one does not.
    path = "/v1/me/reauthentication"
    signed = {"challenge": problem["challenge"], "passkey": phone.get(problem["options"])}
    wrong = [
        ({"password": "not her password"}, (401, "wrong_credentials")),
        ({"totp": "000000"}, (401, "wrong_second_factor")),
        ({"recovery_code": "x"}, (401, "wrong_second_factor")),
        ({"passkey": signed["passkey"]}, (401, "challenge_refused")),
        ({"password": PASSWORD, "totp": "000000"}, (422, "one_factor_needed")),
    ]
    for body, expected in wrong:
        assert refusal(await ada.client.post(path, json=body)) == expected
    assert refusal(await ada.client.post("/v1/me/recovery-codes")) == TOO_OLD
    right = [
        {"password": PASSWORD},
        {"totp": app.next_code()},
        {"recovery_code": app.recovery_codes[0]},
        signed,
    ]
    for proof in right:
        await grow_old(database, ada)
        answer = await ada.client.post(path, json=proof)
        assert answer.status_code == 204, (proof, answer.text)
        assert (await ada.client.post("/v1/me/passkeys/options")).status_code == 200
    assert refusal(await ada.client.post(path, json=signed)) == (401, "passkey_refused")


async def test_only_the_session_of_the_proof_becomes_recent(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, database: Database
) -> None:
    ada = await folk.join("Ada", "viewer")
    other = await anybody.post("/v1/sessions", json={"email": ada.email, "password": PASSWORD})
    stolen = await folk.client(other.json()["token"])
    await grow_old(database, ada)
    body = {"password": PASSWORD}
    assert (await ada.client.post("/v1/me/reauthentication", json=body)).status_code == 204
    assert refusal(await stolen.post("/v1/me/totp")) == TOO_OLD
    assert (await ada.client.post("/v1/me/totp")).status_code == 201


async def test_guessing_at_a_stolen_session_ends_too(folk: OrganisationPeople, application: FastAPI) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    most = get_resource(application, PeopleContext).settings.factor_attempts
    guesses = [{"totp": f"{number:06}"} for number in range(most)]
    for guess in guesses:
        answer = await ada.client.post("/v1/me/reauthentication", json=guess)
        assert refusal(answer) == (401, "wrong_second_factor")
    right = {"totp": app.next_code()}
    answer = await ada.client.post("/v1/me/reauthentication", json=right)
    assert refusal(answer) == (429, "too_many_attempts")


async def test_two_first_factors_at_once_make_one_set_of_codes(folk: OrganisationPeople) -> None:
    ada = await folk.join("Ada", "viewer")
    begun = [(await ada.client.post("/v1/me/passkeys/options")).json() for _ in range(3)]
    bodies = [
        {
            "challenge": each["challenge"],
            "name": "x",
            "credential": SoftwareAuthenticator().create(each["options"]),
        }
        for each in begun
    ]
    answers = await asyncio.gather(*(ada.client.post("/v1/me/passkeys", json=body) for body in bodies))
    assert [each.status_code for each in answers] == [201] * 3
    assert sum(each.json()["recovery_codes"] is not None for each in answers) == 1
    assert (await factors_of(ada))["recovery_codes_left"] == 10


async def test_an_api_key_has_no_factors(tenant: Tenant) -> None:
    for method, path in (
        ("GET", "/v1/me/second-factors"),
        ("POST", "/v1/me/totp"),
        ("DELETE", "/v1/me/totp"),
        ("POST", "/v1/me/passkeys/options"),
        ("POST", "/v1/me/recovery-codes"),
    ):
        assert refusal(await tenant.client.request(method, path)) == (403, "people_only"), path
    assert (await tenant.client.get("/v1/me")).json()["second_factor"] is None


async def test_the_secret_is_sealed_and_the_codes_are_hashed(
    folk: OrganisationPeople, database: Database
) -> None:
    app = await enrol_totp(await folk.join("Ada", "viewer"))
    async with database.read() as session:
        sealed = (await session.execute(text("SELECT secret FROM totp_secrets"))).scalar_one()
        hashes = (await session.execute(text("SELECT code_hashes FROM recovery_codes"))).scalar_one()
    assert sealed.startswith("sealed:1:")
    assert app.secret not in sealed
    assert [len(each) for each in hashes] == [32] * 10


@pytest.mark.parametrize("path", ["/v1/me/totp", "/v1/me/passkeys/options"])
async def test_without_an_encryption_key_nothing_is_enrolled(
    folk: OrganisationPeople, application: FastAPI, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    ada = await folk.join("Ada", "viewer")
    monkeypatch.setattr(get_resource(application, PeopleContext).sealer, "_first", None)
    assert refusal(await ada.client.post(path)) == (503, "encryption_key_missing")
