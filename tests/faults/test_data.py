"""Data that comes twice, late, in any order, or cannot be stored; and two writers at once."""

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import Tenant
from tests.faults.fleet import FaultFleet, body
from tests.faults.harness import FaultReport, FaultSize
from tests.scenarios.processes import role, until

pytestmark = pytest.mark.fault


async def test_11_everything_twice(
    fleet: FaultFleet, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    fleet.patience_s = 60
    async with role("ingest", tmp_path, VIGIE_INGEST__BATCH_MESSAGES="50"):
        await fleet.consuming()
        await fleet.publish(range(size.of(30, 1000)), times=2)
        fleet.healed()
        outcome = await fleet.outcome()

        async def counted() -> bool:
            return await fleet.total("duplicate") >= len(fleet.sent)

        await until(counted)
    report.add("11 everything published twice", outcome)
    assert await fleet.total("duplicate") == len(fleet.sent), "the counter is exact"


async def test_15_poison_rows(
    fleet: FaultFleet, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    """One row in a thousand that the database refuses, though every check before it has let it through."""
    owner = await asyncpg.connect(fleet.database_url)
    await owner.execute("ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)")
    await owner.close()
    fleet.patience_s = 60
    seqs = size.of(50, 1000)
    poison = frozenset(range(25, seqs, 50))  # of the first of twenty boxes alone: one sample in a thousand
    async with role("ingest", tmp_path):
        await fleet.consuming()
        await fleet.publish(range(seqs), poison=poison)
        fleet.healed()
        outcome = await fleet.outcome(but=len(poison))
    report.add("15 poison rows", outcome)
    entries = "SELECT count(*) FROM quarantine WHERE code = 'storage_refused' AND box = $1"
    assert await fleet.value(entries, fleet.boxes[0]) == len(poison)
    assert await fleet.total("rejected") >= len(poison)


async def test_18_two_writers_in_reverse_order(
    fleet: FaultFleet, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    """The consumer's batches hold the boxes in one order, calls by HTTP come in the reverse one."""

    async def post(seqs: range) -> None:
        for seq in seqs:
            fleet.note_all(seq)
            calls = [
                fleet.client.post("/v1/telemetry", json={"box": box, "samples": [body(seq)]})
                for box in reversed(fleet.boxes)
            ]
            for answer in await asyncio.gather(*calls):
                assert answer.raise_for_status().json()["stored"] == 1

    async with role("ingest", tmp_path):
        await fleet.consuming()
        many = size.of(100, 2000)
        await asyncio.gather(fleet.publish(range(0, many, 2)), post(range(1, many // 10, 2)))
        fleet.healed()
        report.add("18 two writers, keys reversed", await fleet.outcome())
    # But for those that were sent again because the broker was slow to say that it had them.
    assert await fleet.total("duplicate") <= fleet.perhaps_twice


DAY = datetime.now(UTC).replace(microsecond=0, second=0, minute=0) - timedelta(days=2)
# Above the threshold now and then, and for longer than the rule waits around noon.
HIGH = {*range(100, 1300, 7), *range(700, 760)}


def minute(number: int) -> dict[str, Any]:
    """A sample of one day."""
    return {
        "seq": number,
        "time": (DAY + timedelta(minutes=number)).isoformat(),
        "values": {"pm10": 40.0 if number in HIGH else 10.0 + number % 13, "laeq": 40.0 + number % 37},
    }


async def _send(fleet: FaultFleet, box: str, numbers: Sequence[int]) -> None:
    async with fleet.gateway() as client:
        for start in range(0, len(numbers), 20):
            part = numbers[start : start + 20]
            for number in part:
                fleet.note(box, number)
            payload = json.dumps({"samples": [minute(number) for number in part]})
            await client.publish(f"vigie/v1/{box}/telemetry", payload, qos=1)


async def _roll_ups(tenant: Tenant, box: str, metric: str) -> list[dict[str, Any]]:
    query = {
        "metric": metric,
        "from": DAY.isoformat(),
        "to": (DAY + timedelta(days=1)).isoformat(),
        "bucket": "15m",
    }
    answer = await tenant.client.get(f"/v1/boxes/{box}/readings", params=query)
    points: list[dict[str, Any]] = answer.raise_for_status().json()["points"]
    return points


async def test_13_a_day_shuffled(
    *, fleet: FaultFleet, tenant: Tenant, site_id: str, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    """A day that a box had kept comes in any order, after its present: the same roll-ups, and rules stay out.

    The box is above one rule's threshold at present, and below another's: the first alert must go on firing,
    and the second rule, of which the day has an hour above the threshold, must not fire.
    """
    rules = (
        {"metric": "laeq", "operator": ">", "threshold": 90, "clear": 60},
        {"metric": "pm10", "operator": ">", "threshold": 25, "clear": 20, "for": "PT10M"},
    )
    for condition in rules:
        rule = {
            "site_id": site_id,
            "name": condition["metric"],
            "severity": "warning",
            "condition": condition,
        }
        (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()
    ordered, *shuffled = fleet.boxes[: size.of(2, 8)]
    numbers = range(1440)
    fleet.patience_s = 60
    async with role("ingest", tmp_path, VIGIE_INGEST__BATCH_MESSAGES="7"):
        await fleet.consuming()
        await _send(fleet, ordered, numbers)
        present = {"time": datetime.now(UTC).isoformat(), "seq": 5000, "values": {"pm10": 11, "laeq": 95}}
        async with fleet.gateway() as client:
            for box in shuffled:
                fleet.note(box, 5000)
                await client.publish(f"vigie/v1/{box}/telemetry", json.dumps(present), qos=1)
        for box in shuffled:
            order = list(numbers)
            random.Random(box).shuffle(order)  # noqa: S311 (an order, the same in each run)
            await _send(fleet, box, order)
        fleet.healed()
        outcome = await fleet.outcome()
    report.add("13 a day shuffled, late", outcome)
    for metric in ("pm10", "laeq"):
        wanted = await _roll_ups(tenant, ordered, metric)
        assert len(wanted) == 96
        for box in shuffled:
            points = await _roll_ups(tenant, box, metric)
            assert [point["time"] for point in points] == [point["time"] for point in wanted]
            for name in ("avg", "min", "max", "count", "coverage"):
                assert [point[name] for point in points] == pytest.approx([point[name] for point in wanted])
    for box in shuffled:
        found = (await tenant.client.get("/v1/alerts", params={"box": box})).raise_for_status().json()["data"]
        assert [(alert["metric"], alert["state"]) for alert in found] == [("laeq", "firing")]
    whole = (await tenant.client.get("/v1/alerts", params={"box": ordered})).raise_for_status().json()["data"]
    assert [(alert["metric"], alert["state"]) for alert in whole] == [("pm10", "resolved")]
