"""Accepting an invitation: what others know of an account, or hold under its address, gets nothing by it."""

import httpx
import pytest
from fastapi import FastAPI

from app.people.sign_in_dependencies import PeopleContext
from app.platform.kernel.application_resources import get_resource
from tests.conftest import Tenant
from tests.integration.people.folk import PASSWORD, OrganisationPeople, SignedInPerson, refusal

NEW = "cinq canards dans la brume"
OTHER = "sept tortues au bord du lac"
WRONG = (401, "wrong_credentials")


async def accept(client: httpx.AsyncClient, token: str, **body: object) -> httpx.Response:
    return await client.post("/v1/invitations/accept", json={"token": token, **body})


async def sign_in(client: httpx.AsyncClient, email: str, password: str, **more: object) -> httpx.Response:
    return await client.post("/v1/sessions", json={"email": email, "password": password, **more})


async def places(client: httpx.AsyncClient) -> set[str]:
    """The organisations that whoever signed in belongs to."""
    me = (await client.get("/v1/me")).raise_for_status().json()
    return {place["organisation"]["id"] for place in me["memberships"]}


@pytest.fixture
async def oda(folk: OrganisationPeople) -> SignedInPerson:
    """An owner of the first organisation, who is after the second."""
    return await folk.join("Oda", "owner")


async def reset(
    anybody: httpx.AsyncClient, owner: SignedInPerson, member: SignedInPerson, password: str
) -> None:
    made = await owner.client.post(f"/v1/members/{member.member_id}/password-reset")
    body = {"token": made.raise_for_status().json()["token"], "password": password}
    (await anybody.post("/v1/passwords/reset", json=body)).raise_for_status()


async def test_who_knows_a_password_from_before_does_not_come_along(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    oda: SignedInPerson,
    tenant: Tenant,
    other_tenant: Tenant,
) -> None:
    ada = await folk.join("Ada", "viewer")
    # The owner makes Ada's password, tells her, and stays signed in as her.
    await reset(anybody, oda, ada, NEW)
    spy = await folk.client((await sign_in(anybody, ada.email, NEW)).json()["token"])
    assert (await spy.get("/v1/me")).json()["user"]["id"] == ada.id
    ready = (await oda.client.post(f"/v1/members/{ada.member_id}/password-reset")).json()["token"]
    token = await folk.invite(ada.email, "owner", other_tenant.id)
    hers = await folk.client((await sign_in(anybody, ada.email, NEW)).json()["token"])
    # Neither her sign-in nor the password is enough, nor is the same one again.
    needed = (422, "passwords_needed")
    assert refusal(await accept(hers, token)) == needed
    assert refusal(await accept(hers, token, current_password=NEW)) == needed
    assert refusal(await accept(anybody, token, current_password=NEW)) == needed
    same = await accept(anybody, token, current_password=NEW, password=NEW)
    assert refusal(same) == (422, "password_unchanged")
    # A name is not passed over: whoever gives one would think that the account has it now.
    named = await accept(anybody, token, name="Countess", current_password=NEW, password=OTHER)
    assert refusal(named) == (422, "name_not_taken")
    assert named.json()["errors"][0]["field"] == "body.name"
    joined = await accept(anybody, token, current_password=NEW, password=OTHER)
    assert joined.status_code == 201, joined.text
    assert joined.json()["user"]["id"] == ada.id
    now = await folk.client(joined.json()["token"])
    assert await places(now) == {tenant.id, other_tenant.id}
    # What the owner has is worth nothing any more, in neither organisation.
    for held in (spy, hers):
        assert refusal(await held.get("/v1/me")) == (401, "unauthorised")
        switched = await held.post("/v1/sessions/switch", json={"organisation_id": other_tenant.id})
        assert refusal(switched) == (401, "unauthorised")
    assert refusal(await sign_in(anybody, ada.email, NEW)) == WRONG
    late = await anybody.post("/v1/passwords/reset", json={"token": ready, "password": NEW})
    assert refusal(late) == (401, "token_refused")
    path = f"/v1/members/{ada.member_id}/password-reset"
    assert refusal(await oda.client.post(path)) == (409, "member_elsewhere")
    assert (await sign_in(anybody, ada.email, OTHER)).status_code == 201


async def test_a_password_that_another_made_is_not_taken_for_a_new_account(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, oda: SignedInPerson, other_tenant: Tenant
) -> None:
    ada = await folk.join("Ada", "viewer")
    await reset(anybody, oda, ada, NEW)
    token = await folk.invite(ada.email, "owner", other_tenant.id)
    # She does as she always did; with that password the owner would be let in too.
    assert refusal(await accept(anybody, token, name="Ada", password=NEW)) == (409, "account_exists")
    assert (await accept(anybody, token, name="Ada", password=OTHER)).status_code == 201
    for password in (NEW, PASSWORD):
        answer = await sign_in(anybody, ada.email, password, organisation_id=other_tenant.id)
        assert refusal(answer) == WRONG


async def test_who_holds_an_address_first_gets_nothing_of_who_it_is(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    oda: SignedInPerson,
    tenant: Tenant,
    other_tenant: Tenant,
) -> None:
    # The owner invites Ada's address, accepts in her place, and waits.
    made = await oda.client.post("/v1/invitations", json={"email": "ada@example.com", "role": "viewer"})
    squatted = (await accept(anybody, made.json()["token"], name="Ada", password=NEW)).json()
    squatter = await folk.client(squatted["token"])
    token = await folk.invite("ada@example.com", "owner", other_tenant.id)
    joined = await accept(anybody, token, name="Ada Lovelace", password=OTHER)
    assert joined.status_code == 201, joined.text
    hers = joined.json()
    assert hers["user"]["id"] != squatted["user"]["id"]
    ada = await folk.client(hers["token"])
    assert await places(ada) == {other_tenant.id}
    assert await places(squatter) == {tenant.id}
    switch = {"organisation_id": other_tenant.id}
    assert refusal(await squatter.post("/v1/sessions/switch", json=switch)) == (404, "not_found")
    assert refusal(await sign_in(anybody, "ada@example.com", NEW, **switch)) == WRONG
    # She says whom she works for; each has their own.
    assert (await sign_in(anybody, "ada@example.com", OTHER, **switch)).json()["user"] == {
        **hers["user"],
        "last_sign_in_at": (await ada.get("/v1/me")).json()["user"]["last_sign_in_at"],
    }
    assert (await sign_in(anybody, "ada@example.com", NEW)).json()["user"]["id"] == squatted["user"]["id"]
    # A password of hers is changed by hers, and of nobody else's.
    change = {"current_password": OTHER, "new_password": PASSWORD}
    assert (await ada.post("/v1/me/password", json=change)).status_code == 204
    assert refusal(await squatter.post("/v1/me/password", json=change)) == WRONG
    # Nobody is a member twice.
    again = {"email": "ada@example.com", "role": "viewer"}
    for client in (tenant.client, other_tenant.client):
        assert refusal(await client.post("/v1/invitations", json=again)) == (409, "already_member")
    # Once the squatter is gone, the address is hers alone.
    assert (await oda.client.delete(f"/v1/members/{squatted['memberships'][0]['id']}")).status_code == 204
    answer = await sign_in(anybody, "ada@example.com", PASSWORD)
    assert answer.json()["user"]["id"] == hers["user"]["id"]


async def test_who_invites_an_address_gets_nothing_of_its_account(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    oda: SignedInPerson,
    other_tenant: Tenant,
    tenant: Tenant,
) -> None:
    ada = await folk.join("Ada", "owner", other_tenant.id)
    made = await oda.client.post("/v1/invitations", json={"email": ada.email, "role": "viewer"})
    token = made.json()["token"]
    assert refusal(await accept(oda.client, token)) == (403, "invitation_for_another")
    assert refusal(await accept(anybody, token, current_password=NEW, password=OTHER)) == WRONG
    # A sign-in that was found somewhere gives nobody another password.
    body = {"current_password": NEW, "password": OTHER}
    assert refusal(await accept(ada.client, token, **body)) == WRONG
    taken = await accept(anybody, token, name="Ada", password=NEW)
    assert await places(await folk.client(taken.json()["token"])) == {tenant.id}
    # She notices nothing of it.
    assert (await ada.client.get("/v1/me")).status_code == 200
    answer = await sign_in(anybody, ada.email, PASSWORD)
    assert answer.json()["organisation"]["id"] == other_tenant.id


async def test_of_several_accounts_a_sign_in_says_which_one_joins(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    api: httpx.AsyncClient,
    tenant: Tenant,
    other_tenant: Tenant,
) -> None:
    await folk.join("Ada", "viewer")
    token = await folk.invite("ada@example.com", "viewer", other_tenant.id)
    second = (await accept(anybody, token, name="Ada", password=NEW)).json()
    third = (await api.post("/v1/organisations", json={"name": "Third"})).json()["id"]
    token = await folk.invite("ada@example.com", "owner", third)
    body = {"current_password": NEW, "password": OTHER}
    assert refusal(await accept(anybody, token, **body)) == WRONG
    joined = await accept(await folk.client(second["token"]), token, **body)
    assert joined.json()["user"]["id"] == second["user"]["id"]
    assert await places(await folk.client(joined.json()["token"])) == {other_tenant.id, third}
    assert (await sign_in(anybody, "ada@example.com", PASSWORD)).json()["organisation"]["id"] == tenant.id


async def test_nobody_learns_by_an_invitation_who_has_an_account(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, other_tenant: Tenant
) -> None:
    ada = await folk.join("Ada", "viewer")
    emails = (ada.email, "no@one.org")
    tokens = {email: await folk.invite(email, "viewer", other_tenant.id) for email in emails}
    for body in (
        {},
        {"password": NEW},
        {"name": "Ada"},
        {"current_password": NEW},
        {"current_password": NEW, "password": OTHER},
        {"name": "Ada", "password": "short"},
        {"name": "Ada", "password": NEW},
    ):
        answers = [await accept(anybody, token, **body) for token in tokens.values()]
        assert answers[0].status_code == answers[1].status_code, body
        if answers[0].is_error:
            problems = [{**answer.json(), "request_id": ""} for answer in answers]
            assert problems[0] == problems[1], body
    # Both were let in, and look alike.
    shown = [set(answer.json()) for answer in answers]
    assert shown[0] == shown[1]
    assert [len(answer.json()["memberships"]) for answer in answers] == [1, 1]


async def test_guessing_by_invitations_comes_to_an_end(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, application: FastAPI, other_tenant: Tenant
) -> None:
    ada = await folk.join("Ada", "viewer")
    limits = get_resource(application, PeopleContext).settings
    limits.attempts = 3
    ended = (429, "too_many_attempts")
    token = await folk.invite(ada.email, "viewer", other_tenant.id)
    body = {"current_password": NEW, "password": OTHER}
    answers = [refusal(await accept(anybody, token, **body)) for _ in range(4)]
    assert answers == [WRONG] * 3 + [ended]
    # With an invitation for each guess, it ends by the account.
    limits.attempts, limits.account_attempts = 20, 7
    for number in range(2):
        taken = await accept(anybody, token, name="Ada", password=f"{NEW} {number}")
        assert taken.status_code == 201, taken.text
        member = taken.json()["memberships"][0]["id"]
        assert (await other_tenant.client.delete(f"/v1/members/{member}")).status_code == 204
        token = await folk.invite(ada.email, "viewer", other_tenant.id)
    assert refusal(await accept(anybody, token, name="Ada", password=PASSWORD)) == ended
