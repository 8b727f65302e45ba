"""Sites over REST, on a real database."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.http.contract.fields import list_timezones
from tests.conftest import Tenant

SITE = {
    "name": "Quai de la Daurade",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4396, 43.6009]},
}


async def test_a_site_is_made_read_changed_and_deleted(tenant: Tenant) -> None:
    made = await tenant.client.post("/v1/sites", json={**SITE, "retention_days": 365})
    assert made.status_code == 201, made.text
    site = made.json()
    assert {name: site[name] for name in SITE} == SITE
    assert site["retention_days"] == 365
    assert site["organisation_id"] == tenant.id
    assert site["created_at"].endswith("Z")
    url = f"/v1/sites/{site['id']}"
    assert (await tenant.client.get(url)).json() == site
    place = {"type": "Point", "coordinates": [1.5, 43.7]}
    changed = (await tenant.client.patch(url, json={"location": place, "retention_days": None})).json()
    assert changed["location"] == place
    assert changed["retention_days"] is None
    assert changed["name"] == SITE["name"]
    assert (await tenant.client.patch(url, json={})).json() == changed
    assert [row["id"] for row in (await tenant.client.get("/v1/sites")).json()["data"]] == [site["id"]]
    assert (await tenant.client.delete(url)).status_code == 204
    assert (await tenant.client.get(url)).status_code == 404
    assert (await tenant.client.delete(url)).status_code == 404


async def _rule(tenant: Tenant, site_id: str) -> httpx.Response:
    condition = {"boxes": {"metric": "pm2_5", "operator": ">", "threshold": 25}, "at_least": 1}
    body = {"site_id": site_id, "name": "Dust", "severity": "warning", "condition": condition}
    return await tenant.client.post("/v1/rules", json=body)


async def test_a_site_with_rules_stays_so_that_every_alert_is_ended(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    client = tenant.client
    rule = (await _rule(tenant, site_id)).raise_for_status().json()["id"]
    (await client.post("/v1/boxes", json={"id": "box", "site_id": site_id})).raise_for_status()
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 30}}
    (await client.post("/v1/telemetry", json={"box": "box", "samples": [sample]})).raise_for_status()
    # The last box moves on, and the alert of the site as a whole fires still.
    other = (await client.post("/v1/sites", json=SITE)).raise_for_status().json()["id"]
    (await client.patch("/v1/boxes/box", json={"site_id": other})).raise_for_status()
    (alert,) = (await client.get("/v1/alerts")).json()["data"]
    assert (alert["state"], alert["box"]) == ("firing", None)
    url = f"/v1/sites/{site_id}"
    refused = await client.delete(url)
    assert (refused.status_code, refused.json()["code"]) == (409, "site_has_rules")
    (await client.delete(f"/v1/rules/{rule}")).raise_for_status()
    assert (await client.delete(url)).status_code == 204
    assert (await client.get("/v1/alerts")).json()["data"] == []
    async with database.read() as session:
        told = (await session.scalars(text("SELECT type FROM outbox ORDER BY position"))).all()
    assert told == ["alert.firing", "alert.resolved"]


async def test_a_rule_that_is_made_meanwhile_keeps_the_site_or_finds_none(tenant: Tenant) -> None:
    for _ in range(5):
        site_id = (await tenant.client.post("/v1/sites", json=SITE)).raise_for_status().json()["id"]
        made, gone = await asyncio.gather(
            _rule(tenant, site_id), tenant.client.delete(f"/v1/sites/{site_id}")
        )
        assert (made.status_code, gone.status_code) in {(201, 409), (404, 204)}
        assert gone.status_code == 204 or gone.json()["code"] == "site_has_rules"


async def test_another_organisations_site_does_not_exist(
    api: httpx.AsyncClient, site_id: str, other_tenant: Tenant
) -> None:
    url = f"/v1/sites/{site_id}"
    client = other_tenant.client
    assert (await client.get(url)).status_code == 404
    assert (await client.patch(url, json={"name": "mine"})).status_code == 404
    assert (await client.delete(url)).status_code == 404
    assert (await client.get("/v1/sites")).json() == {"data": [], "next": None}
    assert (await api.get(url)).status_code == 200


async def test_an_administrator_makes_a_site_for_an_organisation(
    api: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = (await api.post("/v1/sites", json={**SITE, "organisation_id": tenant.id})).json()
    assert made["organisation_id"] == tenant.id
    own = (await api.post("/v1/sites", json={**SITE, "kind": "office"})).json()
    assert own["organisation_id"] != tenant.id
    of_tenant = (await api.get("/v1/sites", params={"organisation": tenant.id})).json()["data"]
    assert [row["id"] for row in of_tenant] == [made["id"]]
    offices = (await api.get("/v1/sites", params={"kind": "office"})).json()["data"]
    assert [row["id"] for row in offices] == [own["id"]]


def point(*coordinates: object) -> dict[str, object]:
    return {"type": "Point", "coordinates": list(coordinates)}


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"location": point(181, 0)}, 422, "location_out_of_range"),
        ({"location": point(0, -90.01)}, 422, "location_out_of_range"),
        ({"location": point(0)}, 422, "invalid_value"),
        ({"location": point("1", 2)}, 422, "wrong_type"),
        ({"location": point(True, 2)}, 422, "wrong_type"),
        ({"location": {"coordinates": [1, 2]}}, 422, "missing_field"),
        ({"location": {"type": "Polygon", "coordinates": [1, 2]}}, 422, "invalid_value"),
        ({"location": None}, 422, "wrong_type"),
        ({"timezone": "Mars/Olympus"}, 422, "unknown_timezone"),
        ({"timezone": "../../etc/passwd"}, 422, "unknown_timezone"),
        ({"timezone": "europe/paris"}, 422, "unknown_timezone"),
        ({"kind": "Street"}, 422, "invalid_kind"),
        ({"kind": "a" * 33}, 422, "invalid_kind"),
        ({"name": ""}, 422, "invalid_text"),
        ({"name": " \u00a0"}, 422, "invalid_text"),
        ({"name": "a\u202eb"}, 422, "invalid_text"),
        ({"name": "a\x00b"}, 422, "nul_in_text"),
        ({"name": "e\u0301"}, 422, "name_not_normalised"),
        ({"name": "x" * 201}, 413, "text_too_long"),
        ({"name": 7}, 422, "wrong_type"),
        ({"retention_days": 0}, 422, "invalid_value"),
        ({"retention_days": 36_501}, 422, "invalid_value"),
        ({"retention_days": 1.5}, 422, "wrong_type"),
        ({"retention_days": True}, 422, "wrong_type"),
        ({"colour": "blue"}, 422, "unknown_field"),
        ({"organisation_id": "nobody"}, 422, "wrong_type"),
    ],
)
async def test_a_faulty_site_is_refused_with_its_code(
    tenant: Tenant, site_id: str, change: dict[str, Any], status: int, code: str
) -> None:
    answer = await tenant.client.post("/v1/sites", json={**SITE, **change})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    if "organisation_id" not in change:
        answer = await tenant.client.patch(f"/v1/sites/{site_id}", json=change)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_null_is_no_way_to_leave_out_a_field_of_a_patch(tenant: Tenant, site_id: str) -> None:
    answer = await tenant.client.patch(f"/v1/sites/{site_id}", json={"name": None})
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_type")


@pytest.mark.parametrize("identifier", ["nope", "%00", "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10", "a" * 500])
async def test_what_is_no_site_is_not_found(tenant: Tenant, identifier: str) -> None:
    for method in ("GET", "DELETE"):
        answer = await tenant.client.request(method, f"/v1/sites/{identifier}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_catalogue_names_units_and_bounds(tenant: Tenant) -> None:
    answer = (await tenant.client.get("/v1/metrics")).json()
    assert answer["next"] is None
    entries = {entry["name"]: entry for entry in answer["data"]}
    assert entries["pm2_5"]["unit"] == "µg/m³"
    assert entries["laeq"]["kind"] == "level"
    assert entries["temperature"]["minimum"] < -40
    assert set(entries["co2"]) == {
        "name",
        "unit",
        "description",
        "description_fr",
        "minimum",
        "maximum",
        "kind",
        "units",
    }
    assert entries["co2"]["units"][0] == {"unit": "ppm", "factor": 1.0}


async def test_every_time_zone_that_is_taken_is_known_to_the_database(database: Database) -> None:
    async with database.read() as session:
        known = set(await session.scalars(text("SELECT name FROM pg_timezone_names")))
    assert list_timezones() - known == set()
