"""The pipeline on a real database: what is stored, counted, refused, evaluated."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.purposes import approve

START = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


class Door:
    """Puts messages through the pipeline, as the MQTT door would."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.pipeline = IngestPipeline(RegistryCache())

    async def take(self, *messages: tuple[str, Any], retained: Sequence[int] = ()) -> BatchReceipt:
        now = datetime.now(UTC)
        intake = decode_batch(
            [topic for topic, _ in messages],
            [body if isinstance(body, bytes) else json.dumps(body).encode() for _, body in messages],
            retained=retained,
            now_us=round(now.timestamp() * 1_000_000),
            max_future_us=600_000_000,
        )
        return await self.pipeline.commit(self.connection, intake, now=now)


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    connection = await database.connect()
    yield Door(connection)
    await connection.close()


@pytest.fixture
async def box(tenant: Tenant, site_id: str) -> str:
    body = {"id": "box-0001", "site_id": site_id, "ack": True}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    return "box-0001"


def sample(minute: float, *, seq: int | None = None, **values: float) -> dict[str, Any]:
    time = (START + timedelta(minutes=minute)).isoformat()
    return {"time": time, "values": values} | ({} if seq is None else {"seq": seq})


def telemetry(box: str, body: dict[str, Any] | bytes) -> tuple[str, Any]:
    return f"vigie/v1/{box}/telemetry", body


async def approved(database: Database, site_id: str) -> None:
    owner = await database.connect()
    await approve(owner, site_id)
    await owner.close()


async def rows(door: Door) -> list[tuple[Any, ...]]:
    found = await door.connection.fetch(
        "SELECT time, seq, pm2_5::text::float8, laeq FROM samples ORDER BY time"
    )
    return [tuple(row) for row in found]


async def add_rule(tenant: Tenant, site_id: str, **condition: str | float) -> str:
    body = {"site_id": site_id, "name": "r", "severity": "warning", "condition": condition}
    answer = (await tenant.client.post("/v1/rules", json=body)).raise_for_status()
    identifier: str = answer.json()["id"]
    return identifier


async def test_a_sample_and_a_batch_are_stored(door: Door, box: str) -> None:
    receipt = await door.take(
        telemetry(box, sample(0, seq=1, pm2_5=12.4)),
        telemetry(box, {"samples": [sample(1, seq=2, pm2_5=13.5), sample(2, seq=3, laeq=58.25)]}),
    )
    assert (receipt.stored, receipt.duplicate, receipt.conflict, receipt.rejections) == (3, 0, 0, [])
    assert await rows(door) == [
        (START, 1, 12.4, None),
        (START + timedelta(minutes=1), 2, 13.5, None),
        (START + timedelta(minutes=2), 3, None, 58.25),
    ]
    assert receipt.acks[box].payload() == {"seqs": [1, 2, 3]}


async def test_repeats_and_conflicts_are_told_apart_within_and_across_batches(door: Door, box: str) -> None:
    first = await door.take(
        telemetry(box, sample(0, seq=1, pm2_5=1)),
        telemetry(box, sample(0, seq=1, pm2_5=1)),
        telemetry(box, sample(0, seq=1, pm2_5=2)),
    )
    assert (first.stored, first.duplicate, first.conflict) == (1, 1, 1)
    again = await door.take(
        telemetry(box, sample(0, seq=1, pm2_5=1)),
        telemetry(box, sample(0, seq=2, pm2_5=9)),
        telemetry(box, sample(1, seq=3, pm2_5=9)),
    )
    assert (again.stored, again.duplicate, again.conflict) == (1, 1, 1)
    assert [row[2] for row in await rows(door)] == [1, 9]
    assert again.acks[box].payload() == {"seqs": [1, 3], "rejected": [{"seq": 2, "code": "conflict"}]}


async def test_what_is_refused_never_blocks_its_neighbours(door: Door, box: str, tenant: Tenant) -> None:
    receipt = await door.take(
        telemetry(box, sample(0, seq=1, pm2_5=1)),
        telemetry(box, b"{"),
        telemetry("nobody", sample(0, pm2_5=1)),
        telemetry(box, {"samples": [sample(1, seq=2, warp=1), sample(2, seq=3, pm2_5=2)]}),
        ("vigie/v1/box-0001/other", b"x"),
        telemetry(box, sample(3, seq=4, pm2_5=5)),
        retained=[5],
    )
    assert receipt.stored == 2
    codes = sorted(refusal.rejection.code for refusal in receipt.rejections)
    assert codes == ["invalid_json", "retained_message", "topic", "unknown_box", "unknown_metric"]
    mine = (await tenant.client.get("/v1/quarantine")).raise_for_status().json()["data"]
    assert sorted(entry["code"] for entry in mine) == ["invalid_json", "retained_message", "unknown_metric"]
    kept = await door.connection.fetchval("SELECT payload FROM quarantine WHERE code = 'unknown_metric'")
    assert json.loads(kept) == sample(1, seq=2, warp=1)
    assert receipt.acks[box].payload()["rejected"] == [{"seq": 2, "code": "unknown_metric"}]


async def test_a_poison_row_is_found_and_the_others_are_stored(door: Door, box: str) -> None:
    await door.connection.execute("ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)")
    messages = [
        telemetry(box, sample(index, seq=index, pm2_5=666 if index == 37 else 1)) for index in range(50)
    ]
    receipt = await door.take(*messages)
    assert receipt.stored == 49
    assert [refusal.rejection.code for refusal in receipt.rejections] == ["storage_refused"]
    assert await door.connection.fetchval("SELECT count(*) FROM quarantine") == 1


async def test_older_than_the_retention_is_refused(
    door: Door, box: str, tenant: Tenant, site_id: str
) -> None:
    await tenant.client.patch(f"/v1/sites/{site_id}", json={"retention_days": 30})
    old = datetime.now(UTC) - timedelta(days=31)
    young = datetime.now(UTC) - timedelta(days=29)
    receipt = await door.take(
        telemetry(box, {"time": old.isoformat(), "values": {"pm2_5": 1}}),
        telemetry(box, {"time": young.isoformat(), "values": {"pm2_5": 1}}),
    )
    assert receipt.stored == 1
    assert [refusal.rejection.code for refusal in receipt.rejections] == ["time_too_old"]


async def test_a_rule_made_before_a_sample_is_applied_to_it(
    door: Door, box: str, tenant: Tenant, site_id: str
) -> None:
    await door.take(telemetry(box, sample(0, pm2_5=30)))
    await add_rule(tenant, site_id, metric="pm2_5", operator=">", threshold=25)
    receipt = await door.take(telemetry(box, sample(1, pm2_5=30)))
    assert receipt.transitions == [("firing", "warning")]


async def test_the_contracts_example_fires_and_resolves_in_measurement_time(
    door: Door, box: str, tenant: Tenant, site_id: str
) -> None:
    condition: dict[str, str | float] = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}
    condition["for"] = "PT2M"
    await add_rule(tenant, site_id, **condition)
    for minute, value in enumerate([10, 30, 31, 32, 24, 19]):
        await door.take(telemetry(box, sample(minute, pm2_5=value)))
    (alert,) = (await tenant.client.get("/v1/alerts", params={"site": site_id})).json()["data"]
    assert alert["state"] == "resolved"
    assert (alert["value"], alert["threshold"], alert["box"]) == (32, 25, box)
    assert alert["pending_since"] == "2026-11-24T10:01:00Z"
    assert alert["started_at"] == "2026-11-24T10:03:00Z"
    assert alert["resolved_at"] == "2026-11-24T10:05:00Z"
    types = await door.connection.fetch("SELECT type FROM outbox ORDER BY position")
    assert [kind for (kind,) in types] == ["alert.firing", "alert.resolved"]


async def test_late_samples_are_stored_and_change_no_alert(
    door: Door, box: str, tenant: Tenant, site_id: str
) -> None:
    await add_rule(tenant, site_id, metric="pm2_5", operator=">", threshold=25)
    await door.take(telemetry(box, sample(10, pm2_5=30)))
    receipt = await door.take(telemetry(box, sample(5, pm2_5=1)), telemetry(box, sample(6, pm2_5=99)))
    assert (receipt.stored, receipt.late, receipt.transitions) == (2, 2, [])
    latest = (await tenant.client.get(f"/v1/boxes/{box}/latest")).json()
    assert latest["values"] == {"pm2_5": 30}
    assert latest["time"] == "2026-11-24T10:10:00Z"


async def test_two_sensors_of_one_box_do_not_make_each_other_late(
    door: Door, box: str, tenant: Tenant, site_id: str
) -> None:
    await add_rule(tenant, site_id, metric="pm2_5", operator=">", threshold=25)
    await door.take(telemetry(box, sample(1, temperature=21)))
    receipt = await door.take(telemetry(box, sample(0.5, pm2_5=30)))
    assert (receipt.late, receipt.transitions) == (0, [("firing", "warning")])


async def test_events_and_status(
    door: Door, box: str, tenant: Tenant, database: Database, site_id: str
) -> None:
    await approved(database, site_id)
    event = {
        "seq": 7,
        "time": "2026-11-24T22:14:03.125Z",
        "type": "gunshot",
        "candidates": [{"class": "pistol", "model": "glock-17", "confidence": 0.81}],
        "level_db": 118.2,
        "clock_error_ms": 0.4,
    }
    topic = f"vigie/v1/{box}/event"
    event["time"] = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    status = {"state": "online", "firmware": "2.3.1", "battery": 87, "rssi": -67}
    receipt = await door.take(
        (topic, event), (topic, event), (f"vigie/v1/{box}/status", status), retained=[2]
    )
    assert (receipt.new_events, receipt.repeated_events) == (["gunshot"], 1)
    assert receipt.acks[box].payload() == {"event_seqs": [7, 7]}
    shown = (await tenant.client.get(f"/v1/boxes/{box}")).json()
    assert {name: shown[name] for name in status} == status


async def test_a_deleted_box_is_unknown(door: Door, box: str, tenant: Tenant) -> None:
    await door.take(telemetry(box, sample(0, pm2_5=1)))
    assert (await tenant.client.delete(f"/v1/boxes/{box}")).status_code == 204
    receipt = await door.take(telemetry(box, sample(1, pm2_5=1)))
    assert [refusal.rejection.code for refusal in receipt.rejections] == ["unknown_box"]


async def test_what_may_never_be_kept_is_counted_and_told_and_nothing_else(door: Door, box: str) -> None:
    event = {"seq": 4, "time": START.isoformat(), "type": "Canary!", "level_db": 1.0}
    receipt = await door.take((f"vigie/v1/{box}/event", event), telemetry(box, sample(0, seq=1, pm2_5=1)))
    assert receipt.stored == 1
    assert receipt.acks[box].payload() == {
        "seqs": [1],
        "rejected": [{"seq": 4, "code": "unknown_event_type", "kind": "event"}],
    }
    assert await door.connection.fetchval("SELECT count(*) FROM quarantine") == 0
    (counted,) = await door.connection.fetch("SELECT * FROM door_refusals")
    assert (counted["site_id"], counted["code"], counted["door"]) == (
        await door.connection.fetchval("SELECT id FROM sites"),
        "unknown_event_type",
        "mqtt",
    )
    assert await door.connection.fetchval("SELECT sum(rejected) FROM ingest_totals") == 1
