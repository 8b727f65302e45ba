"""Rules against themselves: a scenario that is played one thing at a time, and once more in batches by both
doors, amid deaths of the consumer and transactions that fail, gives the same alerts and the same counts.

What happens: samples and events, in order, late, repeated, of lagging metrics or refused by the database;
rules that are made, changed, disabled and deleted; boxes that move and are labelled anew; sites whose
attributes and time zones change; clocks that are put forward or back; ticks.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, TypeGuard
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.ingest.pipeline import batch_pipeline as pipelines
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.message_log.partitions import OwnedPartitions, find_site_partition, find_unknown_box_partition
from app.platform.db.database import Database
from app.platform.kernel.application_resources import provide_resources
from app.platform.kernel.instants import from_datetime, to_datetime
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.ingest.pipeline.test_rule_context import Door, Sent
from tests.integration.ingest.test_states_model import Trouble
from tests.integration.ingest.walk_scenarios import POISON, SITES, Call, Happening, S, Scenario, Tick

LENGTH = 150
SEEDS = (
    *range(6),
    *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 66)),
)

type Alerts = Mapping[str, Sequence[tuple[Any, ...]]]
"""By rule, those that there were."""


@dataclass(frozen=True)
class Outcome:
    """What a scenario came to."""

    alerts: Alerts
    stored: int
    quarantined: int


class SharedDoor(Door):
    """Three workers with shares of the partitions, which die, and take partitions from each other.

    Each message is in the partition of its box's site, or in that of the site it has left: of two edges,
    between which boxes change, each learns of moves at times of its own.

    Args:
        connection: the connection of the test.
        dice: decides who has which partition, and when an edge learns of a move.
    """

    PARTITIONS = 5

    def __init__(self, connection: asyncpg.Connection, dice: random.Random) -> None:
        super().__init__(connection)
        self._dice = dice
        self._edges: list[Mapping[str, UUID]] = [{}, {}]
        self._shares = [OwnedPartitions(self.PARTITIONS) for _ in range(3)]
        self._workers: list[IngestPipeline] = []
        self.die()

    def _begin(self, owned: OwnedPartitions) -> IngestPipeline:
        return IngestPipeline(RegistryCache(), is_consumer=True, owned=owned)

    def _deal(self) -> list[set[int]]:
        shares: list[set[int]] = [set() for _ in self._shares]
        for number in range(self.PARTITIONS):
            self._dice.choice(shares).add(number)
        return shares

    def die(self) -> None:
        """All die, and others share the partitions differently."""
        for owned, share in zip(self._shares, self._deal(), strict=True):
            owned.replace(share)
        self._workers = [self._begin(owned) for owned in self._shares]

    async def rebalance(self) -> None:
        """All live, and change what they own."""
        shares = self._deal()
        # Nobody takes a partition that its owner has not given up.
        for worker, owned, share in zip(self._workers, self._shares, shares, strict=True):
            await worker.change_ownership(self.connection, share & set(owned.numbers))
        for worker, share in zip(self._workers, shares, strict=True):
            await worker.change_ownership(self.connection, share)

    async def take(self, sent: Sequence[Sent], *, by_http: bool = False) -> BatchReceipt:
        if by_http:
            return await super().take(sent, by_http=True)
        if self._dice.random() < 0.1:
            await self.rebalance()
        if self._dice.random() < 0.5:
            rows = await self.connection.fetch("SELECT id, site_id FROM boxes")
            self._edges[self._dice.randrange(2)] = {row["id"]: row["site_id"] for row in rows}
        receipt = BatchReceipt("mqtt")
        edges = {each.box: self._dice.choice(self._edges) for each in sent}
        # Workers take what comes in its order: that of boxes of one site counts.
        for number, its in groupby(sent, lambda each: self._find_owner(each.box, edges[each.box])):
            self.consumer = self._workers[number]
            receipt.add(await super().take(list(its)))
        return receipt

    def _find_owner(self, box: str, sites: Mapping[str, UUID]) -> int:
        site = sites.get(box)
        partition = (
            find_unknown_box_partition(box, self.PARTITIONS)
            if site is None
            else find_site_partition(site, self.PARTITIONS)
        )
        return next(number for number, owned in enumerate(self._shares) if partition in owned.numbers)

    async def run_due_timers(self, at_us: int) -> BatchReceipt:
        receipt = BatchReceipt("mqtt")
        for worker in self._workers:
            receipt.add(await worker.run_due_timers(self.connection, now=to_datetime(at_us)))
        return receipt

    @property
    def has_more_to_check(self) -> bool:
        return any(worker._boxes_to_check or worker._sites_to_check for worker in self._workers)


class Player:
    """Plays a scenario on sites and boxes of its own.

    Args:
        name: sets its boxes apart from those of another player.
        dice: how it makes batches of what is sent, and what goes wrong; None: it takes one thing at a time.
        trouble: makes its transactions fail.
    """

    def __init__(
        self,
        name: str,
        client: httpx.AsyncClient,
        door: Door,
        dice: random.Random | None = None,
        trouble: Trouble | None = None,
    ) -> None:
        self.name, self.client, self.door = name, client, door
        self.dice, self.trouble = dice, trouble
        self.ids: dict[str, str] = {}

    async def play(self, happenings: Sequence[Happening]) -> None:
        waiting: list[Sent] = []
        for happening in happenings:
            if isinstance(happening, Sent):
                box = self.ids[happening.box]
                waiting.append(Sent(box, happening.time_us, happening.values, happening.confidence))
                continue
            await self.deliver(waiting)
            waiting.clear()
            if self.dice is not None and self.dice.random() < 0.2:
                self.door.die()
            if isinstance(happening, Call):
                await self.call(happening)
            else:
                await self.tick(happening)

    async def call(self, call: Call) -> None:
        kind, _, name = call.path.removeprefix("/v1/").partition("/")
        path = f"/v1/{kind}/{self.ids[name]}" if name else call.path
        body = None if call.body is None else dict(call.body)
        if body is not None and "site_id" in body:
            body["site_id"] = self.ids[body["site_id"]]
        if body is not None and "id" in body:
            body["id"] = f"{self.name}-{body['id']}"
        answer = await self.client.request(call.method, path, json=body)
        assert answer.is_success, (call, answer.text)
        if call.method == "POST" and call.body is not None:
            self.ids[call.body["id" if kind == "boxes" else "name"]] = answer.json()["id"]

    async def tick(self, tick: Tick) -> None:
        # One look takes so many boxes, those that are due first; one that took over has more to look at than
        # one that was there all the time, and the other player's boxes are among them. Which samples come
        # before all have had their turn is not promised, so they wait here.
        while (await self.door.run_due_timers(tick.at_us)).transitions or self.door.has_more_to_check:
            pass

    async def deliver(self, waiting: Sequence[Sent]) -> None:
        dice = self.dice
        if dice is None:
            for sent in waiting:
                await self.door.take([sent])
            return
        rest = list(waiting)
        while rest:
            size, by_http = dice.choice((1, 2, 7, 30)), dice.random() < 0.25
            if dice.random() < 0.2:
                await self.fail(rest[:size], by_http=by_http)
            await self.door.take(rest[:size], by_http=by_http)
            del rest[:size]
            if dice.random() < 0.15:
                self.door.die()

    async def fail(self, batch: Sequence[Sent], *, by_http: bool) -> None:
        """Offer a batch to a transaction that fails after one of its steps."""
        assert self.dice is not None
        assert self.trouble is not None
        self.trouble.at = (self.dice.choice(pipelines.STEPS)[0], False)
        with pytest.raises(asyncpg.DeadlockDetectedError):
            await self.door.take(batch, by_http=by_http)

    async def outcome(self, start_us: int) -> Outcome:
        """What there is of alerts, samples and refusals."""
        connection, boxes = self.door.connection, f"{self.name}-%"
        rows = await connection.fetch(
            "SELECT * FROM alerts WHERE site_id = ANY($1::uuid[])", [UUID(self.ids[site]) for site in SITES]
        )
        names = {UUID(identifier): name for name, identifier in self.ids.items() if name.startswith("rule")}
        alerts: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            alerts[names[row["rule_id"]]].append(_told(row, self.name, start_us))
        return Outcome(
            {rule: sorted(its, key=repr) for rule, its in alerts.items()},
            await connection.fetchval(
                "SELECT count(*) FROM samples s JOIN boxes b ON b.key = s.box_key WHERE b.id LIKE $1", boxes
            ),
            await connection.fetchval("SELECT count(*) FROM quarantine WHERE box LIKE $1", boxes),
        )


def _told(row: asyncpg.Record, player: str, start_us: int) -> tuple[Any, ...]:
    """What an alert tells, its times in seconds after the start."""
    return (
        (row["box"] or "").removeprefix(f"{player}-"),
        *(_seconds(row[name], start_us) for name in ("started_at", "pending_since", "resolved_at")),
        *(row[name] for name in ("severity", "resolution", "value", "resolved_value")),
    )


def _seconds(instant: datetime | None, start_us: int) -> float | str | None:
    if instant is None:
        return None
    seconds = (from_datetime(instant) - start_us) / S
    # Whoever changes a rule ends its alerts by the clock on the wall.
    return "then" if seconds > 20_000 else seconds


def differing(one: Alerts, other: Alerts, happenings: Sequence[Happening]) -> str:
    """Of each rule whose alerts differ what it said in turn, and the alerts that only one of both has."""
    lines: list[str] = []
    for rule in sorted(one.keys() | other.keys()):
        ours, theirs = one.get(rule, ()), other.get(rule, ())
        if ours == theirs:
            continue
        lines.append(f"{rule}: {len(ours)} alerts one by one, {len(theirs)} in batches")
        lines += [f"  {call.method} {call.body}" for call in happenings if _concerns(call, rule)]
        lines += [f"  one by one only {alert}" for alert in ours if alert not in theirs]
        lines += [f"  in batches only {alert}" for alert in theirs if alert not in ours]
    return "\n".join(lines)


def _concerns(happening: Happening, rule: str) -> TypeGuard[Call]:
    if not isinstance(happening, Call):
        return False
    return happening.path == f"/v1/rules/{rule}" or (happening.body or {}).get("name") == rule


@pytest.fixture
def client(application: FastAPI, settings: VigieSettings, tenant: Tenant) -> httpx.AsyncClient:
    # Accounts at the broker are not what this is about, and each costs it a moment.
    broker = settings.broker.model_copy(update={"password_file": None})
    provide_resources(application, broker)
    return tenant.client


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_batches_doors_deaths_and_failures_change_no_alert(
    client: httpx.AsyncClient,
    database: Database,
    seed: int,
    shared: bool,  # noqa: FBT001 (a parameter of the test)
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(seed)  # noqa: S311 (a test's)
    scenario = Scenario(dice)
    happenings = scenario.fill(LENGTH)
    # No box is given time to deliver what it had kept: when it was heard is a matter of batches.
    monkeypatch.setattr("app.timeseries.storage.box_state_cache._DELIVERY_US", 86_400 * S)
    trouble = Trouble(monkeypatch)
    connection = await database.connect()
    await connection.execute(f"ALTER TABLE samples ADD CONSTRAINT poison CHECK (battery <> {POISON})")
    single = Player("one", client, Door(connection))
    await single.play(happenings)
    one = await single.outcome(scenario.start_us)
    # Of a batch not more is judged in one transaction.
    monkeypatch.setattr("app.ingest.pipeline.transaction_sizing._ENOUGH", dice.choice((20, 200, 200_000)))
    door = SharedDoor(connection, dice) if shared else Door(connection)
    bulk = Player("many", client, door, dice, trouble)
    await bulk.play(happenings)
    many = await bulk.outcome(scenario.start_us)
    connection.terminate()
    differences = differing(one.alerts, many.alerts, happenings)
    assert not differences, differences
    assert one.alerts
    assert (one.stored, one.quarantined) == (many.stored, many.quarantined)
