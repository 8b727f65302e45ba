"""Measures calls of the REST API beside a bare FastAPI application on the same database.

Four connections send as fast as they are answered: rate, and CPU time a request of the API's processes and of
PostgreSQL. Then requests arrive at a fixed rate: their latency.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import asyncpg

from bench.load import box_id
from bench.measure import CpuReading
from bench.process import FailedError, RunningProcess, python
from bench.results import percentile
from bench.stack import BenchStack, free_port

SITES: Final = 10
BOXES: Final = 50
ALERTS: Final = 20
CONNECTIONS: Final = 4
RATE_PER_S: Final = 100
"""Requests a second of the measurement of latency."""
REFERENCE: Final = "FastAPI"
"""The name of the competitor."""
CALLS: Final = ("/healthz", "/v1/sites", "/v1/boxes?limit=200", "/v1/alerts?state=firing")
_COMPARED: Final = frozenset(CALLS[:2])
_DATABASE: Final = "api"
_START_WITHIN_S: Final = 20.0
_HOT: Final = {"metric": "temperature", "operator": ">", "threshold": 40}


@dataclass(frozen=True, slots=True)
class CallRate:
    """One kind of call, measured on one server.

    Attributes:
        server: Vigie with a number of API processes, or the competitor.
        path: what was called.
        calls: answered calls of the closed loop.
        seconds: the duration of the closed loop.
        cpu: CPU seconds by process: api, postgres.
        took_ms: latencies at the fixed rate.
    """

    server: str
    path: str
    calls: int
    seconds: float
    cpu: Mapping[str, float]
    took_ms: Sequence[float]

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    def cpu_us(self, process: str) -> float:
        """CPU time of a process for each call, in µs."""
        return self.cpu[process] / self.calls * 1e6

    def row(self, reference: "CallRate | None") -> list[str]:
        """Return the cells of the report's table; `reference` is the competitor's measurement."""
        ratio = "" if reference is None else f"**{self.cpu_us('api') / reference.cpu_us('api'):.2f}**"
        return [
            f"`{self.path}`",
            self.server,
            f"{self.rate:,.0f}",
            f"{self.cpu_us('api'):,.0f}",
            ratio,
            f"{self.cpu_us('postgres'):,.0f}",
            f"{percentile(self.took_ms, 0.5):.1f}",
            f"{percentile(self.took_ms, 0.99):.1f}",
        ]


HEAD: Final = [
    *("call", "server", "calls/s", "CPU API", "÷ FastAPI", "CPU PostgreSQL"),
    *("p50 (ms)", "p99 (ms)"),
]


def tabulate(found: Sequence[CallRate]) -> list[list[str]]:
    """Return the rows of the report's table, by call."""
    references = {each.path: each for each in found if each.server == REFERENCE}
    order = sorted(found, key=lambda each: (CALLS.index(each.path), each.server != REFERENCE, each.server))
    return [each.row(None if each.server == REFERENCE else references.get(each.path)) for each in order]


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    port: int
    process: RunningProcess


async def measure(
    stack: BenchStack, *, seconds: float = 5.0, workers: Sequence[int] = (1,), rounds: int = 2
) -> list[CallRate]:
    """Measure each call on each server, in turns.

    Args:
        stack: where.
        seconds: duration of each closed loop, and of each measurement of latency.
        workers: numbers of API processes to measure.
        rounds: turns; the sums are reported.

    Raises:
        FailedError: a server does not start, or refuses a request.
    """
    database = await stack.database(_DATABASE)
    await stack.fleet(database, boxes=BOXES, rules_per_site=1, sites=SITES)
    key = await _prepare(stack, database)
    found: dict[tuple[str, str], CallRate] = {}
    async with _servers(stack, database, workers) as servers:
        for number in range(rounds):
            for path in CALLS:
                for server in servers if number % 2 == 0 else servers[::-1]:
                    if server.name == REFERENCE and path not in _COMPARED:
                        continue
                    part = await _measure_call(stack, server, path, key, seconds)
                    known = found.get((server.name, path))
                    found[server.name, path] = part if known is None else _add(known, part)
    await stack.drop(_DATABASE)
    return list(found.values())


def _add(one: CallRate, other: CallRate) -> CallRate:
    return CallRate(
        one.server,
        one.path,
        one.calls + other.calls,
        one.seconds + other.seconds,
        {name: one.cpu[name] + other.cpu[name] for name in one.cpu},
        [*one.took_ms, *other.took_ms],
    )


async def _prepare(stack: BenchStack, database: str) -> str:
    """Make alerts fire, and return an API key of the organisation."""
    async with stack.api(database) as admin:
        sites = (await admin.call("GET", "/v1/sites"))["data"]
        for site in sites:
            rule = {"site_id": site["id"], "name": "Hot", "severity": "info", "condition": _HOT}
            await admin.call("POST", "/v1/rules", rule)
        for number in range(ALERTS):
            sample = {"time": await _now(database), "values": {"temperature": 60}}
            await admin.call("POST", "/v1/telemetry", {"box": box_id(number), "samples": [sample]})
        alerts = (await admin.call("GET", "/v1/alerts?state=firing"))["data"]
        if len(alerts) != ALERTS:
            raise FailedError(f"{len(alerts)} alerts fire instead of {ALERTS}.")
        key = await admin.call("POST", "/v1/api-keys", {"name": "bench", "scopes": ["*"]})
    return str(key["key"])


async def _now(database: str) -> str:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("ANALYZE")
        now: str = (await connection.fetchval("SELECT now()")).isoformat()
    finally:
        await connection.close()
    return now


@asynccontextmanager
async def _servers(stack: BenchStack, database: str, workers: Sequence[int]) -> AsyncIterator[list[_Server]]:
    environment = stack.environment(database)
    port = free_port()
    module = "bench.competitors.fastapi_app"
    log = stack.folder / "fastapi.log"
    async with python(module, database, str(port), environment=environment, log=log) as reference:
        servers = [_Server(REFERENCE, port, reference)]
        async with _vigie(stack, database, workers) as vigie:
            await _answers(port)
            yield [*servers, *vigie]


@asynccontextmanager
async def _vigie(stack: BenchStack, database: str, workers: Sequence[int]) -> AsyncIterator[list[_Server]]:
    if not workers:
        yield []
        return
    first, *rest = workers
    async with (
        stack.api_role(database, VIGIE_API__WORKERS=str(first)) as (client, running),
        _vigie(stack, database, rest) as more,
    ):
        name = "Vigie" if first == 1 else f"Vigie, {first} processes"
        yield [_Server(name, int(client.address.rpartition(":")[2]), running), *more]


async def _answers(port: int) -> None:
    async with asyncio.timeout(_START_WITHIN_S), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/healthz"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def _measure_call(stack: BenchStack, server: _Server, path: str, key: str, seconds: float) -> CallRate:
    pids = {"api": server.process.pid, **stack.services}
    task = {"port": server.port, "key": key, "path": path, "connections": CONNECTIONS, "seconds": seconds}
    looped, cpu, took_s = await _run_client(stack, {**task, "rate": 0}, pids)
    at_rate, _, _ = await _run_client(stack, {**task, "rate": RATE_PER_S}, pids)
    return CallRate(server.name, path, len(looped), took_s, cpu, at_rate)


async def _run_client(
    stack: BenchStack, task: Mapping[str, object], pids: Mapping[str, int]
) -> tuple[list[float], dict[str, float], float]:
    """Run one client; returns the latencies (ms), the CPU seconds of each process, and the duration (s)."""
    path = stack.folder / "api_client.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    log = stack.folder / "api_client.log"
    environment = stack.environment("")
    async with python("bench.api_client", str(path), environment=environment, log=log, piped=True) as client:
        await client.told("ready")
        before = CpuReading.now(pids)
        await client.go()
        took_ms = await client.read_result("took_ms")
        after = CpuReading.now(pids)
    return took_ms, after.since(before), after.at - before.at
