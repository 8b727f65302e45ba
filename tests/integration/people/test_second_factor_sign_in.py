"""People sign in with a second factor; nobody else does with a part of it, or with what was used before."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from tests.conftest import Tenant
from tests.integration.people.authenticator import SoftwareAuthenticator, decode, encode
from tests.integration.people.factors import ask, complete, enrol_passkey, enrol_totp
from tests.integration.people.folk import PASSWORD, OrganisationPeople, refusal

WRONG_CODE = (401, "wrong_second_factor")
WRONG_PASSKEY = (401, "passkey_refused")
WRONG_CHALLENGE = (401, "challenge_refused")


async def test_a_code_completes_a_sign_in_once(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant
) -> None:
    ada = await folk.join("Ada", "owner")
    app = await enrol_totp(ada)
    problem = await ask(anybody, ada.email)
    assert problem["methods"] == ["totp", "recovery_code"]
    assert "options" not in problem
    assert datetime.fromisoformat(problem["expires_at"]) > datetime.now(UTC)
    # A wrong code leaves the challenge as it is.
    assert refusal(await complete(anybody, problem, totp="000 000")) == WRONG_CODE
    code = app.next_code()
    answer = await complete(anybody, problem, totp=f"{code[:3]} {code[3:]}")
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["organisation"]["id"], made["user"]["email"]) == (tenant.id, ada.email)
    me = (await (await folk.client(made["token"])).get("/v1/me")).json()
    assert (me["scopes"], me["second_factor"]) == (["*"], "enrolled")
    # Neither the challenge nor the code works again.
    code_left = app.recovery_codes[0]
    assert refusal(await complete(anybody, problem, recovery_code=code_left)) == WRONG_CHALLENGE
    again = await ask(anybody, ada.email)
    assert refusal(await complete(anybody, again, totp=code)) == WRONG_CODE


async def test_the_code_of_an_enrolment_is_used(folk: OrganisationPeople, anybody: httpx.AsyncClient) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    problem = await ask(anybody, ada.email)
    assert refusal(await complete(anybody, problem, totp=app.codes[0])) == WRONG_CODE


async def test_one_factor_is_given(folk: OrganisationPeople, anybody: httpx.AsyncClient) -> None:
    app = await enrol_totp(await folk.join("Ada", "viewer"))
    problem = await ask(anybody, "ada@example.com")
    none = await complete(anybody, problem)
    both = await complete(anybody, problem, totp=app.next_code(), recovery_code=app.recovery_codes[0])
    assert [refusal(each) for each in (none, both)] == [(422, "one_factor_needed")] * 2


async def test_a_recovery_code_works_once_even_for_two_at_once(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    assert len(set(app.recovery_codes)) == 10
    code = app.recovery_codes[3]
    problems = [await ask(anybody, ada.email) for _ in range(4)]
    answers = await asyncio.gather(*(complete(anybody, each, recovery_code=code) for each in problems))
    assert sorted(each.status_code for each in answers) == [201, 401, 401, 401]
    assert {refusal(each) for each in answers if each.status_code != 201} == {WRONG_CODE}
    (made,) = [each.json() for each in answers if each.status_code == 201]
    client = await folk.client(made["token"])
    assert (await client.get("/v1/me/second-factors")).json()["recovery_codes_left"] == 9
    # As a person may type another one.
    typed = app.recovery_codes[4].upper().replace("-", " ").replace("0", "O").replace("1", "l")
    answer = await complete(anybody, await ask(anybody, ada.email), recovery_code=typed)
    assert answer.status_code == 201, answer.text


async def test_a_challenge_is_answered_once_even_by_two_at_once(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    problem = await ask(anybody, ada.email)
    given = [{"recovery_code": each} for each in app.recovery_codes[:3]]
    answers = await asyncio.gather(*(complete(anybody, problem, **each) for each in given))
    assert sorted(each.status_code for each in answers) == [201, 401, 401]
    assert {refusal(each) for each in answers if each.status_code != 201} == {WRONG_CHALLENGE}


async def test_guessing_ends_across_challenges_and_addresses(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, application: FastAPI
) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    most = get_resource(application, PeopleContext).settings.factor_attempts
    codes = []
    for number in range(most + 1):
        elsewhere = httpx.ASGITransport(application, client=(f"203.0.113.{number}", 1))
        async with httpx.AsyncClient(transport=elsewhere, base_url="http://vigie.test") as client:
            problem = await ask(client, ada.email)
            codes.append(refusal(await complete(client, problem, totp=f"{number:06}")))
    assert codes == [WRONG_CODE] * most + [(429, "too_many_attempts")]
    # The right one does not help any more, nor does another factor.
    problem = await ask(anybody, ada.email)
    for factor in ({"totp": app.next_code()}, {"recovery_code": app.recovery_codes[0]}):
        assert refusal(await complete(anybody, problem, **factor)) == (429, "too_many_attempts")


async def test_a_challenge_ends_with_its_time_and_with_the_password(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    application: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    before = await ask(anybody, ada.email)
    new = "cinq canards dans la brume"
    body = {"current_password": PASSWORD, "new_password": new}
    assert (await ada.client.post("/v1/me/password", json=body)).status_code == 204
    assert refusal(await complete(anybody, before, totp=app.next_code())) == WRONG_CHALLENGE
    monkeypatch.setattr(get_resource(application, PeopleContext).settings, "challenge_s", -1)
    late = await ask(anybody, ada.email, new)
    assert refusal(await complete(anybody, late, totp=app.next_code())) == WRONG_CHALLENGE
    forged = late | {"challenge": late["challenge"][:-4] + "AAAA"}
    assert refusal(await complete(anybody, forged, totp="123456")) == WRONG_CHALLENGE
    assert refusal(await complete(anybody, late | {"challenge": "é"}, totp="123456")) == WRONG_CHALLENGE


async def test_a_challenge_is_of_one_person_and_one_purpose(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    """Nobody fixes another one's sign-in: with a challenge of one's own, one signs in oneself or nobody."""
    ada, eve = await folk.join("Ada", "viewer"), await folk.join("Eve", "viewer")
    of_ada, of_eve = await enrol_totp(ada), await enrol_totp(eve)
    phone = SoftwareAuthenticator()
    await enrol_passkey(ada, phone)
    hers = await ask(anybody, eve.email)
    assert refusal(await complete(anybody, hers, totp=of_ada.next_code())) == WRONG_CODE
    assert refusal(await complete(anybody, hers, recovery_code=of_ada.recovery_codes[0])) == WRONG_CODE
    options = (await ask(anybody, ada.email))["options"]
    assert refusal(await complete(anybody, hers, passkey=phone.get(options))) == WRONG_PASSKEY
    # One for a passkey alone is none for a password, and the other way round.
    alone = (await anybody.post("/v1/sessions/passkey-options")).json()
    assert refusal(await complete(anybody, alone, passkey=phone.get(alone["options"]))) == WRONG_CHALLENGE
    mine = await ask(anybody, ada.email)
    swapped = {"challenge": mine["challenge"], "passkey": phone.get(mine["options"])}
    assert refusal(await anybody.post("/v1/sessions/passkey", json=swapped)) == WRONG_CHALLENGE
    # It is no token, and raises no session: neither one's own nor one that was sent along.
    as_token = {"Authorization": f"Bearer {hers['challenge']}"}
    assert refusal(await anybody.get("/v1/me", headers=as_token)) == (401, "unauthorised")
    sent_along = {"Authorization": f"Bearer {ada.token}"}
    body = {"challenge": hers["challenge"], "totp": of_eve.next_code()}
    made = (await anybody.post("/v1/sessions/second-factor", json=body, headers=sent_along)).json()
    assert (made["user"]["email"], made["token"] == ada.token) == (eve.email, False)
    assert (await ada.client.get("/v1/me")).json()["name"] == "Ada"


async def test_a_passkey_is_a_second_factor(folk: OrganisationPeople, anybody: httpx.AsyncClient) -> None:
    ada = await folk.join("Ada", "viewer")
    # A key without a PIN is enough beside the password.
    key = SoftwareAuthenticator(verifies=False)
    await enrol_passkey(ada, key)
    problem = await ask(anybody, ada.email)
    assert problem["methods"] == ["passkey", "recovery_code"]
    options = problem["options"]
    assert (options["rpId"], options["userVerification"]) == ("localhost", "preferred")
    assert [decode(each["id"]) for each in options["allowCredentials"]] == [key.credential_id]
    signed = key.get(options)
    assert (await complete(anybody, problem, passkey=signed)).status_code == 201
    shown = (await ada.client.get("/v1/me/second-factors")).json()["passkeys"]
    assert [each["last_used_at"] is not None for each in shown] == [True]
    # What was signed for one challenge is nothing for another.
    again = await ask(anybody, ada.email)
    assert refusal(await complete(anybody, again, passkey=signed)) == WRONG_PASSKEY
    assert refusal(await complete(anybody, problem, passkey=key.get(options))) == WRONG_CHALLENGE
    # Alone it is not: it does not know who holds it.
    alone = (await anybody.post("/v1/sessions/passkey-options")).json()
    body = {"challenge": alone["challenge"], "passkey": key.get(alone["options"])}
    assert refusal(await anybody.post("/v1/sessions/passkey", json=body)) == WRONG_PASSKEY


async def test_a_passkey_that_does_not_count_cannot_be_replayed(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    ada = await folk.join("Ada", "viewer")
    phone = SoftwareAuthenticator(counts=False)
    await enrol_passkey(ada, phone)
    begun = (await anybody.post("/v1/sessions/passkey-options")).json()
    body = {"challenge": begun["challenge"], "passkey": phone.get(begun["options"])}
    answers = await asyncio.gather(*(anybody.post("/v1/sessions/passkey", json=body) for _ in range(3)))
    assert sorted(each.status_code for each in answers) == [201, 401, 401]
    assert {refusal(each) for each in answers if each.status_code != 201} == {WRONG_CHALLENGE}


async def test_a_passkey_alone_signs_in(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    ada = await folk.join("Ada", "owner")
    phone = SoftwareAuthenticator()
    await enrol_passkey(ada, phone)
    begun = (await anybody.post("/v1/sessions/passkey-options")).json()
    assert begun["options"]["userVerification"] == "required"
    assert not begun["options"].get("allowCredentials")
    body = {"challenge": begun["challenge"], "passkey": phone.get(begun["options"])}
    elsewhere = body | {"organisation_id": other_tenant.id}
    assert refusal(await anybody.post("/v1/sessions/passkey", json=elsewhere)) == (404, "not_found")
    answer = await anybody.post("/v1/sessions/passkey", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["organisation"]["id"] == tenant.id
    me = (await (await folk.client(answer.json()["token"])).get("/v1/me")).json()
    assert (me["name"], me["second_factor"]) == ("Ada", "enrolled")


async def test_wrong_origins_copies_and_strangers_are_refused(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant
) -> None:
    await folk.join("Oda", "owner")
    ada = await folk.join("Ada", "viewer")
    phone = SoftwareAuthenticator()
    await enrol_passkey(ada, phone)

    async def sign_in(device: SoftwareAuthenticator, **changes: object) -> httpx.Response:
        begun = (await anybody.post("/v1/sessions/passkey-options")).json()
        passkey = device.get(begun["options"] | changes)
        return await anybody.post(
            "/v1/sessions/passkey", json={"challenge": begun["challenge"], "passkey": passkey}
        )

    # A page that looks the same, another relying party, and a challenge that the attacker chose.
    phone.origin = "https://vigie.example.org"
    assert refusal(await sign_in(phone)) == WRONG_PASSKEY
    phone.origin = SoftwareAuthenticator().origin
    assert refusal(await sign_in(phone, rpId="example.org")) == WRONG_PASSKEY
    assert refusal(await sign_in(phone, challenge=encode(bytes(32)))) == WRONG_PASSKEY
    # A copy signs with a counter that the original has passed.
    copy = SoftwareAuthenticator(
        credential_id=phone.credential_id, key=phone.key, user_handle=phone.user_handle
    )
    assert (await sign_in(phone)).status_code == 201
    assert refusal(await sign_in(copy)) == WRONG_PASSKEY
    # Somebody else's key, a handle of somebody else's, an unknown passkey, and no passkey at all.
    stranger = SoftwareAuthenticator(
        credential_id=phone.credential_id, count=1000, user_handle=phone.user_handle
    )
    assert refusal(await sign_in(stranger)) == WRONG_PASSKEY
    handle, phone.user_handle = phone.user_handle, UUID(int=1).bytes
    assert refusal(await sign_in(phone)) == WRONG_PASSKEY
    phone.user_handle = handle
    assert refusal(await sign_in(SoftwareAuthenticator())) == WRONG_PASSKEY
    begun = (await anybody.post("/v1/sessions/passkey-options")).json()
    for nonsense in ({}, {"id": 7}, {"id": encode(phone.credential_id), "response": "x"}, {"id": "é"}):
        body = {"challenge": begun["challenge"], "passkey": nonsense}
        assert refusal(await anybody.post("/v1/sessions/passkey", json=body)) == WRONG_PASSKEY
    assert (await sign_in(phone)).status_code == 201
    assert (
        await tenant.client.patch(f"/v1/members/{ada.member_id}", json={"disabled": True})
    ).status_code == 200
    assert refusal(await sign_in(phone)) == WRONG_PASSKEY


async def test_strangers_are_limited_by_their_address(
    anybody: httpx.AsyncClient, application: FastAPI, database: Database
) -> None:
    begun = (await anybody.post("/v1/sessions/passkey-options")).json()
    body = {
        "challenge": begun["challenge"],
        "passkey": SoftwareAuthenticator().get(begun["options"]),
    }
    assert refusal(await anybody.post("/v1/sessions/passkey", json=body)) == WRONG_PASSKEY
    most = get_resource(application, PeopleContext).settings.attempts
    async with database.write() as session:
        await session.execute(text("UPDATE claim_attempts SET attempts = :most"), {"most": most})
    assert refusal(await anybody.post("/v1/sessions/passkey", json=body)) == (429, "too_many_attempts")
