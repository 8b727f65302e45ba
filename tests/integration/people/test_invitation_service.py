"""Invitations: shown once, accepted once, by whom they are for."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from tests.conftest import Tenant, client_of
from tests.integration.people.folk import PASSWORD, OrganisationPeople, refusal

REFUSED = (401, "token_refused")


async def accept(client: httpx.AsyncClient, token: str, **body: object) -> httpx.Response:
    return await client.post("/v1/invitations/accept", json={"token": token, **body})


async def test_the_first_person_comes_by_the_bootstrap_key(
    api: httpx.AsyncClient, anybody: httpx.AsyncClient, application: FastAPI
) -> None:
    made = await api.post("/v1/invitations", json={"email": "First@Example.com", "role": "owner"})
    assert made.status_code == 201, made.text
    invitation = made.json()
    token = invitation["token"]
    assert (invitation["email"], invitation["state"]) == ("first@example.com", "open")
    assert invitation["link"] == f"{get_resource(application, PeopleContext).base_url}/welcome#{token}"
    assert invitation["invited_by_name"] == "bootstrap"
    answer = await accept(anybody, token, name="Ada", password=PASSWORD)
    assert answer.status_code == 201, answer.text
    async with client_of(application, answer.json()["token"]) as ada:
        assert (await ada.get("/v1/me")).json()["platform"] is True
        read = (await ada.get(f"/v1/invitations/{invitation['id']}")).json()
        assert read["state"] == "accepted"
        assert token not in str(read)


async def test_a_token_is_used_once_and_ends(
    folk: OrganisationPeople, tenant: Tenant, anybody: httpx.AsyncClient, database: Database
) -> None:
    token = await folk.invite("ada@example.com", "viewer")
    person = {"name": "Ada", "password": PASSWORD}
    answers = await asyncio.gather(*(accept(anybody, token, **person) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 401, 401]
    former = await folk.invite("bob@example.com", "viewer")
    newer = await folk.invite("bob@example.com", "operator")
    assert refusal(await accept(anybody, former, **person)) == REFUSED
    listed = (await tenant.client.get("/v1/invitations?state=open")).json()["data"]
    assert [(row["email"], row["role"]) for row in listed] == [("bob@example.com", "operator")]
    found = (await tenant.client.get("/v1/invitations?q=ADA@")).json()["data"]
    assert [row["email"] for row in found] == ["ada@example.com"]
    path = f"/v1/invitations/{listed[0]['id']}"
    assert (await tenant.client.delete(path)).status_code == 204
    assert refusal(await accept(anybody, newer, **person)) == REFUSED
    assert (await tenant.client.get(path)).json()["state"] == "revoked"
    late = await folk.invite("eve@example.com", "viewer")
    async with database.write() as session:
        await session.execute(text("UPDATE invitations SET expires_at = now() WHERE email ~ 'eve'"))
    assert refusal(await accept(anybody, late, **person)) == REFUSED
    states = [row["state"] for row in (await tenant.client.get("/v1/invitations")).json()["data"]]
    assert states == ["accepted", "revoked", "revoked", "expired"]
    accepted = (await tenant.client.get("/v1/invitations?state=accepted")).json()["data"][0]
    answer = await tenant.client.delete(f"/v1/invitations/{accepted['id']}")
    assert refusal(answer) == (409, "invitation_accepted")
    for made_up in ("vgi_" + "a" * 38, "vgi_", "x"):
        assert refusal(await accept(anybody, made_up, **person)) == REFUSED


async def test_who_is_new_gives_a_name_and_a_password(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    token = await folk.invite("ada@example.com", "viewer")
    needed = (422, "name_and_password_needed")
    assert refusal(await accept(anybody, token)) == needed
    assert refusal(await accept(anybody, token, name="Ada")) == needed
    answer = await accept(anybody, token, name="Ada", password="ada@example.com")
    assert refusal(answer) == (422, "password_about_you")
    assert (await accept(anybody, token, name="Ada", password=PASSWORD)).status_code == 201


async def test_who_is_a_member_is_not_invited_again(folk: OrganisationPeople, tenant: Tenant) -> None:
    await folk.join("Ada", "viewer")
    answer = await tenant.client.post("/v1/invitations", json={"email": "ada@example.com", "role": "owner"})
    assert refusal(answer) == (409, "already_member")


async def test_what_makes_no_sense_is_refused(tenant: Tenant, other_tenant: Tenant, site_id: str) -> None:
    async def invite(client: httpx.AsyncClient = tenant.client, **body: object) -> tuple[int, str]:
        answer = await client.post("/v1/invitations", json={"email": "a@example.com", **body})
        return (201, "") if answer.status_code == 201 else refusal(answer)

    assert await invite(role="owner", site_ids=[site_id]) == (422, "owner_of_sites")
    assert await invite(role="king") == (422, "invalid_value")
    assert await invite(role="viewer", email="no address") == (422, "invalid_email_address")
    assert await invite(role="viewer", site_ids=[]) == (422, "invalid_value")
    assert await invite(other_tenant.client, role="viewer", site_ids=[site_id]) == (404, "not_found")
    assert await invite(role="viewer", site_ids=[site_id]) == (201, "")


async def test_others_see_nothing_of_an_invitation(tenant: Tenant, other_tenant: Tenant) -> None:
    body = {"email": "a@example.com", "role": "viewer"}
    made = (await tenant.client.post("/v1/invitations", json=body)).json()
    path = f"/v1/invitations/{made['id']}"
    assert refusal(await other_tenant.client.get(path)) == (404, "not_found")
    assert refusal(await other_tenant.client.delete(path)) == (404, "not_found")
    assert (await other_tenant.client.get("/v1/invitations")).json()["data"] == []
    assert (await tenant.client.get(path)).json()["state"] == "open"


@pytest.mark.parametrize("path", ["/v1/members", "/v1/invitations"])
async def test_lists_come_in_pages(folk: OrganisationPeople, tenant: Tenant, path: str) -> None:
    for number in range(3):
        await folk.join(f"P{number}", "viewer")
    first = (await tenant.client.get(path, params={"limit": 2})).json()
    rest = (await tenant.client.get(path, params={"limit": 2, "cursor": first["next"]})).json()
    assert [row["email"] for page in (first, rest) for row in page["data"]] == [
        f"p{number}@example.com" for number in range(3)
    ]
    assert rest["next"] is None
