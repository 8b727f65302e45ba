"""Subscribers of every kind to the measurement stream, while everything between a box and them dies."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import cycle
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from app.settings import VigieSettings
from app.standalone.free_ports import find_free_port
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import Tenant
from tests.faults.fleet import START_MS, FaultFleet, StoringBox, write_through
from tests.faults.harness import FaultOutcome, FaultReport, FaultSize
from tests.faults.stream_subscribers import (
    METRICS,
    EventReader,
    LiveSubscriber,
    MqttReceiver,
    PollingReader,
    ReceivedItems,
    Row,
    Servers,
    Subscriptions,
    WebhookReceiver,
    make_row,
    place_of,
    read_export,
    read_jetstream,
    read_points,
    read_queue,
    read_table,
    run_servers,
)
from tests.faults.test_crashes import SMALL
from tests.integration.notifications.receivers import receiving
from tests.scenarios.processes import RoleProcess, until

pytestmark = pytest.mark.fault

_DAY_MS = 86_400_000
_LATE = 20
# The long form: the samples are those of a day, sent in this time at this rate.
_LONG_S = float(os.environ.get("VIGIE_FAULT_SECONDS", "180"))
_LONG_RATE = float(os.environ.get("VIGIE_FAULT_RATE", "1000"))
_KILLS = 18
# Other processes wait for the leases of a killed one.
_DELIVER = {
    "VIGIE_WEBHOOKS__TOTAL_TIMEOUT_S": "4",
    "VIGIE_WEBHOOKS__LEASE_S": "5",
    "VIGIE_WEBHOOKS__BREAKER_MAX_S": "2",
}


@dataclass
class _Load:
    """Samples of boxes with `ack`, at a steady rate, until it is stopped or the day is over.

    It pauses while the boxes have more than `most_kept` samples that were not acknowledged.
    """

    boxes: StoringBox
    rate: float
    most: int | None
    most_kept: int
    is_over: bool = False
    seconds: float = 0.0

    async def run(self) -> None:
        fleet, began = self.boxes.fleet, time.monotonic()
        fleet.next_seq = _LATE
        while not self.is_over and (self.most is None or fleet.next_seq < self.most):
            while len(self.boxes.kept) > self.most_kept and not self.is_over:  # noqa: ASYNC110 (they are stored)
                await asyncio.sleep(0.05)
            self.boxes.record(fleet.next_seq)
            fleet.next_seq += 1
            due = began + (fleet.next_seq - _LATE) * len(fleet.boxes) / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        self.seconds = time.monotonic() - began

    async def all_named(self) -> bool:
        return not self.boxes.kept


def _make_load(fleet: FaultFleet, size: FaultSize) -> _Load:
    """Make a load; that of the long form has the times of a day."""
    rate = size.of(500.0, _LONG_RATE)
    most = _LATE + round(_LONG_S * rate / len(fleet.boxes)) if size.long else None
    step_ms = _DAY_MS // most if most else 100

    def make_body(seq: int) -> dict[str, object]:
        values = {"temperature": seq % 113 / 4, "pm2_5": seq % 97 / 4}
        return {"seq": seq, "time": START_MS + seq * step_ms, "values": values}

    boxes = StoringBox(fleet, again_s=size.of(5.0, 20.0), make_body=make_body)
    return _Load(boxes, rate, most, size.of(1_000, 100_000))


@dataclass
class _Victims:
    """Everything that is killed, and started again."""

    url: str
    roles: dict[str, RoleProcess]
    settings: dict[str, dict[str, str]]
    broker: PrivateMosquitto
    postgres: PrivatePostgres
    killed: Counter[str] = field(default_factory=Counter)

    def kills(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """One of each, again and again."""
        return cycle(
            [*(self._kill_role(name) for name in self.roles), self._kill_broker, self._kill_postgres]
        )

    def _kill_role(self, name: str) -> Callable[[], Awaitable[None]]:
        async def kill() -> None:
            await self.roles[name].kill()
            await self.roles[name].start(**self.settings[name])
            self.killed[name] += 1

        return kill

    async def _kill_broker(self) -> None:
        self.broker.kill()
        await self.broker.stop()
        await self.broker.start()
        self.killed["broker"] += 1

    async def _kill_postgres(self) -> None:
        self.postgres.kill()
        await self.postgres.stop()
        await self.postgres.start()
        self.killed["database"] += 1


@asynccontextmanager
async def _running(
    folder: Path, broker: PrivateMosquitto, postgres: PrivatePostgres, size: FaultSize
) -> AsyncIterator[_Victims]:
    """Run all roles for the length of a block."""
    port = find_free_port()
    api = {"VIGIE_API__PORT": str(port)}
    # At the rate of the long form, batches are as large as usual.
    ingest: dict[str, str] = size.of(SMALL, {})
    settings = {"ingest": ingest, "api": api, "deliver": _DELIVER, "maintain": {}}
    roles = {role: RoleProcess(role, folder / f"{role}.log") for role in settings}
    for role, process in roles.items():
        await process.start(**settings[role])
    try:
        yield _Victims(f"http://127.0.0.1:{port}", roles, settings, broker, postgres)
    finally:
        for process in roles.values():
            with suppress(ProcessLookupError):
                await process.terminate()


@asynccontextmanager
async def _following(live: Mapping[str, LiveSubscriber]) -> AsyncIterator[None]:
    """Let subscribers receive for the length of a block, once all are connected."""
    tasks = [asyncio.create_task(each.run()) for each in live.values()]

    async def are_listening() -> bool:
        return all(each.is_listening for each in live.values())

    try:
        await until(are_listening, patience_s=60)
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for each in live.values():
            await each.close()
    failed = [each for each in ended if not isinstance(each, asyncio.CancelledError)]
    assert failed == []


def _compare(exported: Counter[Row], got: dict[str, Counter[Row]]) -> dict[str, tuple[int, int]]:
    """How many rows each kind lacks, and how many it has too often."""
    found = {name: ((exported - rows).total(), (rows - exported).total()) for name, rows in got.items()}
    return {name: counts for name, counts in found.items() if counts != (0, 0)}


def _check_latest(servers: Servers, exported: Counter[Row]) -> None:
    """Remote write has the newest value of each box and metric, and nothing that is not in the export."""
    points = read_points(servers.victoria, '{__name__=~"vigie_(temperature|pm2_5)"}', "vigie_")
    newest = {box: max(row[1] for row in exported if row[0] == box) for box in {row[0] for row in exported}}
    for box, at in newest.items():
        assert _point_row(box, at, points[box, at]) in exported
    known = {(box, at): dict(zip(METRICS, cells, strict=True)) for box, at, *cells in exported}
    for (box, at), values in points.items():
        for metric, several in values.items():
            assert {f"{value:g}" for value in several} == {known[box, at][metric]}


def _point_row(box: str, at: datetime, values: dict[str, set[float]]) -> Row:
    """The row of points; a point with two values has none."""
    single = {metric: next(iter(several)) for metric, several in values.items() if len(several) == 1}
    return make_row(box, at, single)


async def _read_all(
    servers: Servers, live: Mapping[str, LiveSubscriber], webhook: WebhookReceiver
) -> dict[str, ReceivedItems]:
    return {
        **{name: each.got for name, each in live.items()},
        "webhook": webhook.got,
        "nats": await read_jetstream(servers.nats),
        "rabbitmq": await read_queue(servers.rabbitmq),
        "postgresql": await read_table(servers.database),
    }


async def _drive(fleet: FaultFleet, load: _Load, victims: _Victims, size: FaultSize) -> FaultOutcome:
    """Send samples while everything is killed in turn, then late ones; returns what is stored."""
    await fleet.consuming()
    living = asyncio.create_task(load.boxes.live())
    loading = asyncio.create_task(load.run())
    pause_s = size.of(0.0, _LONG_S / (_KILLS + 1))
    kills = victims.kills()
    for _ in range(size.of(6, _KILLS)):
        began = time.monotonic()
        if not size.long:
            await fleet.more(await fleet.rows() + 60)
        await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - began)))
        await next(kills)()
    fleet.healed()
    load.is_over = not size.long
    await loading
    # Older than all that the boxes have sent.
    for seq in range(_LATE):
        load.boxes.record(seq)
    await until(load.all_named, patience_s=size.of(120, 600))
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
    return await fleet.outcome(patience_s=60)


async def _catch_up(
    fleet: FaultFleet,
    live: Mapping[str, LiveSubscriber],
    webhook: WebhookReceiver,
    subscriptions: Subscriptions,
    patience_s: float,
) -> str:
    """Wait until all subscribers have everything; returns what is known of those that have not."""

    async def have_all() -> bool:
        received = [webhook.got, *(each.got for each in live.values())]
        last = max(map(place_of, live["sse"].got.rows), default=(0, 0))
        are_there = all(len(got.rows) >= len(fleet.sent) for got in received)
        return are_there and not await subscriptions.find_behind(last)

    try:
        await until(have_all, patience_s=patience_s)
    except TimeoutError:
        counts = {name: len(each.got.rows) for name, each in live.items()}
        last = max(map(place_of, live["sse"].got.rows), default=(0, 0))
        counts["webhook"] = len(webhook.got.rows)
        return f"{len(fleet.sent)} sent: {counts}, {await subscriptions.find_behind(last)}"
    return ""


# More than the long form of another fault: nine copies of what was sent are compared.
@pytest.mark.timeout(1500)
async def test_25_measurement_stream_beside_kills(
    *,
    tenant: Tenant,
    site_id: str,
    settings: VigieSettings,
    mosquitto: PrivateMosquitto,
    postgres: PrivatePostgres,
    size: FaultSize,
    report: FaultReport,
    tmp_path: Path,
) -> None:
    """Each kind of subscriber has what the export has, late samples included, each under one id."""
    names = [f"box-{number:03}" for number in range(size.of(20, 100))]
    fleet = FaultFleet(tenant.client, mosquitto, settings.database.url, names, tmp_path / "ledger")
    await fleet.register(site_id, ack=True)
    await write_through(fleet.database_url)
    load, webhook = _make_load(fleet, size), WebhookReceiver()
    async with (
        run_servers(tmp_path, postgres) as servers,
        receiving(webhook.answer) as receiver,
        _running(tmp_path, mosquitto, postgres, size) as victims,
    ):
        subscriptions = Subscriptions(tenant.client)
        secret, login = await subscriptions.add_all(receiver.url, servers)
        webhook.verifier = Webhook(secret)
        live: dict[str, LiveSubscriber] = {
            "sse": EventReader(victims.url, tenant.key),
            "poll": PollingReader(victims.url, tenant.key),
            "mqtt": MqttReceiver(mosquitto, login, subscriptions),
        }
        async with _following(live):
            outcome = await _drive(fleet, load, victims, size)
            stored_at = time.monotonic()
            behind = await _catch_up(fleet, live, webhook, subscriptions, size.of(60, 600))
            caught_up_s = time.monotonic() - stored_at
            exported = await read_export(victims.url, tenant.key)
        received = await _read_all(servers, live, webhook)
        points = read_points(servers.victoria, '{__name__=~"vigie_all_.*"}', "vigie_all_")
        _check_latest(servers, exported)
    rows = {name: Counter(got.rows.values()) for name, got in received.items()}
    rows["influxdb"] = Counter(_point_row(*place, values) for place, values in points.items())
    assert _compare(exported, rows) == {}, behind
    assert all(len(got.late) >= _LATE * len(names) for got in received.values())
    again = ", ".join(f"{name} {got.repeated:,}" for name, got in received.items() if got.repeated)
    report.add("25 measurement stream beside kills", outcome)
    report.note(
        f"25: {len(fleet.sent) / load.seconds:,.0f} messages a second for {load.seconds:.0f} s; killed: "
        f"{dict(victims.killed)}; subscribers had everything {caught_up_s:.1f} s after it was stored; "
        f"came again under the same id: {again or 'nothing'}"
    )
