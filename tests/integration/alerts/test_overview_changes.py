"""`GET /v1/overview/changes`: what changed, the newest first."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.platform.kernel.ids import new_id
from tests.conftest import Tenant, client_of
from tests.integration.alerts.test_overview import SITE
from tests.integration.alerts.watched import WatchedAlerts, add_box

STREET = "Rue d'Alsace-Lorraine"


async def read_changes(watched: WatchedAlerts, **params: str) -> dict[str, Any]:
    answer = await watched.client.get("/v1/overview/changes", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    times = [change["at"] for change in found["data"]]
    assert times == sorted(times, reverse=True)
    return found


def of_kind(found: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [change for change in found["data"] if change["kind"] == kind]


async def test_it_tells_the_life_of_an_alert(watched: WatchedAlerts) -> None:
    await watched.send((1, 30), (3, 31))
    alert = await watched.alert()
    (await watched.client.post(f"/v1/alerts/{alert['id']}/acknowledge")).raise_for_status()
    await watched.send((5, 10))
    found = await read_changes(watched)
    kinds = [change["kind"] for change in found["data"]]
    assert kinds == ["alert.resolved", "alert.acknowledged", "alert.firing", "rule.created"]
    fired = found["data"][2]
    assert fired["subject"] == {"kind": "alert", "id": alert["id"], "name": "Dust"}
    assert fired["site"] == {"id": watched.site_id, "name": STREET, "timezone": "Europe/Paris"}
    assert (fired["severity"], found["truncated"]) == ("warning", False)
    assert "PM2.5" in fired["sentence"]
    french = of_kind(await read_changes(watched, language="fr"), "alert.firing")[0]["sentence"]
    assert "au-dessus de 25" in french
    assert "above 25" in fired["sentence"]


async def test_it_tells_who_changed_a_rule(watched: WatchedAlerts) -> None:
    path = f"/v1/rules/{watched.rule_id}"
    (await watched.client.patch(path, json={"name": "Fine dust"})).raise_for_status()
    (await watched.client.delete(path)).raise_for_status()
    found = await read_changes(watched)
    assert [change["kind"] for change in found["data"]] == ["rule.deleted", "rule.changed", "rule.created"]
    changed = found["data"][1]
    assert changed["subject"] == {"kind": "rule", "id": watched.rule_id, "name": "Fine dust"}
    assert changed["sentence"].endswith(" changed the rule “Fine dust”")
    assert changed["severity"] is None


async def test_it_tells_of_boxes(watched: WatchedAlerts, connection: asyncpg.Connection) -> None:
    gone, here = (f"change-{new_id().hex[-12:]}" for _ in range(2))
    new = f"change-{new_id().hex[-12:]}"
    for box in (gone, here, new):
        await add_box(watched, box)
    await connection.execute("UPDATE boxes SET created_at = now() - interval '6 hours' WHERE id = $1", new)
    await connection.execute(
        "UPDATE box_states SET last_sample_at = now() - interval '5 hours' "
        "WHERE box_key = (SELECT key FROM boxes WHERE id = $1)",
        gone,
    )
    await connection.execute(
        "UPDATE boxes SET state = 'online', state_at = now() - interval '1 hour' WHERE id = $1", here
    )
    found = await read_changes(watched)
    (silent, unheard), (online,) = of_kind(found, "box.silent"), of_kind(found, "box.online")
    assert unheard["sentence"] == f"Box {new} ({STREET}) has not sent measurements yet"
    assert silent["subject"] == {"kind": "box", "id": gone, "name": None}
    assert silent["sentence"] == f"Box {gone} ({STREET}) sends nothing any more"
    assert online["sentence"] == f"Box {here} ({STREET}) is online"
    # It became silent some intervals after its last sample.
    became = datetime.fromisoformat(silent["at"])
    assert timedelta(hours=4, minutes=30) < datetime.now(UTC) - became < timedelta(hours=5)
    later = await read_changes(watched, since=(datetime.now(UTC) - timedelta(hours=2)).isoformat())
    assert of_kind(later, "box.silent") == []
    assert len(of_kind(later, "box.online")) == 1


async def test_it_tells_of_endpoints_and_incidents(
    watched: WatchedAlerts, connection: asyncpg.Connection, application: FastAPI
) -> None:
    owner = await connection.fetchval("SELECT organisation_id FROM sites WHERE id = $1", watched.site_id)
    endpoint, incident = str(new_id()), str(new_id())
    events = [
        (
            "endpoint.disabled",
            None,
            {"endpoint_id": endpoint, "reason": "gone", "target": "https://hooks.example.com"},
        ),
        ("incident.detected", watched.site_id, {"incident_id": incident, "site_name": STREET, "classes": []}),
        ("rights.received", None, {"request_id": str(new_id()), "reference": "R-1"}),
    ]
    for type_, site, payload in events:
        await connection.execute(
            "INSERT INTO outbox (id, organisation_id, site_id, type, payload, created_at) "
            "VALUES ($1, $2, $3, $4, $5, now())",
            new_id(),
            owner,
            site,
            type_,
            json.dumps(payload),
        )
    found = await read_changes(watched)
    (disabled,), (detected,) = of_kind(found, "endpoint.disabled"), of_kind(found, "incident.detected")
    assert disabled["subject"] == {"kind": "endpoint", "id": endpoint, "name": "https://hooks.example.com"}
    assert (disabled["site"], detected["subject"]["id"]) == (None, incident)
    assert "hooks.example.com" in disabled["sentence"]
    assert STREET in detected["sentence"]
    assert of_kind(found, "rights.received") == []
    made = (await watched.client.post("/v1/api-keys", json={"name": "x", "scopes": ["alerts:read"]})).json()
    async with client_of(application, made["key"]) as narrow:
        assert (await narrow.get("/v1/overview/changes")).json()["data"] == []


async def test_the_list_is_bounded(watched: WatchedAlerts) -> None:
    path = f"/v1/rules/{watched.rule_id}"
    for number in range(101):
        (await watched.client.patch(path, json={"name": f"Dust {number}"})).raise_for_status()
    found = await read_changes(watched)
    assert (len(found["data"]), found["truncated"]) == (100, True)
    assert found["data"][0]["subject"]["name"] == "Dust 100"
    next_ = await read_changes(watched, since=found["as_of"])
    assert (next_["data"], next_["truncated"]) == ([], False)


async def test_it_reaches_a_week_back(watched: WatchedAlerts) -> None:
    found = await read_changes(watched, since="2020-01-01T00:00:00Z")
    reached = datetime.fromisoformat(found["as_of"]) - datetime.fromisoformat(found["since"])
    assert reached == timedelta(days=7)
    day = await read_changes(watched)
    assert datetime.fromisoformat(day["as_of"]) - datetime.fromisoformat(day["since"]) == timedelta(hours=24)


@pytest.mark.parametrize("given", [{"since": "yesterday"}, {"language": "de"}, {"until": "x"}])
async def test_other_parameters_are_refused(watched: WatchedAlerts, given: dict[str, str]) -> None:
    assert (await watched.client.get("/v1/overview/changes", params=given)).status_code in {400, 422}


async def test_a_caller_reads_changes_of_its_own_scope(
    watched: WatchedAlerts, application: FastAPI, other_tenant: Tenant, api: httpx.AsyncClient
) -> None:
    await watched.send((1, 30), (3, 31))
    other = (await watched.client.post("/v1/sites", json=SITE)).json()["id"]
    key = {"name": "one", "scopes": ["alerts:read", "rules:read", "sites:read"], "site_ids": [other]}
    made = (await watched.client.post("/v1/api-keys", json=key)).json()
    async with client_of(application, made["key"]) as limited:
        assert (await limited.get("/v1/overview/changes")).json()["data"] == []
    assert (await other_tenant.client.get("/v1/overview/changes")).json()["data"] == []
    owner = (await watched.client.get(f"/v1/sites/{watched.site_id}")).json()["organisation_id"]
    found = (await api.get("/v1/overview/changes", params={"organisation": owner})).json()["data"]
    assert [change["kind"] for change in found] == ["alert.firing", "rule.created"]
