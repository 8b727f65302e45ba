"""A back-test says what live rules said of the same samples: a day of real dust, some of it late."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any

import asyncpg
import pytest

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.platform.kernel.instants import format_us, from_datetime
from app.rules.backtests.worker import BacktestWorker
from simulators.cli import SHIPPED_ARCHIVE
from simulators.sensor_community import RecordedStation, load_archive
from tests.conftest import Tenant
from tests.integration.timeseries.lists import listed

DAY = {"from": "2019-03-10T00:00:00Z", "to": "2019-03-11T00:00:00Z"}
SITE = {
    "name": "Aberdeen",
    "kind": "street",
    "timezone": "Europe/London",
    "location": {"type": "Point", "coordinates": [-2.0943, 57.1497]},
}
DUST = {"metric": "pm2_5", "operator": ">", "threshold": 5, "clear": 4}
type Flowing = tuple[int, str, dict[str, float]]
RULES: dict[str, dict[str, Any]] = {
    "plain": {"severity": "warning", "condition": DUST},
    "patient": {"severity": "warning", "condition": DUST | {"for": "PT10M", "keep_firing_for": "PT20M"}},
    "hourly": {
        "levels": [
            {"severity": severity, "condition": {**DUST, **limits, "function": "mean", "window": "PT1H"}}
            for severity, limits in (
                ("info", {"threshold": 4, "clear": 3.5}),
                ("critical", {"threshold": 8, "clear": 7}),
            )
        ]
    },
    "by night": {
        "severity": "info",
        "condition": {"all": [DUST, {"metric": "humidity", "operator": ">", "threshold": 60}]},
        "active": [{"from": "22:00", "to": "07:30"}],
    },
    "together": {"severity": "critical", "condition": {"boxes": DUST, "at_least": 2}},
    "silent": {"severity": "info", "condition": {"no_data": "PT5M"}},
    "several silent": {"severity": "warning", "condition": {"boxes": {"no_data": "PT3M"}, "at_least": 2}},
}


async def send(tenant: Tenant, database: Database, site_id: str, stations: list[RecordedStation]) -> int:
    """Put all stations' samples through the pipeline as they come; some come late. Returns how many did."""
    boxes = [{"id": f"a-{station.location}", "site_id": site_id, "interval_s": 150} for station in stations]
    # Not in the order of their ids: an alert of several boxes names the value of the one that came first.
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes[::-1]})).raise_for_status()
    flow = sorted(
        (sample.time_us, f"a-{station.location}", sample.values)
        for station in stations
        for sample in station.samples
    )
    # As if the network had held some of them back for ten minutes.
    flow = [flow[index] for index in sorted(range(len(flow)), key=lambda n: n + 40 * (n % 31 == 0))]
    pipeline, now = IngestPipeline(RegistryCache()), datetime.now(UTC)
    connection = await database.connect()
    try:
        late = sum([await _take(connection, pipeline, batch, now) for batch in batched(flow, 500)])
        # Long after: whatever became silent in the end has been noticed.
        consumer = IngestPipeline(RegistryCache(), is_consumer=True)
        while (await consumer.run_due_timers(connection, now=now + timedelta(minutes=2))).transitions:
            pass
        return late
    finally:
        await connection.close()


async def _take(
    connection: asyncpg.Connection, pipeline: IngestPipeline, batch: Sequence[Flowing], now: datetime
) -> int:
    intake = decode_batch(
        [f"vigie/v1/{box}/telemetry" for _, box, _ in batch],
        [json.dumps({"time": format_us(us), "values": values}).encode() for us, _, values in batch],
        now_us=from_datetime(now),
        max_future_us=0,
    )
    receipt = await pipeline.commit(connection, intake, now=now)
    assert receipt.rejections == [], receipt.rejections[0]
    assert receipt.stored == len(batch)
    return receipt.late


async def tried(tenant: Tenant, database: Database, rule_id: str) -> list[dict[str, Any]]:
    asked = asyncio.create_task(
        tenant.client.post("/v1/rules/backtest?wait=30", json={"rule_id": rule_id, **DAY})
    )
    connection = await database.connect()
    worker = BacktestWorker()
    while not asked.done():
        await worker.tick(database, connection)
        await worker.idle()
        await asyncio.sleep(0.02)
    await connection.close()
    answer = (await asked).json()
    assert answer["state"] == "done", answer
    found: list[dict[str, Any]] = answer["result"]["alerts"]
    return found


@pytest.mark.usefixtures("site_id")
async def test_alert_by_alert(tenant: Tenant, database: Database) -> None:
    client = tenant.client
    site_id = (await client.post("/v1/sites", json=SITE)).raise_for_status().json()["id"]
    rules = {}
    for name, body in RULES.items():
        made = await client.post("/v1/rules", json={"site_id": site_id, "name": name, **body})
        rules[name] = made.raise_for_status().json()["id"]
    stations, _ = load_archive(SHIPPED_ARCHIVE)
    assert await send(tenant, database, site_id, stations[:6]) > 100
    alerts = await listed(client, "/v1/alerts", limit=1000)
    for name, rule_id in rules.items():
        live = sorted(
            (alert["box"] or "", alert["started_at"], alert["resolved_at"], alert["value"])
            for alert in alerts
            if alert["rule_id"] == rule_id and alert["started_at"] < DAY["to"]
        )
        again = sorted(
            (alert["box"] or "", alert["started_at"], alert["resolved_at"], alert["value"])
            for alert in await tried(tenant, database, rule_id)
        )
        assert again == live != [], name
