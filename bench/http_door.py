"""Measures ingest by HTTP: each call is answered after its commit."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import asyncpg

from bench.http_callers import build_requests
from bench.load import MessageLoad
from bench.measure import CpuReading
from bench.neighbour_client import ClientConnection
from bench.process import FailedError, python
from bench.stack import BenchStack, free_port

HEAD: Final = [
    "samples a call",
    "callers",
    "calls/s",
    "samples/s",
    "p50 (ms)",
    "p99 (ms)",
    "CPU API",
    "CPU PostgreSQL",
    "CPU callers",
]

_BOXES: Final = 1_000
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_WARM_CONNECTIONS: Final = 32
_UP_WITHIN_S: Final = 20.0


class HttpCase(NamedTuple):
    """A number of calls of a number of samples each, from a number of callers at once."""

    per_call: int
    callers: int
    calls: int


CASES: Final = (
    HttpCase(1, 1, 500),
    HttpCase(1, 32, 6_000),
    HttpCase(1, 256, 6_000),
    HttpCase(10, 1, 500),
    HttpCase(10, 32, 4_000),
    HttpCase(10, 256, 4_000),
    HttpCase(100, 1, 200),
    HttpCase(100, 32, 1_000),
    HttpCase(100, 256, 1_000),
)
"""A few seconds each."""


@dataclass(frozen=True, slots=True)
class HttpRate:
    """What became of a case.

    Attributes:
        case: the case.
        seconds: from its first call to its last answer.
        p50_ms, p99_ms: the time of a call.
        cpu: CPU seconds by process.
    """

    case: HttpCase
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu: dict[str, float]

    @property
    def calls_per_s(self) -> float:
        """Calls a second."""
        return self.case.calls / self.seconds

    def row(self) -> list[str]:
        """Return the cells of the report's table."""
        samples = self.case.calls * self.case.per_call
        return [
            f"{self.case.per_call}",
            f"{self.case.callers}",
            f"{self.calls_per_s:,.0f}",
            f"{samples / self.seconds:,.0f}",
            f"{self.p50_ms:.1f}",
            f"{self.p99_ms:.1f}",
            *(f"{self.cpu[name] / samples * 1e6:.1f}" for name in ("api", "postgres", "callers")),
        ]

    def line(self) -> str:
        """Return the row as one line."""
        return ", ".join(f"{name} {cell}" for name, cell in zip(HEAD, self.row(), strict=True))


async def measure(stack: BenchStack, cases: Sequence[HttpCase] = CASES) -> list[HttpRate]:
    """Send the calls of each case to one API process, one case after the other.

    Raises:
        FailedError: a call was refused, or not all was stored.
    """
    database = await stack.database("http")
    await stack.fleet(database, boxes=_BOXES, rules_per_site=20)
    start_ms = int(time.time()) * 1000 - _DAY_MS
    port = free_port()
    found = []
    async with stack.role("api", database, VIGIE_API__PORT=str(port)) as api:
        await _warm(stack, port, start_ms - _HOUR_MS)
        for number, case in enumerate(cases):
            task = {
                **case._asdict(),
                "port": port,
                "key": stack.admin_key,
                "boxes": min(_BOXES, case.calls),
                "start_ms": start_ms + number * _HOUR_MS,
            }
            found.append(await _measure_case(stack, case, task, {"api": api.pid, **stack.services}))
        stored = await _count(database)
    await stack.drop("http")
    sent = _BOXES + sum(case.calls * case.per_call for case in cases)
    if stored != sent:
        raise FailedError(f"{stored} of {sent} samples were stored.")
    return found


async def _measure_case(
    stack: BenchStack, case: HttpCase, task: dict[str, object], pids: dict[str, int]
) -> HttpRate:
    file = stack.folder / "http.json"
    file.write_text(json.dumps(task), encoding="utf-8")
    log = stack.folder / "http.log"
    async with python(
        "bench.http_callers", str(file), environment=stack.environment(""), log=log, piped=True
    ) as callers:
        await callers.told("ready")
        before = CpuReading.now(pids)
        await callers.go()
        seconds = await callers.told("seconds")
        cpu = CpuReading.now(pids).since(before)
        cpu["callers"] = await callers.told("cpu_s")
        if refused := await callers.told("refused"):
            raise FailedError(f"The API refused {refused:.0f} calls.")
        return HttpRate(case, seconds, await callers.told("p50_ms"), await callers.told("p99_ms"), cpu)


async def _warm(stack: BenchStack, port: int, start_ms: int) -> None:
    """Send a sample of each box: the first one on a day tells the ingest role of it."""
    async with asyncio.timeout(_UP_WITHIN_S):
        while True:
            try:
                connection = await ClientConnection.to(port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                break
    # Over many connections: the first calls together prepare statements on further connections of the API.
    requests = iter(build_requests(MessageLoad(_BOXES, _BOXES, start_ms), 1, stack.admin_key))

    async def send(connection: ClientConnection) -> None:
        for request in requests:
            await connection.ask(request)

    connections = [connection, *[await ClientConnection.to(port) for _ in range(_WARM_CONNECTIONS - 1)]]
    await asyncio.gather(*map(send, connections))


async def _count(database: str) -> int:
    connection = await asyncpg.connect(database)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM samples"))
    finally:
        await connection.close()
