"""Box states kept in memory from batch to batch: the outcome is the same as if nothing were kept."""

import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.catalogue.metrics import COLUMNS, INDEX
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import from_datetime, to_datetime
from app.rules.definitions.rule_queries import load_changed_rules
from app.rules.engine.threshold_evaluator import (
    BoxRuleSet,
    compile_box_rules,
    compile_rule,
    evaluate_box,
)
from app.timeseries.storage.latest_value_merge import advance_latest
from tests.conftest import Tenant

START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
METRICS = ("pm2_5", "laeq", "temperature")
BOXES = ("box-0", "box-1", "box-2")


@dataclass
class Oracle:
    """What must become of samples, one by one, in a few lines and without a database."""

    rules: BoxRuleSet
    stored: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    latest: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    states: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    def take(self, samples: Sequence[tuple[str, int, Mapping[str, float]]]) -> dict[str, Any]:
        counts: dict[str, Any] = {"stored": 0, "duplicate": 0, "conflict": 0, "late": 0}
        fresh: dict[str, list[tuple[int, tuple[float | None, ...]]]] = {}
        for box, time_us, values in samples:
            known = self.stored.get((box, time_us))
            if known is not None:
                counts["duplicate" if known == values else "conflict"] += 1
                continue
            self.stored[box, time_us] = dict(values)
            counts["stored"] += 1
            row: list[float | None] = [None] * len(COLUMNS)
            for name, value in values.items():
                row[INDEX[name]] = value
            fresh.setdefault(box, []).append((time_us, tuple(row)))
        transitions: dict[str, list[tuple[str, int]]] = {}
        for box, rows in fresh.items():
            latest, state = self.latest.setdefault(box, {}), self.states.setdefault(box, {})
            found, _ = evaluate_box(self.rules, state, latest, rows, 0, new_id)
            transitions[box] = [(step.kind, step.time_us) for step in found]
            counts["late"] += advance_latest(latest, rows)
        counts["transitions"] = sorted(kind for steps in transitions.values() for kind, _ in steps)
        return counts


class Consumer:
    """A consumer's pipeline, which can die and be followed by another."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.take_over()

    def take_over(self) -> None:
        self.pipeline = IngestPipeline(RegistryCache(), is_consumer=True)

    async def take(
        self,
        samples: Sequence[tuple[str, int, Mapping[str, float]]],
        *,
        after: timedelta = timedelta(),
        by_http: IngestPipeline | None = None,
    ) -> BatchReceipt:
        """Take samples; `after` is how far the clock has gone on, `by_http` another process that does it."""
        now = datetime.now(UTC) + after
        intake = decode_batch(
            [f"vigie/v1/{box}/telemetry" for box, _, _ in samples],
            [
                json.dumps({"time": to_datetime(time_us).isoformat(), "values": values}).encode()
                for _, time_us, values in samples
            ],
            now_us=from_datetime(now),
            max_future_us=600_000_000,
        )
        return await (by_http or self.pipeline).commit(self.connection, intake, now=now)


def summary(receipt: BatchReceipt) -> dict[str, Any]:
    return {
        "stored": receipt.stored,
        "duplicate": receipt.duplicate,
        "conflict": receipt.conflict,
        "late": receipt.late,
        "transitions": sorted(kind for kind, _ in receipt.transitions),
    }


@pytest.fixture
async def consumer(database: Database) -> AsyncIterator[Consumer]:
    connection = await database.connect()
    yield Consumer(connection)
    connection.terminate()


@pytest.fixture
async def boxes(tenant: Tenant, site_id: str) -> Sequence[str]:
    for box in BOXES:
        (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
    return BOXES


async def add_rule(tenant: Tenant, site_id: str, metric: str, threshold: float, wait: str = "PT0S") -> str:
    condition = {"metric": metric, "operator": ">", "threshold": threshold, "for": wait}
    body = {"site_id": site_id, "name": "r", "severity": "warning", "condition": condition}
    identifier: str = (await tenant.client.post("/v1/rules", json=body)).raise_for_status().json()["id"]
    return identifier


async def site_rules(connection: asyncpg.Connection) -> BoxRuleSet:
    names = ("id", "version", "organisation_id", "site_id", "name", "definition")
    rows = await load_changed_rules(connection, 0)
    return compile_box_rules([compile_rule(**{name: row[name] for name in names}) for row in rows])  # type: ignore[literal-required] # (names of its columns)


def some_samples(dice: random.Random, clock: dict[str, int]) -> list[tuple[str, int, Mapping[str, float]]]:
    """Mostly new and in order; now and then late, repeated, contradictory, or with other metrics."""
    found: list[tuple[str, int, Mapping[str, float]]] = []
    orderly = dice.random() < 0.5
    for _ in range(dice.randint(1, 25)):
        box = dice.choice(BOXES)
        luck = 1.0 if orderly else dice.random()
        if luck < 0.1 and found:
            found.append(dice.choice(found))
            continue
        if luck < 0.2 and found:
            box, time_us, _ = dice.choice(found)
        elif luck < 0.35:
            time_us = clock[box] - dice.randint(0, 20) * 1_000_000
        else:
            clock[box] += dice.randint(1, 4) * 1_000_000
            time_us = clock[box]
        names = METRICS if dice.random() < 0.7 else dice.sample(METRICS, dice.randint(1, 3))
        found.append((box, time_us, {name: float(dice.randint(0, 50)) for name in names}))
    return found


@pytest.mark.usefixtures("boxes")
@pytest.mark.parametrize("seed", range(4))
async def test_the_outcome_is_that_of_samples_taken_one_by_one(
    consumer: Consumer, tenant: Tenant, site_id: str, seed: int
) -> None:
    for metric, threshold, wait in (("pm2_5", 25, "PT0S"), ("pm2_5", 40, "PT5S"), ("laeq", 45, "PT3S")):
        await add_rule(tenant, site_id, metric, threshold, wait)
    dice = random.Random(seed)  # noqa: S311 (a test's)
    oracle = Oracle(await site_rules(consumer.connection))
    clock = dict.fromkeys(BOXES, from_datetime(START))
    for _ in range(30):
        samples = some_samples(dice, clock)
        assert summary(await consumer.take(samples)) == oracle.take(samples)
        if dice.random() < 0.1:
            consumer.take_over()
    for box, latest in oracle.latest.items():
        answer = (await tenant.client.get(f"/v1/boxes/{box}/latest")).raise_for_status().json()
        assert answer["values"] == {name: value for name, (value, _) in latest.items()}
    (page,) = [(await tenant.client.get(f"/v1/sites/{site_id}/latest")).json()["data"]]
    assert {each["box"]: each["values"] for each in page} == {
        box: {name: value for name, (value, _) in latest.items()} for box, latest in oracle.latest.items()
    }
    rows = await consumer.connection.fetch(
        "SELECT b.id, s.time, s.pm2_5, s.laeq, s.temperature FROM samples s JOIN boxes b ON b.key = s.box_key"
    )
    assert {
        (row["id"], from_datetime(row["time"])): {
            name: row[name] for name in METRICS if row[name] is not None
        }
        for row in rows
    } == oracle.stored


@pytest.mark.usefixtures("boxes")
async def test_a_box_that_also_sends_by_http_is_shared_and_nothing_is_lost_between_the_doors(
    consumer: Consumer, tenant: Tenant, site_id: str
) -> None:
    await add_rule(tenant, site_id, "pm2_5", 25)
    at = from_datetime(START)

    async def by_http(second: float, value: float, metric: str = "pm2_5") -> dict[str, Any]:
        time = to_datetime(at + round(second * 1_000_000)).isoformat()
        body = {"box": "box-0", "samples": [{"time": time, "values": {metric: value}}]}
        answer: dict[str, Any] = (
            (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status().json()
        )
        return answer

    async def by_mqtt(second: float, value: float) -> BatchReceipt:
        return await consumer.take([("box-0", at + round(second * 1_000_000), {"pm2_5": value})])

    assert (await by_mqtt(0, 1)).stored == 1
    assert (await by_mqtt(0.5, 1)).stored == 1
    assert (await by_http(1, 30))["stored"] == 1
    # An older value of a metric that the consumer, which was ahead of its row, has never heard of.
    assert (await by_http(-9, 44, "laeq"))["stored"] == 1
    assert (await by_mqtt(1, 30)).duplicate == 1
    # Late: it must not resolve what the other door has fired.
    assert (await by_mqtt(-5, 2)).transitions == []
    assert (await by_mqtt(2, 3)).transitions == [("resolved", "warning")]
    assert (await by_http(2, 3))["duplicate"] == 1
    assert (await by_http(3, 40))["stored"] == 1
    firing = (await tenant.client.get("/v1/alerts?state=firing")).json()["data"]
    assert [alert["value"] for alert in firing] == [40]
    state = await consumer.connection.fetchrow(
        "SELECT newest_us, samples, late FROM box_states WHERE samples > 0"
    )
    assert state is not None
    assert tuple(state) == (at + 3_000_000, 9, 1)
    latest = (await tenant.client.get("/v1/boxes/box-0/latest")).json()["values"]
    assert latest == {"pm2_5": 40, "laeq": 44}


@pytest.mark.usefixtures("boxes")
async def test_what_the_other_door_did_is_known_after_the_box_is_no_longer_shared(
    consumer: Consumer, tenant: Tenant, site_id: str
) -> None:
    await add_rule(tenant, site_id, "pm2_5", 25)
    at, api = from_datetime(START), IngestPipeline(RegistryCache())
    await consumer.take([("box-0", at, {"pm2_5": 1.0})], by_http=api)
    await consumer.take([("box-0", at + 1_000_000, {"pm2_5": 2.0})])
    late_in_the_day = timedelta(hours=22)
    fired = await consumer.take(
        [("box-0", at + 5_000_000, {"pm2_5": 30.0, "laeq": 60.0})], after=late_in_the_day, by_http=api
    )
    assert fired.transitions == [("firing", "warning")]
    next_day = timedelta(hours=25)
    # Late: it must not be judged, nor undo what has fired; nor may the values of the other door be lost.
    receipt = await consumer.take([("box-0", at + 3_000_000, {"pm2_5": 3.0})], after=next_day)
    assert (receipt.late, receipt.transitions) == (1, [])
    receipt = await consumer.take([("box-0", at + 6_000_000, {"pm2_5": 4.0})], after=next_day)
    assert receipt.transitions == [("resolved", "warning")]
    latest = (await tenant.client.get("/v1/boxes/box-0/latest")).json()["values"]
    assert latest == {"pm2_5": 4, "laeq": 60}


async def test_a_row_is_exact_no_longer_once_its_box_is_not_shared(
    consumer: Consumer, tenant: Tenant, site_id: str
) -> None:
    # More than are written back at once for their age.
    names = [f"box-{number}" for number in range(70)]
    body = {"boxes": [{"id": name, "site_id": site_id} for name in names]}
    (await tenant.client.post("/v1/boxes/bulk", json=body)).raise_for_status()
    at = from_datetime(START)

    def each(second: float) -> list[tuple[str, int, Mapping[str, float]]]:
        return [(name, at + round(second * 1_000_000), {"pm2_5": 1.0}) for name in names]

    await consumer.take(each(0), by_http=IngestPipeline(RegistryCache()))
    await consumer.take(each(5), after=timedelta(hours=25))
    # A clock that is set back: the boxes are shared ones again, and their rows are read again.
    assert (await consumer.take(each(4), after=timedelta(hours=23))).late == 70


@pytest.mark.usefixtures("boxes")
async def test_samples_written_behind_its_back_are_noticed(consumer: Consumer) -> None:
    at = from_datetime(START)
    await consumer.take([("box-0", at, {"pm2_5": 1.0})])
    await consumer.connection.execute(
        "INSERT INTO samples (box_key, time, pm2_5) SELECT key, $1, 7 FROM boxes WHERE id = 'box-0'",
        START + timedelta(seconds=5),
    )
    receipt = await consumer.take(
        [("box-0", at + 5_000_000, {"pm2_5": 8.0}), ("box-0", at + 6_000_000, {"pm2_5": 9.0})]
    )
    assert (receipt.stored, receipt.conflict) == (1, 1)


@pytest.mark.usefixtures("boxes")
async def test_a_rule_that_is_switched_off_and_on_begins_at_rest(
    consumer: Consumer, tenant: Tenant, site_id: str
) -> None:
    rule = await add_rule(tenant, site_id, "pm2_5", 25)
    at = from_datetime(START)
    assert (await consumer.take([("box-0", at, {"pm2_5": 30.0})])).transitions == [("firing", "warning")]
    for enabled in (False, True):
        (await tenant.client.patch(f"/v1/rules/{rule}", json={"enabled": enabled})).raise_for_status()
    assert (await consumer.take([("box-0", at + 1, {"pm2_5": 31.0})])).transitions == [("firing", "warning")]
    alerts = (await tenant.client.get("/v1/alerts")).json()["data"]
    assert sorted(alert["state"] for alert in alerts) == ["firing", "resolved"]


@pytest.mark.usefixtures("boxes")
async def test_a_consumer_that_stops_does_not_undo_what_was_changed_since_its_last_batch(
    consumer: Consumer, tenant: Tenant, site_id: str
) -> None:
    rule = await add_rule(tenant, site_id, "pm2_5", 25)
    at = from_datetime(START)
    for second in range(2):
        await consumer.take([("box-0", at + second * 1_000_000, {"pm2_5": 30.0})])
    # What fires under the former condition is closed, and the new one begins at rest.
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 20}
    (await tenant.client.patch(f"/v1/rules/{rule}", json={"condition": condition})).raise_for_status()
    await consumer.pipeline.write_back(consumer.connection)
    consumer.take_over()
    receipt = await consumer.take([("box-0", at + 2_000_000, {"pm2_5": 31.0})])
    assert receipt.transitions == [("firing", "warning")]


@pytest.mark.usefixtures("boxes")
async def test_boxes_that_measure_as_many_other_things_lose_none_of_them(consumer: Consumer) -> None:
    at = from_datetime(START)
    await consumer.take([("box-0", at, {"pm2_5": 1.0, "temperature": 2.0})])
    await consumer.take([("box-1", at, {"laeq": 50.0, "humidity": 20.0})])
    stored = await consumer.connection.fetchrow(
        "SELECT laeq, humidity FROM samples JOIN boxes ON key = box_key WHERE id = 'box-1'"
    )
    assert stored is not None
    assert tuple(stored) == (50, 20)


@pytest.mark.usefixtures("boxes")
@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_what_a_consumer_had_not_written_back_is_read_from_the_samples(
    consumer: Consumer, tenant: Tenant, how: str
) -> None:
    at = from_datetime(START)
    for second in range(20):
        await consumer.take([("box-0", at + second * 1_000_000, {"pm2_5": float(second)})])
    behind = await consumer.connection.fetchval(
        "SELECT newest_us FROM box_states JOIN boxes ON key = box_key WHERE id = 'box-0'"
    )
    assert behind < at + 19_000_000
    if how == "stopped":
        await consumer.pipeline.write_back(consumer.connection)
        state = await consumer.connection.fetchrow(
            "SELECT newest_us, samples, late, clock_skew_ms FROM box_states WHERE samples > 0"
        )
        assert state is not None
        assert tuple(state)[:3] == (at + 19_000_000, 20, 0)
        # Measured two days before this file was read, and sent now.
        assert abs(state["clock_skew_ms"] - 2 * 86_400_000) < 6 * 3_600_000
    assert (await tenant.client.get("/v1/boxes/box-0/latest")).json()["values"] == {"pm2_5": 19}
    consumer.take_over()
    assert (await consumer.take([("box-0", at + 19_000_000, {"pm2_5": 19.0})])).duplicate == 1
    assert (await consumer.take([("box-0", at + 18_500_000, {"pm2_5": 0.0})])).late == 1


@pytest.mark.usefixtures("boxes")
async def test_after_a_refused_batch_nothing_kept_is_trusted(consumer: Consumer) -> None:
    at = from_datetime(START)
    await consumer.take([("box-0", at, {"pm2_5": 1.0})])
    await consumer.connection.execute("ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)")
    samples = [
        ("box-0", at + second * 1_000_000, {"pm2_5": 666.0 if second == 3 else 2.0}) for second in range(1, 8)
    ]
    receipt = await consumer.take(samples)
    assert (receipt.stored, len(receipt.rejections)) == (6, 1)
    assert (await consumer.take(samples[-1:])).duplicate == 1
