"""Tokens for others end with the rights of whoever made them: nobody who was removed comes back by one."""

from typing import Any

import httpx
import pytest

from tests.conftest import Tenant
from tests.integration.people.folk import PASSWORD, OrganisationPeople, SignedInPerson, refusal

REFUSED = (401, "token_refused")


async def invited(by: httpx.AsyncClient, email: str, **more: str) -> dict[str, Any]:
    answer = await by.post("/v1/invitations", json={"email": email, "role": "owner", **more})
    made: dict[str, Any] = answer.raise_for_status().json()
    return made


async def reset_of(by: httpx.AsyncClient, member: SignedInPerson) -> str:
    answer = await by.post(f"/v1/members/{member.member_id}/password-reset")
    token: str = answer.raise_for_status().json()["token"]
    return token


async def accept(anybody: httpx.AsyncClient, token: str) -> httpx.Response:
    body = {"token": token, "name": "Second", "password": PASSWORD}
    return await anybody.post("/v1/invitations/accept", json=body)


async def reset(anybody: httpx.AsyncClient, token: str) -> httpx.Response:
    body = {"token": token, "password": "cinq canards dans la brume"}
    return await anybody.post("/v1/passwords/reset", json=body)


@pytest.mark.parametrize("change", [None, {"role": "viewer"}, {"disabled": True}])
async def test_an_owner_who_goes_does_not_come_back(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, change: dict[str, Any] | None
) -> None:
    ada, bob, vera = [await folk.join(name, "owner") for name in ("Ada", "Bob", "Vera")]
    token, invitation = await reset_of(ada.client, bob), await invited(ada.client, "second@example.com")
    others = (await reset_of(bob.client, vera), await invited(bob.client, "new@example.com"))
    path = f"/v1/members/{ada.member_id}"
    answer = await (bob.client.delete(path) if change is None else bob.client.patch(path, json=change))
    answer.raise_for_status()
    assert refusal(await reset(anybody, token)) == REFUSED
    assert refusal(await accept(anybody, invitation["token"])) == REFUSED
    shown = (await bob.client.get(f"/v1/invitations/{invitation['id']}")).json()
    assert shown["state"] == "revoked"
    (entry,) = (await bob.client.get("/v1/audit?action=invitation.revoked")).json()["data"]
    assert (entry["subject"]["id"], entry["actor"]["id"]) == (invitation["id"], bob.id)
    # What others made stays.
    assert (await reset(anybody, others[0])).status_code == 204
    assert (await accept(anybody, others[1]["token"])).status_code == 201


async def test_an_owner_who_changes_otherwise_keeps_what_they_made(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    ada, bob = await folk.join("Ada", "owner"), await folk.join("Bob", "owner")
    token, invitation = await reset_of(ada.client, bob), await invited(ada.client, "second@example.com")
    path = f"/v1/members/{ada.member_id}"
    (await bob.client.patch(path, json={"role": "owner", "disabled": False})).raise_for_status()
    assert (await reset(anybody, token)).status_code == 204
    assert (await accept(anybody, invitation["token"])).status_code == 201


async def test_what_an_owner_made_elsewhere_stays(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, other_tenant: Tenant
) -> None:
    eve = await folk.join("Eve", "viewer", other_tenant.id)
    ada, bob = await folk.join("Ada", "owner", other_tenant.id), await folk.join("Bob", "owner")
    token, invitation = await reset_of(ada.client, eve), await invited(ada.client, "second@example.com")
    here = await folk.join("Ada", "owner")
    (await bob.client.delete(f"/v1/members/{here.member_id}")).raise_for_status()
    assert (await reset(anybody, token)).status_code == 204
    assert (await accept(anybody, invitation["token"])).status_code == 201


async def test_a_member_of_an_integrator_leaves_nothing_at_its_clients(
    folk: OrganisationPeople, api: httpx.AsyncClient, anybody: httpx.AsyncClient
) -> None:
    made = await api.post("/v1/organisations", json={"name": "Integrator", "kind": "integrator"})
    iris, ivo = [await folk.join(name, "owner", made.json()["id"]) for name in ("Iris", "Ivo")]
    client = (await iris.client.post("/v1/organisations", json={"name": "Client"})).raise_for_status().json()
    cleo = await folk.join("Cleo", "owner", client["id"])
    token = await reset_of(iris.client, cleo)
    invitation = await invited(iris.client, "second@example.com", organisation_id=client["id"])
    (await ivo.client.patch(f"/v1/members/{iris.member_id}", json={"role": "operator"})).raise_for_status()
    assert refusal(await reset(anybody, token)) == REFUSED
    assert refusal(await accept(anybody, invitation["token"])) == REFUSED


async def test_what_a_key_made_ends_when_it_is_revoked(
    folk: OrganisationPeople, tenant: Tenant, anybody: httpx.AsyncClient
) -> None:
    ada, bob = await folk.join("Ada", "owner"), await folk.join("Bob", "owner")
    made = (await tenant.client.post("/v1/api-keys", json={"name": "hers", "scopes": ["*"]})).json()
    key = await folk.client(made["key"])
    token, invitation = await reset_of(key, ada), await invited(key, "second@example.com")
    others = (await reset_of(tenant.client, bob), await invited(tenant.client, "new@example.com"))
    assert (await tenant.client.delete(f"/v1/api-keys/{made['id']}")).status_code == 204
    assert refusal(await reset(anybody, token)) == REFUSED
    assert refusal(await accept(anybody, invitation["token"])) == REFUSED
    assert (await reset(anybody, others[0])).status_code == 204
    assert (await accept(anybody, others[1]["token"])).status_code == 201
