"""`/v1/rules/backtest`: rules tried on stored samples: what comes of it, and what is refused."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.rules.backtests import sample_reader
from tests.conftest import Tenant
from tests.integration.rules.backtesting import (
    CONDITION,
    RANGE,
    SITE,
    START,
    ask,
    box,
    rule,
    spans,
    store,
    working,
)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def test_a_rule_is_tried(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    await box(tenant, site_id, "one")
    await box(tenant, site_id, "two")
    # A peak that counts, one that came late and does not, and one that goes on.
    await store(connection, "one", [10, 30, 40, 22, 20, 50, 10], late=[5])
    await store(connection, "two", [10, 10, 10, 60])
    async with working(database):
        found = await ask(tenant, rule=rule(site_id=site_id, name="Dust"))
    assert (found["state"], found["name"], found["rule_id"]) == ("done", "Dust", None)
    assert (found["from"], found["to"]) == (RANGE["from"], RANGE["to"])
    assert found["progress"] == {
        "samples": 11,
        "samples_total": 11,
        "boxes": 2,
        "boxes_total": 2,
        "percent": 100.0,
    }
    result = found["result"]
    assert spans(result["alerts"]) == [
        ("one", "2026-03-01T00:01:00Z", "2026-03-01T00:04:00Z"),
        ("two", "2026-03-01T00:03:00Z", None),
    ]
    assert [alert["value"] for alert in result["alerts"]] == [30.0, 60.0]
    assert result["alerts"][0] == {
        "box": "one",
        "severity": "warning",
        "pending_since": "2026-03-01T00:01:00Z",
        "started_at": "2026-03-01T00:01:00Z",
        "resolved_at": "2026-03-01T00:04:00Z",
        "duration_s": 180.0,
        "value": 30.0,
        "threshold": 25.0,
        "metric": "pm2_5",
        "found_in": None,
    }
    summary = result["summary"]
    assert (summary["samples"], summary["boxes"], summary["alerts"]) == (11, 2, 2)
    assert summary["firing_s"] == 180 + 86_400 - 180
    assert summary["longest_s"] == 86_400 - 180
    assert result["against"] is None
    assert result["truncated"] == 0
    # The late sample counts neither as a value nor as time.
    assert result["coverage"] == {
        "boxes": 2,
        "boxes_with_values": 2,
        "longest_s": 420.0,
        "share": round((420 + 240) / (2 * 86_400), 6),
        "measured": [{"name": "pm2_5", "values": 10, "lowest": 10.0, "highest": 60.0, "thresholds": [25.0]}],
    }
    # Nothing came of it: no alert, nothing to tell.
    assert await connection.fetchval("SELECT count(*) FROM alerts") == 0
    assert await connection.fetchval("SELECT count(*) FROM outbox") == 0
    listed = (await tenant.client.get("/v1/rules/backtests")).json()["data"]
    assert [(each["id"], "result" in each) for each in listed] == [(found["id"], False)]
    assert (await tenant.client.get(f"/v1/rules/backtests/{found['id']}")).json() == found


async def test_only_some_boxes_and_what_the_scope_says(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    for name, tags in (("one", ["quai"]), ("two", []), ("three", ["quai"])):
        await box(tenant, site_id, name, tags=tags)
        await store(connection, name, [30, 10])
    async with working(database):
        some = await ask(tenant, rule=rule(), site_id=site_id, boxes=["one", "two"])
        scoped = await ask(tenant, rule=rule(scope={"tags": ["quai"]}), site_id=site_id)
    assert {alert["box"] for alert in some["result"]["alerts"]} == {"one", "two"}
    assert {alert["box"] for alert in scoped["result"]["alerts"]} == {"one", "three"}
    assert scoped["progress"]["boxes_total"] == 2


async def test_pages_of_any_size_give_the_same(
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [float(10 + number * 5 % 29) for number in range(400)]
    names = ["one", "two", "three"]
    for number, name in enumerate(names):
        await box(tenant, site_id, name)
        await store(connection, name, values[number * 7 :])
    asked = [
        rule(CONDITION | {"for": "PT2M"}),
        rule({"metric": "pm2_5", "operator": ">", "threshold": 24, "function": "mean", "window": "PT10M"}),
        rule({"boxes": CONDITION, "at_least": 2, "for": "PT1M"}),
        rule({"no_data": "PT5M"}),
    ]
    results = []
    async with working(database):
        for size in (10_000, 7):
            monkeypatch.setattr(sample_reader, "PAGE_LIMIT", size)
            results.append([await ask(tenant, rule=each, site_id=site_id) for each in asked])
    for whole, paged in zip(*results, strict=True):
        assert whole["result"]["alerts"] == paged["result"]["alerts"] != []
        assert whole["progress"]["samples"] == paged["progress"]["samples"] == 1179


async def test_what_was_before_the_range_is_looked_back_at(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    """As it is live, where a new rule finds its windows full."""
    await box(tenant, site_id, "one")
    await store(connection, "one", [40.0] * 30, start=START - timedelta(minutes=30))
    await store(connection, "one", [40.0, 30.0], start=START)
    mean = {"metric": "pm2_5", "operator": ">", "threshold": 25, "function": "mean", "window": "PT30M"}
    async with working(database):
        answer = await ask(tenant, rule=rule(mean), site_id=site_id)
        (alert,) = answer["result"]["alerts"]
        assert alert["started_at"] == "2026-03-01T00:00:00Z"
        silent = await ask(tenant, rule=rule({"no_data": "PT2H"}), site_id=site_id)
        assert silent["result"]["alerts"][0]["started_at"] == "2026-03-01T02:01:00Z"
        assert silent["progress"]["samples"] == 2


async def test_rules_on_a_whole_site_on_silence_and_on_events(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    await box(tenant, site_id, "one")
    await box(tenant, site_id, "two", attributes={"limit": 40})
    await store(connection, "one", [10, 30, 30, 30])
    await store(connection, "two", [10, 10, 50, 10])
    for second, kind, late in ((90, "gunshot", False), (95, "gunshot", True), (200, "tamper", False)):
        await connection.execute(
            "INSERT INTO events (id, box_key, organisation_id, time, type, candidates, received_at, late) "
            "SELECT $1, key, organisation_id, $2, $3, $4, now(), $5 FROM boxes WHERE id = 'one'",
            *(new_id(), START + timedelta(seconds=second), kind, '[{"class": "pistol", "confidence": 0.9}]'),
            late,
        )
    limited = CONDITION | {"threshold": {"attribute": "limit"}, "clear": None}
    async with working(database):
        whole = await ask(tenant, rule=rule({"boxes": CONDITION, "at_least": 2}), site_id=site_id)
        silent = await ask(tenant, rule=rule({"no_data": "PT15M"}), site_id=site_id)
        shots = await ask(
            tenant,
            rule=rule({"event": "gunshot", "confidence": 0.8, "window": "PT1M"}),
            site_id=site_id,
        )
        own = await ask(tenant, rule=rule(limited), site_id=site_id)
        both = await ask(
            tenant, rule=rule({"all": [{"event": "gunshot", "window": "PT1M"}, CONDITION]}), site_id=site_id
        )
    assert spans(whole["result"]["alerts"]) == [(None, "2026-03-01T00:02:00Z", "2026-03-01T00:03:00Z")]
    assert spans(silent["result"]["alerts"]) == [
        ("one", "2026-03-01T00:18:00Z", None),
        ("two", "2026-03-01T00:18:00Z", None),
    ]
    assert spans(shots["result"]["alerts"]) == [("one", "2026-03-01T00:01:30Z", "2026-03-01T00:02:30Z")]
    assert spans(both["result"]["alerts"]) == spans(shots["result"]["alerts"])
    assert spans(own["result"]["alerts"]) == [("two", "2026-03-01T00:02:00Z", "2026-03-01T00:03:00Z")]


async def test_a_rule_on_a_whole_site_has_the_sites_attributes(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    """As it has live: a box's own are for rules on each box."""
    change = {"attributes": {"lim": 25}}
    (await tenant.client.patch(f"/v1/sites/{site_id}", json=change)).raise_for_status()
    await box(tenant, site_id, "box-0", attributes={"lim": 100})
    await box(tenant, site_id, "box-1")
    await store(connection, "box-0", [50])
    await store(connection, "box-1", [10, 40])
    limited = {"metric": "pm2_5", "operator": ">", "threshold": {"attribute": "lim"}}
    async with working(database):
        whole = await ask(tenant, rule=rule({"boxes": limited, "at_least": 2}), site_id=site_id)
        each = await ask(tenant, rule=rule(limited), site_id=site_id)
    assert spans(whole["result"]["alerts"]) == [(None, "2026-03-01T00:01:00Z", None)]
    assert whole["result"]["alerts"][0]["threshold"] == 25
    assert spans(each["result"]["alerts"]) == [("box-1", "2026-03-01T00:01:00Z", None)]


async def test_the_future_is_no_silence(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    await box(tenant, site_id, "one")
    start = datetime.now(UTC) - timedelta(minutes=10)
    await store(connection, "one", [1] * 5, start=start)
    within: dict[str, Any] = {"from": start.isoformat(), "to": (start + timedelta(days=300)).isoformat()}
    async with working(database):
        found = await ask(tenant, rule=rule({"no_data": "PT1H"}), site_id=site_id, **within)
    assert found["result"]["alerts"] == []


async def test_a_version_is_compared_with_what_the_rule_is_now(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    await box(tenant, site_id, "one")
    await store(connection, "one", [10, 30, 10, 50, 10, 28, 60, 10])
    body = rule(site_id=site_id, name="Dust")
    made = (await tenant.client.post("/v1/rules", json=body)).raise_for_status().json()
    higher = {"condition": CONDITION | {"threshold": 45}}
    (await tenant.client.patch(f"/v1/rules/{made['id']}", json=higher)).raise_for_status()
    async with working(database):
        found = await ask(tenant, rule_id=made["id"], version=1)
        alone = await ask(tenant, rule_id=made["id"])
        other = await ask(tenant, rule=rule(), site_id=site_id, compare_to=made["id"])
    assert (found["version"], found["compare_to"]) == (1, made["id"])
    result = found["result"]
    assert [alert["found_in"] for alert in result["alerts"]] == ["candidate", "both", "both"]
    against = result["against"]
    assert (against["rule_id"], against["version"]) == (made["id"], 2)
    assert [alert["found_in"] for alert in against["alerts"]] == ["both", "both"]
    assert (against["both"], against["only_candidate"], against["only_present"]) == (2, 1, 0)
    assert against["summary"]["alerts"] == 2
    assert (alone["version"], alone["result"]["against"]) == (2, None)
    assert other["result"]["alerts"] == result["alerts"]
    assert other["result"]["against"] == against


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({}, 422, "site_missing"),
        ({"rule": None}, 422, "rule_or_rule_id"),
        ({"rule_id": str(UUID(int=1))}, 422, "rule_or_rule_id"),
        ({"version": 1}, 422, "rule_or_rule_id"),
        ({"rule": None, "rule_id": str(UUID(int=1))}, 404, "not_found"),
        ({"compare_to": str(UUID(int=1))}, 404, "not_found"),
        ({"site_id": str(UUID(int=1))}, 404, "not_found"),
        ({"to": "2026-03-01T00:00:00Z"}, 422, "range_reversed"),
        ({"to": "2036-03-01T00:00:00Z"}, 422, "range_too_large"),
        ({"rule": rule(enabled=True)}, 422, "unknown_field"),
        ({"rule": rule({"metric": "radon", "operator": ">", "threshold": 1})}, 422, "unknown_metric"),
        ({"rule": rule(name="a\0b")}, 422, "nul_in_text"),
        ({"boxes": []}, 422, "invalid_value"),
        ({"boxes": ["a/b"]}, 422, "invalid_box_id"),
        ({"from": 1e400}, 400, "invalid_json"),
    ],
)
async def test_what_is_refused(tenant: Tenant, change: dict[str, Any], status: int, code: str) -> None:
    body = {"rule": rule(), **RANGE, **change}
    answer = await tenant.client.post(
        "/v1/rules/backtest",
        content=json.dumps(body),
        headers={"content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_a_box_that_a_rule_names_has_to_be_there(tenant: Tenant, site_id: str) -> None:
    found = await ask(tenant, status=422, site_id=site_id, rule=rule({**CONDITION, "box": "nowhere"}))
    assert found["code"] == "unknown_box_in_rule"
    assert found["detail"].startswith("body.rule.condition.box: ")


async def test_nor_at_another_site_where_the_rule_exists(tenant: Tenant, site_id: str) -> None:
    await box(tenant, site_id, "here")
    there = (await tenant.client.post("/v1/sites", json=SITE)).raise_for_status().json()["id"]
    body = rule({**CONDITION, "box": "here"}, site_id=site_id, name="Here")
    made = (await tenant.client.post("/v1/rules", json=body)).raise_for_status().json()["id"]
    (await tenant.client.patch(f"/v1/rules/{made}", json={"name": "Still here"})).raise_for_status()
    for field, asked in (
        ("rule_id", {"rule_id": made}),
        ("rule_id", {"rule_id": made, "version": 1}),
        ("compare_to", {"rule": rule(), "compare_to": made}),
    ):
        found = await ask(tenant, status=422, site_id=there, **asked)
        assert found["code"] == "unknown_box_in_rule"
        assert found["detail"].startswith(f"body.{field} (condition.box): ")
    # At its own site it is tried, also when the box has left: it knows as little live.
    (await tenant.client.delete("/v1/boxes/here")).raise_for_status()
    await ask(tenant, wait=0, status=202, rule_id=made)


async def test_a_key_needs_to_see_measured_values_too(
    api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    async def headers(*scopes: str) -> dict[str, str]:
        body = {"organisation_id": tenant.id, "name": "some", "scopes": scopes}
        return {"Authorization": f"Bearer {(await api.post('/v1/api-keys', json=body)).json()['key']}"}

    async def status(method: str, path: str, headers: dict[str, str]) -> int:
        body = {"rule": rule(), "site_id": site_id, **RANGE} if method == "POST" else None
        answer = await tenant.client.request(method, f"/v1/rules/{path}", json=body, headers=headers)
        if answer.status_code == 403:
            assert answer.json()["scope"] == "telemetry:read"
        return answer.status_code

    blind = await headers("rules:read", "rules:write")
    seeing = await headers("rules:read", "rules:write", "telemetry:read")
    waiting = await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)
    one = f"backtests/{waiting['id']}"
    assert await status("POST", "backtest?wait=0", blind) == 403
    assert await status("POST", "backtest?wait=0", seeing) == 202
    assert await status("GET", one, blind) == 403
    assert await status("GET", one, seeing) == 200
    # The list has no results, and whoever may change rules may cancel.
    assert await status("GET", "backtests", blind) == 200
    assert await status("DELETE", one, blind) == 204


async def test_others_see_nothing_of_it(
    tenant: Tenant, other_tenant: Tenant, site_id: str, connection: asyncpg.Connection
) -> None:
    await box(tenant, site_id, "one")
    waiting = await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)
    path = f"/v1/rules/backtests/{waiting['id']}"
    assert (await other_tenant.client.get(path)).status_code == 404
    assert (await other_tenant.client.delete(path)).status_code == 404
    assert (await other_tenant.client.get("/v1/rules/backtests")).json()["data"] == []
    await ask(other_tenant, status=404, rule=rule(), site_id=site_id)
    mine = (await other_tenant.client.post("/v1/sites", json=SITE)).raise_for_status().json()["id"]
    # A box of another organisation is none of this site's.
    await ask(other_tenant, status=404, rule=rule(), site_id=mine, boxes=["one"])
    assert await connection.fetchval("SELECT count(*) FROM backtests") == 1


@pytest.mark.parametrize("wait", ["nan", "-1", "31", "inf", "soon"])
async def test_how_long_one_can_wait(tenant: Tenant, wait: str) -> None:
    answer = await tenant.client.post(f"/v1/rules/backtest?wait={wait}", json={"rule": rule(), **RANGE})
    assert answer.status_code == 422
    assert answer.json()["code"] in {"invalid_value", "wrong_type"}
