"""Box states against a model: whatever happens between and amid batches, the outcome is that of samples taken
one by one, by the one process that there is, which forgets nothing.

What happens: two other processes that write by HTTP, clocks that jump, rules that are made, changed and
deleted, boxes that move or are made anew, consumers that die, transactions that fail or are cancelled, and
samples that the database refuses.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI

from app.catalogue.metrics import COLUMNS, INDEX
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline import batch_pipeline as pipelines
from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.platform.kernel.application_resources import provide_resources
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import from_datetime, to_datetime
from app.rules.definitions.rule_queries import load_changed_rules
from app.rules.engine.threshold_evaluator import (
    BoxRuleSet,
    RuleStates,
    compile_box_rules,
    compile_rule,
    evaluate_box,
)
from app.settings import VigieSettings
from app.timeseries.storage.latest_value_merge import LatestValues, advance_latest
from tests.conftest import Tenant

START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
METRICS = ("pm2_5", "laeq", "temperature")
BOXES = ("box-0", "box-1", "box-2")
POISON = 666.0
STEPS = 50

type Sample = tuple[str, int, Mapping[str, float]]


@dataclass
class Box:
    """All that is known of a box."""

    site: str
    stored: dict[int, Mapping[str, float]] = field(default_factory=dict)
    latest: LatestValues = field(default_factory=dict)
    states: RuleStates = field(default_factory=dict)


class Model:
    """Takes samples one by one. Of alerts it knows which rule fires on which box."""

    def __init__(self, site: str) -> None:
        self.boxes = {box: Box(site) for box in BOXES}
        self.rules: dict[str, BoxRuleSet] = {}

    def take(self, samples: Sequence[Sample]) -> dict[str, Any]:
        counts: dict[str, Any] = {"stored": 0, "duplicate": 0, "conflict": 0, "late": 0, "refused": 0}
        steps: list[str] = []
        for name, time_us, values in samples:
            box = self.boxes[name]
            known = box.stored.get(time_us)
            if POISON in values.values():
                counts["refused"] += 1
            elif known is not None:
                counts["duplicate" if known == values else "conflict"] += 1
            else:
                counts["stored"] += 1
                box.stored[time_us] = values
                filled = {INDEX[metric]: value for metric, value in values.items()}
                row = [(time_us, tuple(filled.get(column) for column in range(len(COLUMNS))))]
                site = self.rules.get(box.site, compile_box_rules(()))
                found, _ = evaluate_box(site, box.states, box.latest, row, 0, new_id)
                steps += [step.kind for step in found]
                counts["late"] += advance_latest(box.latest, row)
        return counts | {"transitions": sorted(steps)}

    def forget_rule(self, rule: str) -> None:
        for box in self.boxes.values():
            box.states.pop(rule, None)


def summary(receipt: BatchReceipt) -> dict[str, Any]:
    return {
        "stored": receipt.stored,
        "duplicate": receipt.duplicate,
        "conflict": receipt.conflict,
        "late": receipt.late,
        "refused": len(receipt.rejections),
        "transitions": sorted(kind for kind, _ in receipt.transitions),
    }


class Trouble:
    """Makes the next transaction fail, or its task be cancelled, at one of the steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: tuple[str, bool] | None = None
        steps = tuple((name, self._guarded(name, step)) for name, step in pipelines.STEPS)
        monkeypatch.setattr(pipelines, "STEPS", steps)

    def _guarded(
        self, name: str, step: Callable[[BatchContext], Awaitable[None]]
    ) -> Callable[[BatchContext], Awaitable[None]]:
        async def run(work: BatchContext) -> None:
            await step(work)
            if self.at is not None and self.at[0] == name:
                cancelled, self.at = self.at[1], None
                if not cancelled:
                    raise asyncpg.DeadlockDetectedError("made")
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

        return run


class World:
    """The real thing and the model of it, side by side."""

    def __init__(
        self, dice: random.Random, tenant: Tenant, connections: Sequence[asyncpg.Connection], sites: list[str]
    ) -> None:
        self.dice = dice
        self.client = tenant.client
        self.connection, *self.others = connections
        self.sites = sites
        self.model = Model(sites[0])
        self.consumer = IngestPipeline(RegistryCache(), is_consumer=True)
        self.apis = [IngestPipeline(RegistryCache()) for _ in self.others]
        self.rules: dict[str, str] = {}
        self.now = datetime.now(UTC)
        self.clock = dict.fromkeys(BOXES, from_datetime(START))

    def samples(self, boxes: Sequence[str], most: int) -> list[Sample]:
        """Mostly new and in order; now and then late, repeated, contradictory, or with other metrics."""
        dice, found = self.dice, list[Sample]()
        orderly = dice.random() < 0.5
        poisonous = dice.random() < 0.1
        for _ in range(dice.randint(1, most)):
            box = dice.choice(boxes)
            luck = 1.0 if orderly else dice.random()
            if luck < 0.1 and found:
                found.append(dice.choice(found))
                continue
            if luck < 0.2 and found:
                box, time_us, _ = dice.choice(found)
            elif luck < 0.25 and self.model.boxes[box].stored:
                time_us = dice.choice(list(self.model.boxes[box].stored)) + dice.choice((-1, 0, 0, 1))
            elif luck < 0.4:
                time_us = self.clock[box] - dice.randint(0, 20) * 1_000_000
            else:
                self.clock[box] += dice.choice((1, 1_000_000, 2_000_000, 4_000_000))
                time_us = self.clock[box]
            names = METRICS if dice.random() < 0.6 else dice.sample(METRICS, dice.randint(1, 3))
            values = {name: float(dice.randint(0, 50)) for name in names}
            if poisonous and dice.random() < 0.1:
                values["pm2_5"] = POISON
            found.append((box, time_us, values))
        return found

    async def take(
        self, pipeline: IngestPipeline, connection: asyncpg.Connection, samples: Sequence[Sample]
    ) -> BatchReceipt:
        intake = decode_batch(
            [f"vigie/v1/{box}/telemetry" for box, _, _ in samples],
            [
                json.dumps({"time": to_datetime(time_us).isoformat(), "values": values}).encode()
                for _, time_us, values in samples
            ],
            now_us=from_datetime(datetime.now(UTC)),
            max_future_us=600_000_000,
        )
        return await pipeline.commit(connection, intake, now=self.now)

    async def by_mqtt(self) -> None:
        samples = self.samples(BOXES, 25)
        receipt = await self.take(self.consumer, self.connection, samples)
        assert summary(receipt) == self.model.take(samples)

    async def by_http(self) -> None:
        place = self.dice.randrange(len(self.apis))
        samples = self.samples([self.dice.choice(BOXES)], 5)
        receipt = await self.take(self.apis[place], self.others[place], samples)
        assert summary(receipt) == self.model.take(samples)

    async def change_rules(self) -> None:
        dice = self.dice
        if not self.rules or (len(self.rules) < 4 and dice.random() < 0.5):
            site = dice.choice(self.sites)
            body = {"site_id": site, "name": "r", "severity": "warning", "condition": self._condition()}
            made = (await self.client.post("/v1/rules", json=body)).raise_for_status().json()["id"]
            self.rules[made] = site
        else:
            rule = dice.choice(list(self.rules))
            change: dict[str, Any] = dice.choice(
                ({"name": str(dice.random())}, {"enabled": False}, {"enabled": True}, {}, {})
            )
            if change:
                (await self.client.patch(f"/v1/rules/{rule}", json=change)).raise_for_status()
            elif dice.random() < 0.7:
                change = {"condition": self._condition()}
                (await self.client.patch(f"/v1/rules/{rule}", json=change)).raise_for_status()
            else:
                (await self.client.delete(f"/v1/rules/{rule}")).raise_for_status()
                del self.rules[rule]
            if "name" not in change and change != {"enabled": True}:
                self.model.forget_rule(rule)
        await self._read_rules()

    def _condition(self) -> dict[str, Any]:
        threshold = self.dice.randint(20, 45)
        return {
            "metric": self.dice.choice(METRICS),
            "operator": self.dice.choice((">", ">=", "<")),
            "threshold": threshold,
            "for": self.dice.choice(("PT0S", "PT3S", "PT10S")),
        }

    async def _read_rules(self) -> None:
        names = ("id", "version", "organisation_id", "site_id", "name", "definition")
        rows = [
            row
            for row in await load_changed_rules(self.connection, 0)
            if row["enabled"] and not row["deleted"]
        ]
        self.model.rules = {
            site: compile_box_rules(
                [
                    compile_rule(**{name: row[name] for name in names})  # type: ignore[literal-required] # (names of its columns)
                    for row in rows
                    if str(row["site_id"]) == site
                ]
            )
            for site in self.sites
        }

    async def move(self) -> None:
        box, site = self.dice.choice(BOXES), self.dice.choice(self.sites)
        (await self.client.patch(f"/v1/boxes/{box}", json={"site_id": site})).raise_for_status()
        if self.model.boxes[box].site != site:
            self.model.boxes[box].site = site
            self.model.boxes[box].states.clear()

    async def make_anew(self) -> None:
        box = self.dice.choice(BOXES)
        site = self.model.boxes[box].site
        (await self.client.delete(f"/v1/boxes/{box}")).raise_for_status()
        (await self.client.post("/v1/boxes", json={"id": box, "site_id": site})).raise_for_status()
        self.model.boxes[box] = Box(site)

    async def another_consumer(self) -> None:
        if self.dice.random() < 0.5:
            await self.consumer.write_back(self.connection)
        self.consumer = IngestPipeline(RegistryCache(), is_consumer=True)

    async def fail(self, trouble: Trouble) -> None:
        """A transaction fails, or is given up together with its connection; its batch comes again."""
        trouble.at = (self.dice.choice(pipelines.STEPS)[0], self.dice.random() < 0.5)
        samples = self.samples(BOXES, 10)
        taking = asyncio.create_task(self.take(self.consumer, self.connection, samples))
        await asyncio.wait({taking})
        trouble.at = None
        if taking.cancelled():
            await self.connection.execute("ROLLBACK")
            self.consumer = IngestPipeline(RegistryCache(), is_consumer=True)
        elif (error := taking.exception()) is not None:
            assert isinstance(error, asyncpg.DeadlockDetectedError)
        await self.take(self.consumer, self.connection, samples)
        self.model.take(samples)

    async def time_passes(self) -> None:
        """Ten seconds are for the states' age; a day is for what is shared; clocks are also set back."""
        self.now += timedelta(hours=self.dice.choice((0.01, 1, 11, 11, 25, -0.5)))

    async def check(self) -> None:
        """Compare what readers and the next consumer find."""
        rows = await self.connection.fetch(
            "SELECT b.id, b.key, s.rules FROM box_states s JOIN boxes b ON b.key = s.box_key"
            " WHERE b.deleted_at IS NULL"
        )
        for row in rows:
            box = self.model.boxes[row["id"]]
            held = {rule: state[2] for rule, state in json.loads(row["rules"]).items()}
            assert held == {rule: state[2] for rule, state in box.states.items()}
            firing = await self.connection.fetch(
                "SELECT rule_id FROM alerts WHERE box_key = $1 AND state = 'firing'", row["key"]
            )
            expected = {rule for rule, state in box.states.items() if state[1] is not None}
            assert {str(rule) for (rule,) in firing} == expected
        for site in self.sites:
            answer = (await self.client.get(f"/v1/sites/{site}/latest")).raise_for_status().json()["data"]
            assert {each["box"]: each["values"] for each in answer if each["values"]} == {
                name: {metric: value for metric, (value, _) in box.latest.items()}
                for name, box in self.model.boxes.items()
                if box.site == site and box.latest
            }


@pytest.fixture
async def connections(database: Database) -> AsyncIterator[list[asyncpg.Connection]]:
    """The consumer's, and those of two processes of the API."""
    opened = [await database.connect() for _ in range(3)]
    await opened[0].execute(f"ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> {POISON})")
    yield opened
    for connection in opened:
        connection.terminate()


@pytest.fixture
async def sites(application: FastAPI, settings: VigieSettings, tenant: Tenant, site_id: str) -> list[str]:
    # Accounts at the broker are not what this is about, and each costs it a moment.
    broker = settings.broker.model_copy(update={"password_file": None})
    provide_resources(application, broker)
    place = {"type": "Point", "coordinates": [1.4, 43.6]}
    body = {"name": "Elsewhere", "kind": "office", "timezone": "Europe/Paris", "location": place}
    other = (await tenant.client.post("/v1/sites", json=body)).raise_for_status().json()["id"]
    for box in BOXES:
        (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
    return [site_id, other]


@pytest.mark.parametrize("seed", range(9, 14))
async def test_whatever_happens_the_outcome_is_that_of_the_model(
    tenant: Tenant,
    connections: list[asyncpg.Connection],
    sites: list[str],
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(seed)  # noqa: S311 (a test's)
    trouble = Trouble(monkeypatch)
    world = World(dice, tenant, connections, sites)
    happenings = (world.change_rules, world.move, world.make_anew, world.another_consumer, world.time_passes)
    for _ in range(3):
        await world.change_rules()
    for _ in range(STEPS):
        luck = dice.random()
        if luck < 0.4:
            await world.by_mqtt()
        elif luck < 0.65:
            await world.by_http()
        elif luck < 0.7:
            await world.fail(trouble)
        else:
            # One may follow the other before the next batch sees them.
            for happening in dice.choices(happenings, (4, 1, 1, 2, 5), k=dice.randint(1, 3)):
                await happening()
        await world.check()
