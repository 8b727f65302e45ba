"""What the audit log has of people: changes, who was shown them, who was not let in; never who they are."""

import json
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.audit.logs import actions, entries, last
from tests.integration.people.authenticator import SoftwareAuthenticator
from tests.integration.people.factors import ask, complete, enrol_passkey, enrol_totp
from tests.integration.people.folk import PASSWORD, OrganisationPeople, SignedInPerson, refusal

NOBODY = str(UUID(int=0))
NEW = "cinq canards dans la brume"


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect()
    yield connection
    await connection.close()


async def test_how_a_person_comes_works_and_goes(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, owner: asyncpg.Connection
) -> None:
    await folk.join("Oda", "owner")
    before = len(await entries(owner, tenant.id))
    ada = await folk.join("Ada", "viewer")
    path = f"/v1/members/{ada.member_id}"
    await tenant.client.patch(path, json={"role": "operator"})
    await ada.client.patch("/v1/me", json={"name": "Ada Lovelace", "locale": "fr"})
    await ada.client.post("/v1/me/password", json={"current_password": PASSWORD, "new_password": NEW})
    await ada.client.delete("/v1/sessions/current")
    token = (await tenant.client.post(f"{path}/password-reset")).json()["token"]
    await anybody.post("/v1/passwords/reset", json={"token": token, "password": PASSWORD})
    await tenant.client.patch(path, json={"disabled": True})
    await tenant.client.delete(path)
    done = (await entries(owner, tenant.id))[before:]
    assert [each["action"] for each in done] == [
        *("invitation.created", "invitation.accepted", "member.created", "session.created"),
        *("member.updated", "member.read", "user.updated", "user.updated", "session.revoked"),
        *("password_reset.created", "password_reset.used", "user.updated", "user.disabled", "member.read"),
        "member.deleted",
    ]
    by = {each["action"]: each for each in done}
    assert by["member.created"]["subject"] == {"kind": "member", "id": ada.member_id}
    assert by["member.created"]["after"]["role"] == "viewer"
    assert (by["member.updated"]["before"], by["member.updated"]["after"]) == (
        {"role": "viewer"},
        {"role": "operator"},
    )
    assert [each["after"] for each in done if each["action"] == "user.updated"] == [
        {"locale": "fr", "name": "changed"},
        {"password_hash": "changed"},
        {"password_hash": "changed"},
    ]
    assert by["session.created"]["actor"] == {"kind": "user", "id": ada.id, "name": None}
    assert by["session.created"]["after"]["user_id"] == ada.id
    assert by["session.created"]["address"] == "127.0.0.1"
    assert by["password_reset.created"]["actor"]["kind"] == "key"
    # Somebody new is nobody's until they are a member.
    created = [each for each in await entries(owner, NOBODY) if each["action"] == "user.created"]
    assert [each["subject"] for each in created][-1] == {"kind": "user", "id": ada.id}
    shown = (await tenant.client.get("/v1/audit?action=user")).json()["data"]
    assert shown[-1]["actor"] == {"kind": "user", "id": ada.id, "name": None}


async def test_an_invitation_that_is_revoked(
    folk: OrganisationPeople, tenant: Tenant, owner: asyncpg.Connection
) -> None:
    await folk.invite("x@example.com", "viewer")
    made = await last(owner, tenant.id)
    assert (made["action"], made["after"]["role"]) == ("invitation.created", "viewer")
    await tenant.client.delete(f"/v1/invitations/{made['subject']['id']}")
    assert (await last(owner, tenant.id))["action"] == "invitation.revoked"


async def test_nothing_says_who_somebody_is(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    ada = await folk.join("Ada", "owner")
    invited = await ada.client.post("/v1/invitations", json={"email": "bob@example.com", "role": "viewer"})
    await ada.client.patch("/v1/me", json={"name": "Zoe"})
    await ada.client.get("/v1/members")
    await ada.client.get("/v1/invitations")
    await anybody.post("/v1/sessions", json={"email": "bob@example.com", "password": "guessed wrong"})
    await anybody.post("/v1/sessions", json={"email": ada.email, "password": "guessed wrong"})
    (token,) = await owner.fetch("SELECT token_hash, user_agent FROM user_sessions")
    text = "\n".join(row["record"] for row in await owner.fetch("SELECT record FROM audit_log"))
    hidden = ["example.com", "Ada", "Zoe", "bob", "guessed", PASSWORD, ada.token, token["user_agent"]]
    hidden += [invited.json()["token"], token["token_hash"].hex(), "argon2id"]
    assert [each for each in hidden if each in text] == []
    columns = await owner.fetch("SELECT actor_id, subject_ids FROM audit_log")
    assert ada.email not in json.dumps([dict(row) for row in columns])


async def test_what_concerns_a_person_is_told_wherever_they_are_a_member(
    folk: OrganisationPeople,
    tenant: Tenant,
    other_tenant: Tenant,
    owner: asyncpg.Connection,
    api: httpx.AsyncClient,
) -> None:
    first = await folk.join("Ada", "viewer")
    ada = await folk.join("Ada", "owner", other_tenant.id)
    (await ada.client.patch("/v1/me", json={"locale": "fr"})).raise_for_status()
    both = (tenant.id, other_tenant.id)
    for organisation in both:
        entry = await last(owner, organisation)
        assert (entry["action"], entry["before"]) == ("user.updated", {"locale": "en"})
    (await api.post(f"/v1/members/{first.member_id}/password-reset")).raise_for_status()
    assert [(await last(owner, each))["action"] for each in both] == ["password_reset.created"] * 2
    # Who changes to another organisation is told of to both.
    (await ada.client.post("/v1/sessions/switch", json={"organisation_id": tenant.id})).raise_for_status()
    for organisation in both:
        entry = await last(owner, organisation)
        assert (entry["action"], entry["after"]) == ("session.updated", {"organisation_id": tenant.id})
    # A caller's reach is what it was before the log looked further.
    assert (await ada.client.get(f"/v1/members/{ada.member_id}")).status_code in {403, 404}


async def test_whoever_is_shown_members_or_invitations_is_in_it(
    folk: OrganisationPeople, tenant: Tenant, owner: asyncpg.Connection
) -> None:
    ada, bob = await folk.join("Ada", "owner"), await folk.join("Bob", "viewer")
    await folk.invite("x@example.com", "viewer")
    before = len(await entries(owner, tenant.id))
    await ada.client.get("/v1/members")
    await ada.client.get(f"/v1/members/{bob.member_id}")
    await ada.client.patch(f"/v1/members/{bob.member_id}", json={})
    listed = (await ada.client.get("/v1/invitations?state=open")).json()["data"]
    await ada.client.get(f"/v1/invitations/{listed[0]['id']}")
    seen = (await entries(owner, tenant.id))[before:]
    assert [(each["action"], each["subject"]) for each in seen] == [
        ("member.read", {"kind": "member", "ids": [ada.member_id, bob.member_id]}),
        ("member.read", {"kind": "member", "id": bob.member_id}),
        ("member.read", {"kind": "member", "id": bob.member_id}),
        ("invitation.read", {"kind": "invitation", "id": listed[0]["id"]}),
        ("invitation.read", {"kind": "invitation", "id": listed[0]["id"]}),
    ]
    assert {each["actor"]["id"] for each in seen} == {ada.id}
    # One's own sign-ins are nobody else's to be told of.
    await ada.client.get("/v1/me/sessions")
    await ada.client.get("/v1/me")
    assert len(await entries(owner, tenant.id)) == before + 5


async def test_nobody_is_shown_a_person_without_an_entry(
    folk: OrganisationPeople, tenant: Tenant, owner: asyncpg.Connection
) -> None:
    ada = await folk.join("Ada", "viewer")
    await folk.invite("x@example.com", "viewer")
    invitation = (await tenant.client.get("/v1/invitations")).json()["data"][0]["id"]
    await owner.execute("ALTER TABLE audit_pending RENAME TO gone")
    member = f"/v1/members/{ada.member_id}"
    for path in ("/v1/members", member, "/v1/invitations", f"/v1/invitations/{invitation}"):
        answer = await tenant.client.get(path)
        assert refusal(answer) == (503, "audit_unavailable"), path
        assert "example.com" not in answer.text
    answer = await tenant.client.patch(member, json={})
    assert refusal(answer) == (503, "audit_unavailable")


async def _refused(anybody: httpx.AsyncClient, ada: SignedInPerson, **body: str) -> None:
    answer = await anybody.post("/v1/sessions", json={"email": ada.email, "password": "not hers", **body})
    assert answer.status_code in {401, 404}, answer.text


async def test_sign_ins_that_are_refused_are_told_to_the_accounts_organisations(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    tenant: Tenant,
    other_tenant: Tenant,
    owner: asyncpg.Connection,
) -> None:
    await folk.join("Ada", "viewer")
    ada = await folk.join("Ada", "owner", other_tenant.id)
    await _refused(anybody, ada)
    for organisation in (tenant.id, other_tenant.id):
        entry = await last(owner, organisation)
        assert (entry["action"], entry["subject"]) == ("session.refused", {"kind": "user", "id": ada.id})
        assert (entry["after"], entry["address"]) == ({"code": "wrong_credentials"}, "127.0.0.1")
        # That it was she is just what nobody showed.
        assert entry["actor"]["kind"] == "program"
    # The right password, for an organisation that is not hers.
    nowhere = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"
    await _refused(anybody, ada, password=ada.password, organisation_id=nowhere)
    entry = await last(owner, tenant.id)
    assert (entry["after"], entry["actor"]["id"]) == ({"code": "not_found"}, ada.id)
    # Somebody who is signed in, and does not know the password.
    body = {"current_password": "not hers", "new_password": NEW}
    assert (await ada.client.post("/v1/me/password", json=body)).status_code == 401
    assert (await last(owner, tenant.id))["actor"]["id"] == ada.id
    # Of whom nobody knows, nobody's log tells.
    before = await actions(owner, tenant.id)
    assert (
        await anybody.post("/v1/sessions", json={"email": "no@one.org", "password": "x"})
    ).status_code == 401
    assert await actions(owner, tenant.id) == before
    entry = await last(owner, NOBODY)
    assert (entry["action"], entry["subject"]) == ("session.refused", {"kind": "user", "id": None})


async def test_what_cannot_be_recorded_is_refused_all_the_same(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    ada = await folk.join("Ada", "viewer")
    await owner.execute("ALTER TABLE audit_pending RENAME TO gone")
    answer = await anybody.post("/v1/sessions", json={"email": ada.email, "password": "not hers"})
    assert refusal(answer) == (401, "wrong_credentials")


async def test_factors_are_told_of_without_what_they_are(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, owner: asyncpg.Connection
) -> None:
    ada = await folk.join("Ada", "viewer")
    oda = await folk.join("Oda", "owner")
    before = len(await entries(owner, tenant.id))
    app = await enrol_totp(ada)
    phone = SoftwareAuthenticator()
    passkey = await enrol_passkey(ada, phone, "Ada's phone")
    problem = await ask(anybody, ada.email)
    await complete(anybody, problem, totp="000000")
    await complete(anybody, problem, recovery_code=app.recovery_codes[0])
    await ada.client.post("/v1/me/reauthentication", json={"password": PASSWORD})
    await ada.client.post("/v1/me/recovery-codes")
    await ada.client.delete("/v1/me/totp")
    await oda.client.delete(f"/v1/members/{ada.member_id}/second-factors")
    done = (await entries(owner, tenant.id))[before:]
    assert [each["action"] for each in done] == [
        *("totp.created", "totp.updated", "recovery_codes.created", "passkey.created"),
        *("session.refused", "recovery_codes.updated", "session.created", "session.updated"),
        *("recovery_codes.deleted", "recovery_codes.created", "totp.deleted"),
        *("passkey.deleted", "recovery_codes.deleted", "session.revoked", "session.revoked"),
    ]
    by = {each["action"]: each for each in done}
    assert by["session.refused"]["after"] == {"code": "wrong_second_factor"}
    assert by["recovery_codes.updated"]["after"] == {"code_hashes": "changed"}
    assert by["passkey.created"]["subject"] == {"kind": "passkey", "id": passkey["id"]}
    assert (by["totp.updated"]["actor"]["id"], by["passkey.deleted"]["actor"]["id"]) == (ada.id, oda.id)
    told = json.dumps(done)
    hidden = ("phone", app.secret, *app.recovery_codes, phone.credential_id.hex())
    assert [each for each in hidden if each in told] == []
    await tenant.client.patch(f"/v1/organisations/{tenant.id}", json={"second_factor_required": True})
    entry = await last(owner, tenant.id)
    assert (entry["action"], entry["after"]) == ("organisation.updated", {"second_factor_required": True})
