"""`GET /v1/overview/boxes`: all boxes with places and states, by column."""

import gzip
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI

from app.platform.kernel.ids import new_id
from tests.conftest import Tenant, client_of
from tests.integration.alerts.test_overview import SITE
from tests.integration.alerts.watched import CONDITION, WatchedAlerts, add_box

STATES = ["active", "refused", "silent", "never_heard", "alert_info", "alert_warning", "alert_critical"]
AT_ONCE = CONDITION | {"for": "PT0S"}


async def read_map(watched: WatchedAlerts) -> dict[str, Any]:
    answer = await watched.client.get("/v1/overview/boxes")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert {len(found[name]) for name in ("labels", "site", "longitude", "latitude", "state")} == {
        len(found["ids"])
    }
    return found


def states(found: dict[str, Any]) -> dict[str, str]:
    return {box: found["states"][number] for box, number in zip(found["ids"], found["state"], strict=True)}


async def age(connection: asyncpg.Connection, box: str) -> None:
    await connection.execute("UPDATE boxes SET created_at = now() - interval '2 days' WHERE id = $1", box)


async def test_each_box_has_a_place_a_name_and_a_site(watched: WatchedAlerts) -> None:
    named = f"map-{new_id().hex[-12:]}"
    place = {"type": "Point", "coordinates": [1.5, 43.25]}
    body = {"id": named, "site_id": watched.site_id, "name": "North crossing", "location": place}
    (await watched.client.post("/v1/boxes", json=body)).raise_for_status()
    found = await read_map(watched)
    assert (found["ids"], found["labels"]) == ([watched.box, named], [watched.box, "North crossing"])
    assert (found["states"], found["total"]) == (STATES, 2)
    (site,) = found["sites"]
    assert (site["id"], site["name"], site["state"]) == (watched.site_id, "Rue d'Alsace-Lorraine", 0)
    assert found["site"] == [0, 0]
    assert found["longitude"] == [site["longitude"], 1.5]
    assert found["latitude"] == [site["latitude"], 43.25]
    assert found["as_of"].endswith("Z")


async def test_the_worst_state_counts(watched: WatchedAlerts, connection: asyncpg.Connection) -> None:
    names = [f"map-{new_id().hex[-12:]}" for _ in range(3)]
    for name in names:
        await add_box(watched, name)
        await age(connection, name)
    never, silent, refused = names
    key = "(SELECT key FROM boxes WHERE id = $1)"
    await connection.execute(
        f"UPDATE box_states SET last_sample_at = now() - interval '1 day' WHERE box_key = {key}",  # noqa: S608
        silent,
    )
    await connection.execute(
        f"INSERT INTO box_refusals (box_key, refused_at, code) VALUES ({key}, now(), 'not_finite')",  # noqa: S608
        refused,
    )
    before = states(await read_map(watched))
    assert before == {watched.box: "active", never: "never_heard", silent: "silent", refused: "refused"}
    await watched.rule(name="A little", severity="info", condition=AT_ONCE)
    await watched.rule(name="On trial", severity="critical", dry_run=True, condition=AT_ONCE)
    await watched.send((1, 30), box=silent)
    assert states(await read_map(watched)) == before | {silent: "alert_info"}
    await watched.rule(name="Much", severity="critical", condition=AT_ONCE)
    await watched.send((2, 31), box=silent)
    assert states(await read_map(watched))[silent] == "alert_critical"
    await watched.send((3, 1), box=silent)
    assert states(await read_map(watched))[silent] == "active"


async def test_an_alert_on_a_whole_site_is_one_of_the_site(
    watched: WatchedAlerts, connection: asyncpg.Connection
) -> None:
    await watched.send((1, 30), (3, 31))
    await connection.execute(
        "UPDATE alerts SET box_key = NULL, box = NULL WHERE rule_id = $1", watched.rule_id
    )
    found = await read_map(watched)
    assert STATES[found["sites"][0]["state"]] == "alert_warning"
    assert states(found) == {watched.box: "active"}


async def test_a_map_without_changes_is_304(watched: WatchedAlerts) -> None:
    await watched.send((119, 10))
    first = await watched.client.get("/v1/overview/boxes")
    tag = first.headers["etag"]
    again = await watched.client.get("/v1/overview/boxes", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    await watched.rule(name="Much", severity="critical", condition=AT_ONCE)
    await watched.send((120, 31))
    changed = await watched.client.get("/v1/overview/boxes", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


async def test_a_large_map_is_compressed_for_who_accepts_it(watched: WatchedAlerts) -> None:
    prefix = new_id().hex[-12:]
    boxes = [{"id": f"{prefix}-{number}", "site_id": watched.site_id} for number in range(60)]
    (await watched.client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    path = "/v1/overview/boxes"
    plain = await watched.client.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    async with watched.client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as packed:
        raw = b"".join([chunk async for chunk in packed.aiter_raw()])
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == plain.headers["vary"]
    assert packed.headers["etag"] != plain.headers["etag"]
    assert len(raw) < len(plain.content) / 3
    assert b'"ids":' in gzip.decompress(raw)
    # A deleted box is on no map.
    (await watched.client.delete(f"/v1/boxes/{boxes[0]['id']}")).raise_for_status()
    assert boxes[0]["id"] not in (await read_map(watched))["ids"]


async def test_a_caller_sees_the_boxes_of_its_own_scope(
    watched: WatchedAlerts, application: FastAPI, other_tenant: Tenant
) -> None:
    other = (await watched.client.post("/v1/sites", json=SITE)).json()["id"]
    box = f"map-{new_id().hex[-12:]}"
    (await watched.client.post("/v1/boxes", json={"id": box, "site_id": other})).raise_for_status()
    key = {"name": "one site", "scopes": ["alerts:read", "sites:read"], "site_ids": [other]}
    made = (await watched.client.post("/v1/api-keys", json=key)).json()
    async with client_of(application, made["key"]) as limited:
        found = (await limited.get("/v1/overview/boxes")).json()
    assert (found["ids"], [site["id"] for site in found["sites"]]) == ([box], [other])
    foreign = (await other_tenant.client.get("/v1/overview/boxes")).json()
    assert (foreign["ids"], foreign["sites"], foreign["total"]) == ([], [], 0)
    narrow = (await watched.client.post("/v1/api-keys", json={"name": "x", "scopes": ["alerts:read"]})).json()
    async with client_of(application, narrow["key"]) as without_sites:
        assert (await without_sites.get("/v1/overview/boxes")).status_code == 403


async def test_an_administrator_reads_one_organisation(
    watched: WatchedAlerts, api: httpx.AsyncClient
) -> None:
    owner = (await read_map(watched))["sites"][0]["organisation_id"]
    found = (await api.get("/v1/overview/boxes", params={"organisation": owner})).json()
    assert found["ids"] == [watched.box]
    nobody = (await api.get("/v1/overview/boxes", params={"organisation": str(new_id())})).json()
    assert (nobody["ids"], nobody["sites"]) == ([], [])
