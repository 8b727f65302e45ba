"""Silence that began before the range of a back-test: it is an alert from the beginning on."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.rules.backtesting import (
    CONDITION,
    RANGE,
    START,
    ask,
    box,
    rule,
    spans,
    store,
    working,
)

SILENT = {"no_data": "PT1H"}
BEGINNING = RANGE["from"]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def test_whatever_its_age_it_goes_on(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    before = {"half-an-hour": timedelta(minutes=30), "days": timedelta(days=3), "weeks": timedelta(days=20)}
    for name, ago in before.items():
        await box(tenant, site_id, name)
        await store(connection, name, [10], start=START - ago)
    await box(tenant, site_id, "never")
    # It comes back, and what came late in between was heard by no rule.
    await box(tenant, site_id, "returns")
    await store(connection, "returns", [10], start=START - timedelta(days=90))
    await store(connection, "returns", [10], start=START - timedelta(minutes=10), late=[0])
    await store(connection, "returns", [10], start=START + timedelta(hours=2))
    async with working(database):
        found = await ask(tenant, rule=rule(SILENT), site_id=site_id)
        patient = await ask(tenant, rule=rule(SILENT | {"for": "P7D"}), site_id=site_id)
        to_come: dict[str, Any] = {"from": "2100-01-01T00:00:00Z", "to": "2100-01-02T00:00:00Z"}
        future = await ask(tenant, rule=rule(SILENT), site_id=site_id, **to_come)
    assert spans(found["result"]["alerts"]) == [
        ("days", BEGINNING, None),
        ("half-an-hour", "2026-03-01T00:30:00Z", None),
        ("returns", BEGINNING, "2026-03-01T02:00:00Z"),
        ("returns", "2026-03-01T03:00:00Z", None),
        ("weeks", BEGINNING, None),
    ]
    first = found["result"]["alerts"][0]
    # Since when it was long enough; it counts within the range alone.
    assert (first["pending_since"], first["duration_s"]) == ("2026-02-26T01:00:00Z", 86_400)
    assert found["progress"]["samples"] == 1
    assert spans(patient["result"]["alerts"]) == [
        ("returns", BEGINNING, "2026-03-01T02:00:00Z"),
        ("weeks", BEGINNING, None),
    ]
    assert future["result"]["alerts"] == []


async def test_a_metric_that_a_box_no_longer_sends(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    for name in ("stopped", "never", "sends"):
        await box(tenant, site_id, name)
        await store(connection, name, [20.0] * 48, metric="humidity", every_s=1_800)
    # Long before, and between it and the range the box sent something else.
    await store(connection, "stopped", [10], start=START - timedelta(days=100))
    for name in ("stopped", "never"):
        await store(
            connection, name, [20], metric="humidity", start=START - timedelta(days=60), every_s=86_400
        )
    await store(connection, "sends", [10] * 48, every_s=1_800, start=START + timedelta(seconds=1))
    missing = SILENT | {"metric": "pm2_5"}
    either = {"any": [missing, {"metric": "humidity", "operator": ">", "threshold": 90}]}
    async with working(database):
        found = await ask(tenant, rule=rule(missing), site_id=site_id)
        combined = await ask(tenant, rule=rule(either), site_id=site_id)
    assert spans(found["result"]["alerts"]) == [("stopped", BEGINNING, None)]
    assert spans(combined["result"]["alerts"]) == [("stopped", BEGINNING, None)]


async def test_what_had_ended_by_then_is_not_of_the_range(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    await box(tenant, site_id, "one")
    await store(connection, "one", [10], start=START - timedelta(days=3))
    # In Toulouse it is one o'clock as the range begins, so that each night before had its own alert.
    nights = rule(SILENT, active=[{"from": "22:00", "to": "06:00"}])
    days = rule(SILENT, active=[{"from": "08:00", "to": "20:00"}])
    async with working(database):
        by_night = await ask(tenant, rule=nights, site_id=site_id)
        by_day = await ask(tenant, rule=days, site_id=site_id)
    assert spans(by_night["result"]["alerts"]) == [
        ("one", BEGINNING, "2026-03-01T05:00:00Z"),
        ("one", "2026-03-01T21:00:00Z", None),
    ]
    assert by_night["result"]["summary"]["firing_s"] == 8 * 3_600
    assert spans(by_day["result"]["alerts"]) == [("one", "2026-03-01T07:00:00Z", "2026-03-01T19:00:00Z")]


async def test_of_a_whole_site(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    for name, days in (("one", 3), ("two", 20)):
        await box(tenant, site_id, name)
        await store(connection, name, [10], start=START - timedelta(days=days))
    whole = rule({"boxes": SILENT, "at_least": 2})
    async with working(database):
        found = await ask(tenant, rule=whole, site_id=site_id)
        one = await ask(tenant, rule=whole, site_id=site_id, boxes=["one"])
    assert spans(found["result"]["alerts"]) == [(None, BEGINNING, None)]
    assert one["result"]["alerts"] == []


async def test_as_the_same_rule_does_that_is_made_live(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    ages = {"minutes": timedelta(minutes=30), "days": timedelta(days=3), "weeks": timedelta(days=20)}
    for name, ago in ages.items():
        await box(tenant, site_id, name)
        sample = {"time": (now - ago).isoformat(), "values": {"pm2_5": 10}}
        sent = await tenant.client.post("/v1/telemetry", json={"box": name, "samples": [sample]})
        assert sent.json()["stored"] == 1, sent.text
    body = rule(SILENT, site_id=site_id, name="Silent")
    made = (await tenant.client.post("/v1/rules", json=body)).raise_for_status().json()
    consumer = IngestPipeline(RegistryCache(), is_consumer=True)
    for _ in range(3):
        await consumer.run_due_timers(connection, now=datetime.now(UTC) + timedelta(minutes=2))
    alerts = (await tenant.client.get("/v1/alerts")).json()["data"]
    live = {alert["box"]: alert["pending_since"] for alert in alerts}
    assert live.keys() == {"days", "weeks"}
    first = now - timedelta(minutes=5)
    within: dict[str, Any] = {"from": first.isoformat(), "to": (now + timedelta(days=1)).isoformat()}
    async with working(database):
        found = await ask(tenant, rule_id=made["id"], **within)
    again = found["result"]["alerts"]
    assert {alert["box"]: alert["pending_since"] for alert in again} == live
    assert {datetime.fromisoformat(alert["started_at"]) for alert in again} == {first}


async def test_a_value_that_held_before_begins_with_the_first_sample(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    await box(tenant, site_id, "one")
    await store(connection, "one", [40.0] * 60, start=START - timedelta(minutes=30, seconds=-5))
    async with working(database):
        found = await ask(tenant, rule=rule(CONDITION), site_id=site_id)
    assert spans(found["result"]["alerts"]) == [("one", "2026-03-01T00:00:05Z", None)]
