"""Boxes over REST, on a real database and a real broker."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant, client_of
from tests.integration.registry.links import can_connect


async def make(tenant: Tenant, site_id: str, identifier: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    answer = await tenant.client.post("/v1/boxes", json={"id": identifier, "site_id": site_id, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_box_connects_as_soon_as_it_is_made_and_no_longer_once_it_is_deleted(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    made = await make(tenant, site_id, "box-0001", name="North", interval_s=30)
    first = made.pop("credentials")
    assert first["username"] == "box-0001"
    assert await can_connect(mosquitto, **first)
    assert not await can_connect(mosquitto, "box-0001", "wrong")
    assert (await tenant.client.get("/v1/boxes/box-0001")).json() == made
    assert made["interval_s"] == 30
    assert (made["ack"], made["state"], made["last_sample_at"]) == (False, None, None)

    second = (await tenant.client.post("/v1/boxes/box-0001/credentials")).json()["credentials"]
    assert await can_connect(mosquitto, **second)
    assert not await can_connect(mosquitto, **first)

    assert (await tenant.client.delete("/v1/boxes/box-0001")).status_code == 204
    assert not await can_connect(mosquitto, **second)
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/credentials"),
        ("GET", "/latest"),
        ("GET", "/events"),
    ):
        answer = await tenant.client.request(
            method, f"/v1/boxes/box-0001{path}", json={} if method == "PATCH" else None
        )
        assert answer.status_code == 404, (method, path)

    again = await make(tenant, site_id, "box-0001")
    assert await can_connect(mosquitto, **again["credentials"])


async def test_the_static_accounts_stay_and_the_files_rights_too(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    before = mosquitto.password_file.stat()
    await make(tenant, site_id, "box-0001")
    after = mosquitto.password_file.stat()
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
    assert before.st_ino != after.st_ino
    assert await can_connect(mosquitto, "gateway", "gateway-password")


async def test_boxes_made_at_once_all_connect(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    made = await asyncio.gather(*(make(tenant, site_id, f"at-once-{number}") for number in range(12)))
    for box in made:
        assert await can_connect(mosquitto, **box["credentials"])


async def test_bulk_makes_all_or_none(tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto) -> None:
    boxes = [{"id": f"bulk-{number}", "site_id": site_id} for number in range(50)]
    answer = await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})
    assert answer.status_code == 201, answer.text
    data = answer.json()["data"]
    assert [box["id"] for box in data] == [box["id"] for box in boxes]
    assert await can_connect(mosquitto, **data[17]["credentials"])

    taken = [{"id": "new-1", "site_id": site_id}, {"id": "bulk-7", "site_id": site_id}]
    answer = await tenant.client.post("/v1/boxes/bulk", json={"boxes": taken})
    assert (answer.status_code, answer.json()["code"], answer.json()["index"]) == (409, "box_exists", 1)
    twice = [{"id": "new-1", "site_id": site_id}, {"id": "new-1", "site_id": site_id}]
    answer = await tenant.client.post("/v1/boxes/bulk", json={"boxes": twice})
    assert (answer.status_code, answer.json()["code"], answer.json()["index"]) == (409, "box_exists", 1)
    nowhere = [
        {"id": "new-1", "site_id": site_id},
        {"id": "new-2", "site_id": "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"},
    ]
    answer = await tenant.client.post("/v1/boxes/bulk", json={"boxes": nowhere})
    assert (answer.status_code, answer.json()["index"]) == (404, 1)
    odd = [{"id": "new-1", "site_id": site_id}, {"id": "new/2", "site_id": site_id}]
    answer = await tenant.client.post("/v1/boxes/bulk", json={"boxes": odd})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_box_id")
    assert answer.json()["errors"][0]["field"] == "body.boxes.1.id"
    assert (await tenant.client.get("/v1/boxes/new-1")).status_code == 404
    for count, code in ((0, "empty_batch"), (1001, "too_many_boxes")):
        many = [{"id": f"many-{number}", "site_id": site_id} for number in range(count)]
        answer = await tenant.client.post("/v1/boxes/bulk", json={"boxes": many})
        assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize(
    "identifier", ["", "a b", "a+b", "a/b", "#", "$SYS", "é", "a" * 65, "a\n", "a\u202eb", "a\x00"]
)
async def test_an_odd_id_is_refused(tenant: Tenant, site_id: str, identifier: str) -> None:
    answer = await tenant.client.post("/v1/boxes", json={"id": identifier, "site_id": site_id})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_box_id")


@pytest.mark.parametrize("identifier", ["gateway", "ingest", "vigie-ingest"])
async def test_the_brokers_own_accounts_are_no_boxes(tenant: Tenant, site_id: str, identifier: str) -> None:
    answer = await tenant.client.post("/v1/boxes", json={"id": identifier, "site_id": site_id})
    assert (answer.status_code, answer.json()["code"]) == (409, "box_exists")


async def test_another_organisations_boxes_do_not_exist(
    application: FastAPI, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    await make(tenant, site_id, "box-0001")
    client = other_tenant.client
    assert (await client.get("/v1/boxes/box-0001")).status_code == 404
    assert (await client.delete("/v1/boxes/box-0001")).status_code == 404
    assert (await client.post("/v1/boxes/box-0001/credentials")).status_code == 404
    assert (await client.get("/v1/boxes")).json()["data"] == []
    answer = await client.post("/v1/boxes", json={"id": "box-0002", "site_id": site_id})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    async with client_of(application, None) as nobody:
        assert (await nobody.post("/v1/boxes", content=b"")).status_code == 401


async def test_boxes_are_listed_by_site_state_and_text(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    for identifier, name in (("a-1", "North 100%"), ("a-2", None), ("b-1", "Southgate")):
        await make(tenant, site_id, identifier, name=name)
    async with database.write() as session:
        await session.execute(text("UPDATE boxes SET state = 'online' WHERE id = 'a-2'"))

    async def ids(**params: str | int) -> list[str]:
        answer = await tenant.client.get("/v1/boxes", params=params)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["data"]]

    assert await ids() == ["a-1", "a-2", "b-1"]
    assert await ids(site=site_id) == ["a-1", "a-2", "b-1"]
    assert await ids(site="01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10") == []
    assert await ids(state="online") == ["a-2"]
    assert await ids(state="unknown") == ["a-1", "b-1"]
    assert await ids(q="A-") == ["a-1", "a-2"]
    assert await ids(q="south") == ["b-1"]
    assert await ids(q="%") == ["a-1"]
    page = (await tenant.client.get("/v1/boxes", params={"limit": 2})).json()
    assert await ids(limit=2, cursor=page["next"]) == ["b-1"]
    for params in ({"site": "nope"}, {"state": "dead"}, {"q": "a\x00"}, {"cursor": "W10"}, {"limit": -1}):
        assert (await tenant.client.get("/v1/boxes", params=params)).status_code == 422


async def test_a_box_changes_and_moves(tenant: Tenant, other_tenant: Tenant, site_id: str) -> None:
    await make(tenant, site_id, "box-0001", name="North")
    place = {"type": "Point", "coordinates": [1.5, 43.7]}
    answer = await tenant.client.patch(
        "/v1/boxes/box-0001", json={"location": place, "ack": True, "name": None}
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["location"], answer.json()["ack"], answer.json()["name"]) == (place, True, None)
    body = {"name": "Other", "kind": "office", "timezone": "UTC", "location": place}
    there = (await tenant.client.post("/v1/sites", json=body)).json()["id"]
    foreign = (await other_tenant.client.post("/v1/sites", json=body)).json()["id"]
    assert (await tenant.client.patch("/v1/boxes/box-0001", json={"site_id": foreign})).status_code == 404
    moved = (await tenant.client.patch("/v1/boxes/box-0001", json={"site_id": there, "interval_s": 5})).json()
    assert (moved["site_id"], moved["interval_s"], moved["location"]) == (there, 5, place)
    for change in ({"interval_s": 0}, {"interval_s": 604_801}, {"ack": 1}, {"id": "x"}, {"site_id": None}):
        assert (await tenant.client.patch("/v1/boxes/box-0001", json=change)).status_code == 422


async def test_moving_or_deleting_a_box_closes_its_alerts(tenant: Tenant, site_id: str) -> None:
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    rule = {"site_id": site_id, "name": "r", "severity": "warning", "condition": condition}
    (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()
    body = {
        "name": "Other",
        "kind": "office",
        "timezone": "UTC",
        "location": {"type": "Point", "coordinates": [1, 2]},
    }
    there = (await tenant.client.post("/v1/sites", json=body)).json()["id"]
    for identifier in ("moves", "goes"):
        await make(tenant, site_id, identifier)
        sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 30}}
        sent = await tenant.client.post("/v1/telemetry", json={"box": identifier, "samples": [sample]})
        assert sent.json()["stored"] == 1, sent.text
    firing = (await tenant.client.get("/v1/alerts", params={"state": "firing"})).json()["data"]
    assert {alert["box"] for alert in firing} == {"moves", "goes"}
    (await tenant.client.patch("/v1/boxes/moves", json={"site_id": there})).raise_for_status()
    (await tenant.client.delete("/v1/boxes/goes")).raise_for_status()
    alerts = (await tenant.client.get("/v1/alerts")).json()["data"]
    assert {alert["box"]: alert["state"] for alert in alerts} == {"moves": "resolved", "goes": "resolved"}
    assert {alert["box"]: alert["resolution"] for alert in alerts} == {
        "moves": "box_moved",
        "goes": "box_deleted",
    }


async def test_a_site_with_boxes_stays(tenant: Tenant, site_id: str, database: Database) -> None:
    await make(tenant, site_id, "box-0001")
    answer = await tenant.client.delete(f"/v1/sites/{site_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "site_not_empty")
    await tenant.client.delete("/v1/boxes/box-0001")
    answer = await tenant.client.delete(f"/v1/sites/{site_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "site_not_empty")
    async with database.write() as session:
        await session.execute(text("DELETE FROM boxes WHERE deleted_at IS NOT NULL"))
    assert (await tenant.client.delete(f"/v1/sites/{site_id}")).status_code == 204


async def test_an_administrator_makes_a_box_for_a_client(
    api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    body = {"id": "box-0001", "site_id": site_id}
    wrong = await api.post("/v1/boxes", json={**body, "organisation_id": other_tenant.id})
    assert wrong.status_code == 404
    made = await api.post("/v1/boxes", json={**body, "organisation_id": tenant.id})
    assert made.status_code == 201
    assert made.json()["organisation_id"] == tenant.id
