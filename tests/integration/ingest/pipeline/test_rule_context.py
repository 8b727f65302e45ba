"""Rules that have to see every sample, through the pipeline: whatever the batches, restarts and doors, the
alerts are those of the samples taken one by one by the pure evaluator."""

import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.catalogue.metrics import COLUMNS, INDEX
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.codec.decoded_batch import DecodedBatch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import from_datetime, to_datetime
from app.rules.definitions.rule_queries import load_changed_rules
from app.rules.engine.box_and_site_views import BoxFacts, BoxView, SiteView
from app.rules.engine.sequential_evaluator import (
    BoxEvaluation,
    EvaluatorInput,
    SequentialEvaluator,
    SiteEvaluation,
)
from app.rules.engine.threshold_evaluator import (
    AlertTransition,
    BoxRuleSet,
    compile_box_rules,
    compile_rule,
    evaluate_box_indexed,
)
from app.rules.engine.value_windows import BoxEvent, BoxHistory
from tests.conftest import Tenant

START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
BOXES = ("box-0", "box-1", "box-2")
ABOVE = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}
WINDOW = {"metric": "pm2_5", "operator": ">", "threshold": 25, "function": "mean", "window": "PT20S"}
SILENT = {"no_data": "PT9S", "metric": "laeq"}
SHOTS = {"event": "noise_peak", "confidence": 0.5, "count": 2, "window": "PT15S"}

RULES: Mapping[str, dict[str, Any]] = {
    "plain": {"severity": "warning", "condition": ABOVE | {"for": "PT3S"}},
    "ladder": {
        "levels": [
            {"severity": "info", "condition": ABOVE},
            {"severity": "critical", "condition": ABOVE | {"threshold": 35, "clear": 30, "repeat": 2}},
        ]
    },
    "mean": {"severity": "info", "condition": WINDOW},
    "energy": {
        "severity": "info",
        "condition": WINDOW | {"metric": "laeq", "function": "energy_mean", "keep_firing_for": "PT5S"},
    },
    "median": {
        "severity": "info",
        "condition": WINDOW | {"function": "percentile", "percentile": 50, "window": "PT12S"},
    },
    "both": {
        "severity": "warning",
        "condition": {"all": [ABOVE, {"not": {"metric": "laeq", "operator": "<", "threshold": 22}}]},
    },
    "silent": {"severity": "warning", "condition": SILENT},
    "quiet": {"severity": "critical", "condition": {"no_data": "PT14S", "for": "PT4S"}},
    "shots": {"severity": "critical", "condition": SHOTS},
    "across": {"severity": "critical", "condition": {"boxes": ABOVE, "at_least": 2}, "max_age": "PT20S"},
}


type AlertSeen = tuple[str, str, int, int, str]
"""Its rule, its box if it is of one, when it began and when it ended (0: it goes on), its last severity."""


@dataclass(frozen=True)
class Sent:
    """A sample, or an event where it has a confidence."""

    box: str
    time_us: int
    values: Mapping[str, float]
    confidence: float | None = None

    def message(self) -> tuple[str, bytes]:
        time = to_datetime(self.time_us).isoformat()
        if self.confidence is None:
            body: dict[str, Any] = {"time": time, "values": self.values}
            return f"vigie/v1/{self.box}/telemetry", json.dumps(body).encode()
        candidates = [{"class": "pistol", "confidence": self.confidence}]
        return (
            f"vigie/v1/{self.box}/event",
            json.dumps({"time": time, "type": "noise_peak", "candidates": candidates}).encode(),
        )


class Door:
    """A consumer's pipeline, which can die and be followed by another; and that of another process.

    What comes does so at once: the clock on the wall is at the newest sample.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.now = START - timedelta(days=1)
        self.consumer = IngestPipeline(RegistryCache(), is_consumer=True)
        self.other = IngestPipeline(RegistryCache())

    def die(self) -> None:
        self.consumer = IngestPipeline(RegistryCache(), is_consumer=True)

    async def take(self, sent: Sequence[Sent], *, by_http: bool = False) -> BatchReceipt:
        now = self.now = max(self.now, to_datetime(max(each.time_us for each in sent)))
        topics, payloads = zip(*(each.message() for each in sent), strict=True)
        intake: DecodedBatch = decode_batch(
            topics, payloads, now_us=from_datetime(now), max_future_us=600_000_000
        )
        assert not intake.rejections
        return await (self.other if by_http else self.consumer).commit(self.connection, intake, now=now)

    async def run_due_timers(self, at_us: int) -> BatchReceipt:
        return await self.consumer.run_due_timers(self.connection, now=to_datetime(at_us))

    @property
    def has_more_to_check(self) -> bool:
        """Whether the next look at timers concerns more than those that are due."""
        return bool(self.consumer._boxes_to_check or self.consumer._sites_to_check)


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    door = Door(await database.connect())
    yield door
    door.connection.terminate()


@pytest.fixture
async def boxes(tenant: Tenant, site_id: str) -> Sequence[str]:
    for box in BOXES:
        (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
    return BOXES


async def add_rule(tenant: Tenant, site_id: str, name: str, rule: Mapping[str, Any]) -> str:
    answer = await tenant.client.post("/v1/rules", json={"site_id": site_id, "name": name, **rule})
    assert answer.status_code == 201, answer.text
    identifier: str = answer.json()["id"]
    return identifier


async def site_rules(connection: asyncpg.Connection) -> BoxRuleSet:
    names = ("id", "version", "organisation_id", "site_id", "name", "definition")
    rows = await load_changed_rules(connection, 0)
    return compile_box_rules([compile_rule(**{name: row[name] for name in names}) for row in rows])  # type: ignore[literal-required] # (names of its columns)


async def oracle(
    connection: asyncpg.Connection, stream: Sequence[Sent], *, until_us: int | None = None
) -> list[AlertSeen]:
    """The alerts that the samples give, taken one by one and without a database."""
    together = await site_rules(connection)
    rows = await connection.fetch("SELECT key, id, interval_s FROM boxes")
    evaluations = {}
    for key, box, interval in rows:
        view = BoxView(BoxFacts(key, box, interval), {}, BoxHistory(together.needs), together.needs)
        evaluations[key] = BoxEvaluation(view, together, {})
    keys = {box: key for key, box, _ in rows}
    names: dict[int | None, str] = {key: box for key, box, _ in rows}
    members = SiteView({key: track.view for key, track in sorted(evaluations.items())})
    walk = SequentialEvaluator(evaluations, SiteEvaluation(members, together.across, {}), new_id)
    seen: set[tuple[str, int, bool]] = set()
    for order, sent in enumerate(stream):
        identity = (sent.box, sent.time_us, sent.confidence is None)
        if identity in seen:
            continue
        seen.add(identity)
        key = keys[sent.box]
        track = evaluations[key]
        if sent.confidence is None:
            row: list[float | None] = [None] * len(COLUMNS)
            for name, value in sent.values.items():
                row[INDEX[name]] = value
            marks = {COLUMNS[column]: known for column, known in track.view.values.items()}
            found, _ = evaluate_box_indexed(
                together, track.state, marks, [(sent.time_us, tuple(row))], key, new_id
            )
            walk.found += [(order, step) for _, step in found]
            walk.take(EvaluatorInput(order, key, sent.time_us, tuple(row)))
        else:
            event = BoxEvent(sent.time_us, [{"class": "pistol", "confidence": sent.confidence}])
            walk.take(EvaluatorInput(order, key, sent.time_us, None, ("noise_peak", event)))
    if until_us is not None:
        walk.catch_up(until_us)
    return sorted(_alerts([step for _, step in walk.found], names))


def _alerts(steps: Sequence[AlertTransition], names: Mapping[int | None, str]) -> Iterator[AlertSeen]:
    by_alert: defaultdict[UUID, list[AlertTransition]] = defaultdict(list)
    for step in steps:
        by_alert[step.alert_id].append(step)
    for first, *others in by_alert.values():
        assert first.rule is not None
        last = others[-1] if others else first
        end = max(last.time_us, first.time_us) if last.kind == "resolved" else None
        yield first.rule.name, names.get(first.box_key, ""), first.time_us, end or 0, str(last.severity)


async def stored(connection: asyncpg.Connection) -> list[AlertSeen]:
    rows = await connection.fetch(
        "SELECT r.name, a.box, a.started_at, a.resolved_at, a.severity"
        " FROM alerts a JOIN rules r ON r.id = a.rule_id"
    )
    return sorted(
        (
            row["name"],
            row["box"] or "",
            from_datetime(row["started_at"]),
            0 if row["resolved_at"] is None else from_datetime(row["resolved_at"]),
            row["severity"],
        )
        for row in rows
    )


def some_stream(dice: random.Random, length: int) -> list[Sent]:
    """Samples and events of three boxes: mostly in order, with gaps, late ones, repeats, missing metrics."""
    clock = dict.fromkeys(BOXES, from_datetime(START))
    stream: list[Sent] = []
    for _ in range(length):
        box = dice.choice(BOXES)
        clock[box] += dice.choice((1, 1, 1, 2, 3, 12)) * 1_000_000
        values = {"pm2_5": float(dice.randint(15, 45))}
        if dice.random() < 0.6:
            values["laeq"] = dice.randint(150, 400) / 10
        if dice.random() < 0.2:
            values.pop("pm2_5")
            values["temperature"] = 20.5
        stream.append(Sent(box, clock[box], values))
        if dice.random() < 0.15:
            stream.append(Sent(box, clock[box], {}, round(dice.random(), 2)))
        if dice.random() < 0.1 and len(stream) > 5:
            stream.append(dice.choice(stream[:-1]))
        if dice.random() < 0.1:
            late = clock[box] - dice.randint(5, 60) * 1_000_000 + 500_000
            stream.append(Sent(box, late, {"pm2_5": 99.0, "laeq": 99.0}))
    return stream


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("chosen", [tuple(RULES), ("plain", "silent"), ("plain", "quiet"), ("mean", "shots")])
@pytest.mark.usefixtures("boxes")
async def test_whatever_the_batches_restarts_and_doors_the_alerts_are_the_same(  # noqa: PLR0917 (fixtures)
    door: Door,
    tenant: Tenant,
    site_id: str,
    chosen: Sequence[str],
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in chosen:
        await add_rule(tenant, site_id, name, RULES[name])
    dice = random.Random(seed)  # noqa: S311 (a test's)
    # Of a batch not more is judged in one transaction.
    monkeypatch.setattr("app.ingest.pipeline.transaction_sizing._ENOUGH", dice.choice((1, 20, 200_000)))
    stream = some_stream(dice, 160)
    rest = list(stream)
    while rest:
        size = dice.choice((1, 2, 7, 30))
        await door.take(rest[:size], by_http=dice.random() < 0.25)
        del rest[:size]
        if dice.random() < 0.2:
            door.die()
    found = await stored(door.connection)
    assert found == await oracle(door.connection, stream)
    # The test says something only where every kind of rule had its turn.
    assert {name for name, *_ in found} >= set(chosen) - {"quiet", "energy", "median", "shots"}
    end = max(sent.time_us for sent in stream) + 60_000_000
    while (await door.run_due_timers(end)).transitions:
        pass
    assert await stored(door.connection) == await oracle(door.connection, stream, until_us=end)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("boxes")
async def test_ticks_bring_nothing_about_that_the_next_sample_would_not(
    door: Door, tenant: Tenant, site_id: str, seed: int
) -> None:
    for name, rule in RULES.items():
        await add_rule(tenant, site_id, name, rule)
    dice = random.Random(seed)  # noqa: S311 (a test's)
    # In the order of their times, as when nothing is held up: then a tick never runs ahead of what comes.
    stream = sorted(some_stream(dice, 120), key=lambda sent: sent.time_us)
    rest = list(stream)
    while rest:
        size = dice.choice((1, 3, 8))
        await door.take(rest[:size])
        before = rest[size - 1].time_us if len(rest) > size else rest[-1].time_us
        del rest[:size]
        until = rest[0].time_us - 1 if rest else before
        await door.run_due_timers(dice.randint(before, max(before, until)))
        if dice.random() < 0.2:
            door.die()
    end = stream[-1].time_us + 60_000_000
    await door.run_due_timers(end)
    assert await stored(door.connection) == await oracle(door.connection, stream, until_us=end)


@pytest.mark.parametrize("by_http", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("boxes")
async def test_a_box_that_delivers_what_it_had_kept_is_not_silent_by_the_clock_on_the_wall(
    door: Door,
    tenant: Tenant,
    site_id: str,
    seed: int,
    by_http: bool,  # noqa: FBT001 (a parameter)
) -> None:
    """Two days' worth of samples: between any two batches all boxes have long been silent by that clock."""
    for name, rule in RULES.items():
        await add_rule(tenant, site_id, name, rule)
    silent_site = {"boxes": SILENT, "at_least": 2}
    await add_rule(tenant, site_id, "all silent", {"severity": "info", "condition": silent_site})
    dice = random.Random(seed)  # noqa: S311 (a test's)
    stream = some_stream(dice, 120)
    rest = list(stream)
    arrival = door.now = datetime.now(UTC)
    while rest:
        size = dice.choice((1, 3, 8))
        # Each box is heard twice a minute at least.
        door.now = arrival = arrival + timedelta(seconds=dice.choice((0, 1, 2)))
        await door.take(rest[:size], by_http=by_http)
        del rest[:size]
        assert not (await door.run_due_timers(from_datetime(arrival) + 900_000)).transitions
        if dice.random() < 0.2:
            door.die()
    assert await stored(door.connection) == await oracle(door.connection, stream)
    # Once they have delivered all and nothing more comes they are silent.
    end = from_datetime(arrival) + 61_000_000
    assert (await door.run_due_timers(end)).transitions
    while (await door.run_due_timers(end)).transitions:
        pass
    assert await stored(door.connection) == await oracle(door.connection, stream, until_us=end)
