"""Purposes by REST: declared, completed, approved by a second person, changed, ended."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.platform.db.database import Database
from app.platform.db.ingest_barrier import pass_ingest_barrier
from tests.conftest import STREET, Tenant
from tests.integration.people.folk import OrganisationPeople, refusal

FIELDS: dict[str, Any] = {
    "legal_basis": "public_task",
    "legal_reference": "Decision 17",
    "controller": "City",
    "contact": "privacy@example.com",
    "impact_assessment": "DPIA 4",
    "notice": "https://example.com/notice",
    "description": "Where shots are fired.",
}
RETENTION: dict[str, Any] = {"purposes": {"acoustic_safety": 30}, "removes": True}


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def complete() -> dict[str, Any]:
    return {**FIELDS, "ends_at": in_days(300)}


@pytest.fixture
def acoustic(site_id: str) -> str:
    return f"/v1/sites/{site_id}/purposes/acoustic_safety"


async def kept(client: httpx.AsyncClient, site_id: str, body: dict[str, Any] = RETENTION) -> None:
    (await client.put(f"/v1/sites/{site_id}/retention", json=body)).raise_for_status()


async def state(client: httpx.AsyncClient, path: str) -> str:
    answer: str = (await client.get(path)).raise_for_status().json()["state"]
    return answer


async def test_the_catalogues_say_what_there_is(tenant: Tenant) -> None:
    purposes = {each["name"]: each for each in (await tenant.client.get("/v1/purposes")).json()["data"]}
    types = {each["name"]: each for each in (await tenant.client.get("/v1/event-catalogue")).json()["data"]}
    assert purposes["acoustic_safety"]["sensitive"]
    assert "impact_assessment" in purposes["acoustic_safety"]["required"]
    assert purposes["noise"]["required"] == []
    assert types["gunshot"]["purpose"] == "acoustic_safety"
    assert all(name in purposes[each["purpose"]]["event_types"] for name, each in types.items())


async def test_a_new_site_has_declared_what_needs_no_approval(tenant: Tenant, site_id: str) -> None:
    shown = (await tenant.client.get(f"/v1/sites/{site_id}/purposes")).json()["data"]
    states = {each["purpose"]: each["state"] for each in shown}
    assert states.pop("acoustic_safety") == states.pop("video_analytics") == "not_declared"
    assert set(states.values()) == {"active"}


async def test_a_sensitive_purpose_needs_every_field_and_a_second_person(
    folk: OrganisationPeople, tenant: Tenant, site_id: str, acoustic: str
) -> None:
    one, two = await folk.join("Ada", "operator"), await folk.join("Bea", "owner")
    declared = (await one.client.put(acoustic, json={"legal_basis": "not_personal_data"})).json()
    assert declared["state"] == "incomplete"
    lacking = {each["field"] for each in declared["missing"]}
    assert lacking == {*FIELDS, "ends_at", "retention"}
    refused = await two.client.post(f"{acoustic}/approve")
    assert refusal(refused) == (409, "purpose_incomplete")
    assert {each["field"] for each in refused.json()["missing"]} == lacking
    assert (await one.client.patch(acoustic, json=complete())).json()["state"] == "incomplete"
    # Days alone are not enough: what is older has to go.
    await kept(tenant.client, site_id, {**RETENTION, "removes": False})
    assert await state(one.client, acoustic) == "incomplete"
    await kept(tenant.client, site_id)
    assert await state(one.client, acoustic) == "awaiting_approval"
    assert refusal(await one.client.post(f"{acoustic}/approve")) == (409, "same_person")
    assert refusal(await tenant.client.post(f"{acoustic}/approve")) == (403, "person_required")
    viewer = await folk.join("Vera", "viewer")
    assert (await viewer.client.post(f"{acoustic}/approve")).status_code == 403
    elsewhere = await folk.join("Eve", "operator", site_ids=[site_id])
    assert refusal(await elsewhere.client.post(f"{acoustic}/approve"))[0] == 403
    before = datetime.now(UTC) - timedelta(seconds=5)
    approved = (await two.client.post(f"{acoustic}/approve")).raise_for_status().json()
    assert (approved["state"], approved["approved_by"], approved["declared_by"]) == ("active", two.id, one.id)
    assert datetime.fromisoformat(approved["starts_at"]) > before
    assert (await two.client.post(f"{acoustic}/approve")).json() == approved


async def test_who_declared_by_a_key_of_theirs_cannot_approve(
    folk: OrganisationPeople, tenant: Tenant, site_id: str, acoustic: str
) -> None:
    one, two = await folk.join("Ada", "owner"), await folk.join("Bea", "owner")
    made = await one.client.post("/v1/api-keys", json={"name": "hers", "scopes": ["*"]})
    key = await folk.client(made.json()["key"])
    again = await key.post("/v1/api-keys", json={"name": "hers too", "scopes": ["*"]})
    hers = await folk.client(again.json()["key"])
    await kept(tenant.client, site_id)
    (await hers.put(acoustic, json=complete())).raise_for_status()
    assert refusal(await one.client.post(f"{acoustic}/approve")) == (409, "same_person")
    assert (await two.client.post(f"{acoustic}/approve")).json()["state"] == "active"


async def test_who_declared_by_a_key_of_their_integrators_cannot_approve_as_a_member_of_the_client(
    folk: OrganisationPeople, api: httpx.AsyncClient
) -> None:
    made = await api.post("/v1/organisations", json={"name": "Integrator", "kind": "integrator"})
    integrator = made.json()["id"]
    iris = await folk.join("Iris", "owner", integrator)
    client = (await iris.client.post("/v1/organisations", json={"name": "Client"})).raise_for_status().json()
    key = await iris.client.post("/v1/api-keys", json={"name": "Iris's", "scopes": ["*"]})
    hers = await folk.client(key.raise_for_status().json()["key"])
    site = await hers.post(
        "/v1/sites",
        json={
            "organisation_id": client["id"],
            "name": "Square",
            "kind": "street",
            "timezone": "UTC",
            "location": {"type": "Point", "coordinates": [1.4, 43.6]},
        },
    )
    path = f"/v1/sites/{site.raise_for_status().json()['id']}"
    await kept(hers, site.json()["id"])
    (await hers.put(f"{path}/purposes/acoustic_safety", json=complete())).raise_for_status()
    as_member = await folk.join("Iris", "owner", client["id"])
    answer = await as_member.client.post(f"{path}/purposes/acoustic_safety/approve")
    assert refusal(answer) == (409, "same_person")


async def approved(folk: OrganisationPeople, tenant: Tenant, site_id: str, acoustic: str) -> tuple[Any, Any]:
    one, two = await folk.join("Ada", "owner"), await folk.join("Bea", "owner")
    await kept(tenant.client, site_id)
    (await one.client.put(acoustic, json=complete())).raise_for_status()
    (await two.client.post(f"{acoustic}/approve")).raise_for_status()
    return one, two


async def test_whoever_changes_it_takes_the_approval_away_but_an_end_does_not(
    folk: OrganisationPeople, tenant: Tenant, site_id: str, acoustic: str
) -> None:
    one, two = await approved(folk, tenant, site_id, acoustic)
    assert (await one.client.patch(acoustic, json={"contact": "else@example.com"})).json()["state"] == (
        "awaiting_approval"
    )
    # She who changed it is who has declared it; the other may approve, though she declared it first.
    (await two.client.patch(acoustic, json={"contact": "third@example.com"})).raise_for_status()
    assert refusal(await two.client.post(f"{acoustic}/approve")) == (409, "same_person")
    assert (await one.client.post(f"{acoustic}/approve")).json()["state"] == "active"
    ends = await two.client.post(f"{acoustic}/end", json={"at": in_days(1)})
    assert (ends.json()["state"], ends.json()["approved_by"]) == ("active", one.id)
    assert refusal(await two.client.post(f"{acoustic}/end", json={"at": in_days(2)})) == (
        422,
        "ends_too_late",
    )
    assert (await two.client.delete(acoustic)).status_code == 204
    assert await state(one.client, acoustic) == "ended"
    assert refusal(await two.client.post(f"{acoustic}/end", json={})) == (409, "purpose_ended")
    assert refusal(await two.client.post(f"{acoustic}/approve")) == (409, "purpose_ended")
    # Declared anew it waits for an approval anew.
    assert (await one.client.put(acoustic, json=complete())).json()["state"] == "awaiting_approval"


@pytest.mark.parametrize(
    ("retention", "state_after"),
    [
        ({"purposes": {"acoustic_safety": 30}, "removes": True, "default_days": 900}, "active"),
        ({"purposes": {"acoustic_safety": 7}, "removes": True}, "active"),
        ({"purposes": {"acoustic_safety": 31}, "removes": True}, "awaiting_approval"),
        ({"purposes": {"acoustic_safety": 30}, "removes": False}, "incomplete"),
        ({"purposes": {}, "removes": True}, "incomplete"),
    ],
)
async def test_a_weaker_retention_takes_the_approval_away(
    folk: OrganisationPeople,
    tenant: Tenant,
    site_id: str,
    acoustic: str,
    *,
    retention: dict[str, Any],
    state_after: str,
) -> None:
    await approved(folk, tenant, site_id, acoustic)
    await kept(tenant.client, site_id, retention)
    assert await state(tenant.client, acoustic) == state_after


async def test_no_batch_is_under_way_when_a_retention_takes_an_approval(
    folk: OrganisationPeople, tenant: Tenant, database: Database, site_id: str, acoustic: str
) -> None:
    await approved(folk, tenant, site_id, acoustic)
    batch = await database.connect()
    try:
        weaker = [
            ("PATCH", f"/v1/sites/{site_id}", {"retention_days": 900}),
            ("PUT", f"/v1/sites/{site_id}/retention", {**RETENTION, "removes": False}),
        ]
        for method, path, body in weaker:
            async with batch.transaction():
                await pass_ingest_barrier(batch)
                waiting = asyncio.ensure_future(tenant.client.request(method, path, json=body))
                done, _ = await asyncio.wait([waiting], timeout=0.3)
                assert not done
            assert (await waiting).status_code == 200
    finally:
        await batch.close()
    assert await state(tenant.client, acoustic) == "incomplete"


async def test_the_default_days_of_a_site_are_its_retention_too(
    folk: OrganisationPeople, tenant: Tenant, site_id: str, acoustic: str
) -> None:
    one, two = await folk.join("Ada", "owner"), await folk.join("Bea", "owner")
    await kept(tenant.client, site_id, {"default_days": 30, "removes": True})
    (await one.client.put(acoustic, json=complete())).raise_for_status()
    (await two.client.post(f"{acoustic}/approve")).raise_for_status()
    (await tenant.client.patch(f"/v1/sites/{site_id}", json={"retention_days": 31})).raise_for_status()
    assert await state(tenant.client, acoustic) == "awaiting_approval"


@pytest.mark.parametrize(
    ("purpose", "body", "code"),
    [
        ("acoustic_safety", {"ends_at": in_days(5 * 366 + 2)}, "ends_too_late"),
        ("acoustic_safety", {"open_data": True}, "not_open"),
        ("acoustic_safety", {"ends_at": in_days(-1)}, "expired"),
        ("noise", {"starts_at": in_days(3), "ends_at": in_days(2)}, "range_reversed"),
        ("noise", {"description": "a\u202eb"}, "invalid_text"),
        ("noise", {"legal_basis": "because"}, None),
        ("noise", {"state": "active"}, None),
    ],
)
async def test_declarations_that_contradict_themselves(
    tenant: Tenant, site_id: str, purpose: str, body: dict[str, Any], code: str | None
) -> None:
    answer = await tenant.client.put(f"/v1/sites/{site_id}/purposes/{purpose}", json=body)
    assert answer.status_code == 422
    assert code is None or code in answer.text


async def test_an_environmental_one_is_completed_ended_and_declared_anew(
    tenant: Tenant, site_id: str
) -> None:
    path, client = f"/v1/sites/{site_id}/purposes/noise", tenant.client
    seen = await client.get(path)
    done = await client.patch(path, json={"controller": "City"}, headers={"If-Match": seen.headers["ETag"]})
    assert (done.json()["controller"], done.json()["state"]) == ("City", "active")
    stale = await client.patch(path, json={"controller": "X"}, headers={"If-Match": seen.headers["ETag"]})
    assert refusal(stale) == (412, "precondition_failed")
    assert refusal(await client.post(f"{path}/approve")) == (403, "person_required")
    assert (await client.post(f"{path}/end", json={})).json()["state"] == "ended"
    anew = (await client.put(path, json={"description": "Anew"})).json()
    # Nothing is taken of the time in which it had ended.
    assert (anew["state"], anew["starts_at"] is not None) == ("active", True)
    # Nor by saying it once more, or by taking the beginning away.
    again = [
        await client.put(path, json={"description": "Anew"}),
        await client.patch(path, json={"starts_at": None}),
        await client.patch(path, json={"starts_at": in_days(-30)}),
    ]
    assert [each.json()["starts_at"] for each in again] == [anew["starts_at"]] * 3
    later = await client.put(path, json={"starts_at": in_days(1)})
    assert later.json()["state"] == "upcoming"


async def test_what_is_not_there_or_another_tenants(
    tenant: Tenant, other_tenant: Tenant, site_id: str, acoustic: str
) -> None:
    assert (await tenant.client.get(f"/v1/sites/{site_id}/purposes/espionage")).status_code == 404
    for method, path in (("PATCH", acoustic), ("POST", f"{acoustic}/end"), ("DELETE", acoustic)):
        answer = await tenant.client.request(method, path, json=None if method == "DELETE" else {})
        assert answer.status_code == 404, method
    assert (await other_tenant.client.get(acoustic)).status_code == 404
    assert (await other_tenant.client.put(acoustic, json=complete())).status_code == 404


async def test_it_is_in_the_log_without_the_contact(tenant: Tenant, acoustic: str) -> None:
    (await tenant.client.put(acoustic, json=complete())).raise_for_status()
    (await tenant.client.delete(acoustic)).raise_for_status()
    log = (await tenant.client.get("/v1/audit?action=site_purpose.created")).json()["data"]
    assert [entry["subject"]["name"] for entry in log] == ["acoustic_safety"]
    changed = (await tenant.client.get("/v1/audit?action=site_purpose.updated")).json()["data"]
    assert len(changed) == 1
    assert "privacy@example.com" not in str(log) + str(changed)


async def _list_declared(client: httpx.AsyncClient, **query: str | int) -> list[tuple[str, str]]:
    """All pages of the list of all sites, each row as its site and its purpose."""
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get("/v1/site-purposes", params={"limit": 2, **query, **cursor})
        page = answer.raise_for_status().json()
        assert len(page["data"]) == 2 or page["next"] is None
        rows += page["data"]
        if page["next"] is None:
            return [(row["site_id"], row["purpose"]) for row in rows]
        cursor = {"cursor": page["next"]}


async def test_the_purposes_of_all_sites_are_listed_by_state(
    folk: OrganisationPeople, tenant: Tenant, other_tenant: Tenant, site_id: str, acoustic: str
) -> None:
    one, two = await folk.join("Ada", "operator"), await folk.join("Bea", "owner")
    place = {**STREET, "name": "Quai"}
    quay = (await tenant.client.post("/v1/sites", json=place)).raise_for_status().json()["id"]
    cameras = f"/v1/sites/{site_id}/purposes/video_analytics"
    shots = f"/v1/sites/{quay}/purposes/acoustic_safety"
    await kept(tenant.client, quay)
    # Days by purpose, days for all, and none for this one.
    await kept(tenant.client, site_id, {"default_days": 40, "purposes": {"noise": None}, "removes": True})
    for path, body in ((acoustic, complete()), (shots, complete()), (cameras, {"legal_basis": "consent"})):
        (await one.client.put(path, json=body)).raise_for_status()
    (await two.client.post(f"{shots}/approve")).raise_for_status()
    (
        await one.client.patch(f"/v1/sites/{quay}/purposes/noise", json={"starts_at": in_days(9)})
    ).raise_for_status()
    (await one.client.post(f"/v1/sites/{quay}/purposes/odour/end", json={})).raise_for_status()
    states: dict[str, set[tuple[str, str]]] = {}
    for site in (site_id, quay):
        for each in (await tenant.client.get(f"/v1/sites/{site}/purposes")).json()["data"]:
            states.setdefault(each["state"], set()).add((site, each["purpose"]))
    del states["not_declared"]
    assert states["awaiting_approval"] == {(site_id, "acoustic_safety")}
    assert states["incomplete"] == {(site_id, "video_analytics")}
    assert states.keys() == {"awaiting_approval", "incomplete", "upcoming", "active", "ended"}
    for name, wanted in states.items():
        listed = await _list_declared(tenant.client, state=name)
        assert sorted(listed) == sorted(wanted), name
    everything = await _list_declared(tenant.client)
    assert sorted(everything) == sorted(each for found in states.values() for each in found)
    (named,) = {site for site, _ in await _list_declared(tenant.client, q="quai")}
    assert named == quay
    row = (await tenant.client.get("/v1/site-purposes?state=incomplete")).json()["data"][0]
    alone = (await tenant.client.get(cameras)).json()
    assert {name: row[name] for name in alone} == alone
    assert row["timezone"] == STREET["timezone"]
    # An entry that says "for ever" is no limit, whatever the default is.
    await kept(
        tenant.client, site_id, {"default_days": 40, "purposes": {"acoustic_safety": None}, "removes": True}
    )
    assert await _list_declared(tenant.client, state="awaiting_approval") == []
    assert (site_id, "acoustic_safety") in await _list_declared(tenant.client, state="incomplete")
    assert await _list_declared(other_tenant.client) == []
    limited = await folk.join("Vera", "viewer", site_ids=[quay])
    assert {site for site, _ in await _list_declared(limited.client)} == {quay}
    assert (await tenant.client.get("/v1/site-purposes?state=not_declared")).status_code == 422
