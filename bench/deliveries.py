"""Measures the rate and the cost of webhook deliveries, and the effect of a hanging receiver on others.

The receiver is a process of its own (`bench.receiver`); the monotonic clock is the machine's, so this process
and that one read the same.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.notifications.http.webhook_signatures import generate_secret
from app.platform.kernel.ids import new_id
from bench.measure import CpuReading, peak_rss
from bench.process import FailedError, python
from bench.results import percentile
from bench.stack import BenchStack, free_port

NAMES: Final[dict[str, str]] = {
    "g": "**Vigie deliver**",
    "h": "the usual way: httpx, a row read and a row written for each, eight concurrent",
    "i": "aiohttp from memory, eight concurrent, stores nothing",
}
"""The senders, by letter."""

MANY: Final = 20_000
_DATABASE: Final = "deliveries"
_WITHIN_S: Final = 180.0
_LOOK_EVERY_S: Final = 0.02
_SETTLE_S: Final = 2.0
_TICK_S: Final = 0.01
RATE: Final = 100
"""Events a second for each endpoint while delays are measured."""
_BATCH: Final = 1_000
_DELIVERED: Final = "SELECT count(*) FROM deliveries WHERE state = 'delivered'"


@dataclass(frozen=True, slots=True)
class DeliveryRun:
    """A run of many deliveries by one sender.

    Attributes:
        letter: who delivered.
        messages: how many.
        seconds: from the first arrival at the receiver to the last record of a delivery.
        cpu: CPU seconds by process: deliver, postgres.
        peak: the most memory of the delivering process (bytes).
        lost: messages that did not arrive.
        twice: arrivals too many.
    """

    letter: str
    messages: int
    seconds: float
    cpu: Mapping[str, float]
    peak: int
    lost: int
    twice: int

    @property
    def rate(self) -> float:
        """Deliveries a second."""
        return self.messages / self.seconds

    def row(self) -> list[str]:
        """Return the cells of the report's table."""
        return [
            f"({self.letter}) {NAMES[self.letter]}",
            f"{self.rate:,.0f}",
            *(f"{self.cpu.get(name, 0.0) / self.messages * 1e6:,.0f}" for name in ("deliver", "postgres")),
            f"{self.peak / 2**20:.0f} MiB",
            f"{self.lost:,}",
            f"{self.twice:,}",
        ]

    def line(self) -> str:
        """Format the run as a line of progress."""
        cpu = ", ".join(f"{name} {seconds / self.messages * 1e6:,.0f}" for name, seconds in self.cpu.items())
        return (
            f"({self.letter}) {self.rate:,.0f} deliveries/s; CPU µs/delivery: {cpu}; lost {self.lost},"
            f" twice {self.twice}"
        )


HEAD: Final = ["sender", "deliveries/s", "CPU deliver", "CPU PostgreSQL", "peak", "lost", "twice"]


@dataclass(frozen=True, slots=True)
class EndpointDelays:
    """Delays of one endpoint, by the behaviour of the other endpoints.

    Attributes:
        others: what they do.
        delays_ms: from the event's commit to its arrival.
    """

    others: str
    delays_ms: tuple[float, ...]

    def at(self, share: float) -> float:
        """Return a percentile (ms)."""
        return percentile(self.delays_ms, share)

    def row(self) -> list[str]:
        """Return the cells of the report's table."""
        return [
            self.others,
            f"{len(self.delays_ms):,}",
            f"{self.at(0.5):.1f}",
            f"{self.at(0.99):.1f}",
            f"{max(self.delays_ms):.1f}",
        ]


BESIDE_HEAD: Final = ["the other endpoints", "deliveries", "p50 (ms)", "p99 (ms)", "longest (ms)"]


class ReceiverProcess:
    """A receiver in a separate process."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    async def came(self) -> dict[str, dict[str, list[float]]]:
        """Return the received deliveries, by path and id."""
        async with aiohttp.ClientSession() as client, client.get(f"{self.url}/") as answer:
            found: dict[str, dict[str, list[float]]] = json.loads(await answer.read())
            return found


@asynccontextmanager
async def receiver(stack: BenchStack) -> AsyncIterator[ReceiverProcess]:
    """Run a receiver during a block."""
    port = free_port()
    log = stack.folder / "receiver.log"
    async with python("bench.receiver", str(port), environment=stack.environment(""), log=log):
        found = ReceiverProcess(port)
        async with asyncio.timeout(_SETTLE_S * 5):
            while True:
                try:
                    await found.came()
                except aiohttp.ClientError:
                    await asyncio.sleep(_LOOK_EVERY_S)
                else:
                    break
        yield found


def _record(organisation: UUID, number: int) -> OutboxRecord:
    """Build an event of realistic size."""
    payload: dict[str, Any] = {
        "alert_id": uuid4(),
        "rule_id": uuid4(),
        "rule_name": "Particules fines",
        "rule_version": 1,
        "organisation_id": organisation,
        "site_id": uuid4(),
        "box": f"box-{number:05}",
        "metric": "pm2_5",
        "value": 31.2,
        "threshold": 25.0,
        "clear": 20.0,
        "severity": "warning",
        "highest_severity": "warning",
        "state": "firing",
        "pending_since": datetime.now(UTC),
        "started_at": datetime.now(UTC),
        "resolved_at": None,
        "resolved_value": None,
        "resolution": None,
        "acknowledged_at": None,
        "description": None,
        "assignee": None,
        "sequence": 1,
        "cause": {"path": "levels/0/condition", "function": None, "window": None, "event": None, "boxes": []},
    }
    return OutboxRecord(new_id(), organisation, None, "alert.firing", payload, datetime.now(UTC))


async def _organisation(stack: BenchStack, database: str, urls: list[str]) -> UUID:
    """Create an organisation with these endpoints."""
    async with stack.api(database) as client:
        made = await client.call("POST", "/v1/organisations", {"name": "Bench"})
        for url in urls:
            hook = {"url": url, "events": ["alert.firing"], "organisation_id": made["id"]}
            await client.call("POST", "/v1/webhooks", hook)
    return UUID(made["id"])


async def _delivered(connection: asyncpg.Connection, wanted: int) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while await connection.fetchval(_DELIVERED) < wanted:  # noqa: ASYNC110 (another process's work)
            await asyncio.sleep(0.1)


async def vigie(stack: BenchStack, many: int = MANY) -> DeliveryRun:
    """Deliver a backlog of events to one endpoint with Vigie."""
    database = await stack.database(_DATABASE)
    connection = await asyncpg.connect(database)
    try:
        async with receiver(stack) as fast:
            organisation = await _organisation(stack, database, [f"{fast.url}/fast"])
            records = [_record(organisation, number) for number in range(many)]
            for start in range(0, many, _BATCH):
                await enqueue_events(connection, records[start : start + _BATCH])
            async with stack.role("deliver", database) as running:
                pids = {"deliver": running.pid, "postgres": stack.postgres.pid}
                before = CpuReading.now(pids)
                await _delivered(connection, many)
                after = CpuReading.now(pids)
                peak = peak_rss(running.pid)
            came = (await fast.came())["/fast"]
    finally:
        await connection.close()
    await stack.drop(_DATABASE)
    first = min(instants[0] for instants in came.values())
    wanted = {build_message_id(record.id) for record in records}
    return DeliveryRun(
        "g",
        many,
        after.at - first,
        after.since(before),
        peak,
        len(wanted - came.keys()),
        sum(len(instants) - 1 for instants in came.values()),
    )


async def other(stack: BenchStack, letter: str, many: int = MANY) -> DeliveryRun:
    """Send the same backlog with a competitor (h or i), from a separate table."""
    database = await stack.database(_DATABASE)
    connection = await asyncpg.connect(database)
    module = {"h": "bench.competitors.post_each", "i": "bench.competitors.post_only"}[letter]
    try:
        await connection.execute(
            "CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL,"
            " state text NOT NULL DEFAULT 'pending', status integer, attempted_at timestamptz)"
        )
        await connection.execute("CREATE INDEX ON jobs (id) WHERE state = 'pending'")
        body = json.dumps(_record(uuid4(), 1).payload, default=str).encode()
        await connection.executemany("INSERT INTO jobs (body) VALUES ($1)", [(body,)] * many)
        async with receiver(stack) as fast:
            arguments = (database, f"{fast.url}/fast", generate_secret())
            log = stack.folder / f"{letter}.log"
            environment = stack.environment(database)
            async with python(module, *arguments, environment=environment, log=log, piped=True) as running:
                pids = {"deliver": running.pid, "postgres": stack.postgres.pid}
                before = CpuReading.now(pids)
                async with asyncio.timeout(_WITHIN_S):
                    ended = await running.told("done")
                after = CpuReading.now(pids)
                peak = peak_rss(running.pid)
            came = (await fast.came())["/fast"]
    finally:
        await connection.close()
    await stack.drop(_DATABASE)
    first = min(instants[0] for instants in came.values())
    twice = sum(len(instants) - 1 for instants in came.values())
    return DeliveryRun(letter, many, ended - first, after.since(before), peak, many - len(came), twice)


async def measure_delivery_rates(stack: BenchStack, many: int = MANY) -> list[DeliveryRun]:
    """Measure the three senders in sequence."""
    return [await vigie(stack, many), await other(stack, "h", many), await other(stack, "i", many)]


async def measure_endpoint_delays(
    stack: BenchStack, *, others: str, hanging: int, answering: int, seconds: int
) -> EndpointDelays:
    """Measure the delays of one endpoint at a steady rate, while others answer or hang.

    Raises:
        FailedError: something that was due did not arrive.
    """
    database = await stack.database(_DATABASE)
    connection = await asyncpg.connect(database)
    sent: dict[str, float] = {}
    try:
        async with receiver(stack) as fast:
            urls = [
                f"{fast.url}/{'hang' if number < hanging else 'other'}/{number}"
                for number in range(hanging + answering)
            ]
            organisation = await _organisation(stack, database, [*urls, f"{fast.url}/watched"])
            async with stack.role("deliver", database):
                await asyncio.sleep(_SETTLE_S)
                began = time.monotonic()
                for number in range(seconds * RATE):
                    await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
                    record = _record(organisation, number)
                    await enqueue_events(connection, [record])
                    sent[build_message_id(record.id)] = time.monotonic()
                    await wake_dispatcher(connection)
                await asyncio.sleep(_SETTLE_S)
                came = (await fast.came())["/watched"]
    finally:
        await connection.close()
    await stack.drop(_DATABASE)
    missing = len(sent.keys() - came.keys())
    if missing:
        raise FailedError(
            f"{missing} of {len(sent)} deliveries had not arrived {_SETTLE_S:.0f} s after the last"
        )
    return EndpointDelays(others, tuple((came[key][0] - at) * 1000 for key, at in sent.items()))


async def compare_endpoint_delays(
    stack: BenchStack, *, seconds: int = 10, rounds: int = 2
) -> list[EndpointDelays]:
    """Compare one endpoint beside one or twenty others that answer or hang, in alternation."""
    cases = {
        "one answering endpoint": (0, 1),
        "one hanging endpoint": (1, 0),
        "twenty answering endpoints": (0, 20),
        "twenty hanging endpoints": (20, 0),
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        order = list(cases) if number % 2 == 0 else list(reversed(cases))
        for name in order:
            hanging, answering = cases[name]
            part = await measure_endpoint_delays(
                stack, others=name, hanging=hanging, answering=answering, seconds=seconds
            )
            found[name] += part.delays_ms
    return [EndpointDelays(name, tuple(delays)) for name, delays in found.items()]
