"""What was shown to a person once is not shown again to what the person has become since."""

from tests.conftest import Tenant
from tests.integration.people.folk import OrganisationPeople, refusal

SITE = {
    "name": "Rue",
    "kind": "street",
    "timezone": "UTC",
    "location": {"type": "Point", "coordinates": [0, 0]},
}
KEY = {"name": "hers", "scopes": ["*"]}
ONCE = {"Idempotency-Key": "once"}


async def test_a_demoted_owner_is_not_shown_the_key_again(folk: OrganisationPeople, tenant: Tenant) -> None:
    ada = await folk.join("Ada", "owner")
    await folk.join("Bob", "owner")
    made = await ada.client.post("/v1/api-keys", json=KEY, headers=ONCE)
    assert made.status_code == 201, made.text
    assert (await ada.client.post("/v1/api-keys", json=KEY, headers=ONCE)).content == made.content
    path = f"/v1/members/{ada.member_id}"
    for role in ("operator", "viewer", "installer"):
        (await tenant.client.patch(path, json={"role": role})).raise_for_status()
        refused = await ada.client.post("/v1/api-keys", json=KEY, headers=ONCE)
        assert refusal(refused) == (403, "forbidden"), role
        assert made.json()["key"] not in refused.text
    (await tenant.client.patch(path, json={"role": "owner"})).raise_for_status()
    assert (await ada.client.post("/v1/api-keys", json=KEY, headers=ONCE)).content == made.content


async def test_a_member_for_fewer_sites_is_not_shown_a_password_again(
    folk: OrganisationPeople, tenant: Tenant, site_id: str
) -> None:
    box = {"id": "box-1", "site_id": site_id}
    other = (await tenant.client.post("/v1/sites", json=SITE)).json()["id"]
    bob = await folk.join("Bob", "operator", site_ids=[site_id, other])
    made = await bob.client.post("/v1/boxes", json=box, headers=ONCE)
    assert made.status_code == 201, made.text
    path = f"/v1/members/{bob.member_id}"
    (await tenant.client.patch(path, json={"site_ids": [other]})).raise_for_status()
    refused = await bob.client.post("/v1/boxes", json=box, headers=ONCE)
    assert refusal(refused) == (403, "idempotency_rights_lost")
    assert made.json()["credentials"]["password"] not in refused.text
    (await tenant.client.patch(path, json={"site_ids": None})).raise_for_status()
    assert (await bob.client.post("/v1/boxes", json=box, headers=ONCE)).content == made.content
