"""Measures a tenant's latency beside another one at its rate limit: one API process or several, two tenants.

The watched tenant sends steadily, and well within its limits; the other one is quiet, or asks for all that
its limits let through and more. The clients are processes of their own (`bench.neighbour_client`); the
monotonic clock is the machine's, so all of them read the same.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import asyncpg
import psutil

from app.platform.config.api_settings import ApiSettings
from bench.measure import CpuReading
from bench.process import FailedError, RunningProcess, python
from bench.results import percentile
from bench.stack import LIMITS, BenchStack
from simulators.rest_client import ApiClient

READS_PER_S: Final = 8
SAMPLES_PER_S: Final = 16
"""What the watched tenant asks: less than one key may, and less than one organisation may."""
QUIET: Final = "quiet"
SEVERAL: Final = 4
"""Keys, where there are several."""

_DATABASE: Final = "neighbour"
_SITES: Final = 5
_BOXES: Final = 50
_MINUTES: Final = 720
_WARM_S: Final = 2.0
_SETTLE_S: Final = 0.5
_TELLS_WITHIN_S: Final = 120.0
_MANNERS: Final = ("polite", "rude")
_FILL: Final = """
INSERT INTO samples (box_key, time, pm2_5, temperature)
SELECT b.key, date_trunc('minute', now()) - n * interval '1 minute', 10 + n % 20, n % 30
FROM boxes b, generate_series(1, $1::int) AS n
"""
# As ingest leaves it: a row without its newest samples makes each read of latest values look for hundreds.
_FILL_STATES: Final = """
UPDATE box_states SET newest_us = s.us, last_sample_at = now(), samples = $1, latest = jsonb_build_object(
    'pm2_5', jsonb_build_array(11, s.us), 'temperature', jsonb_build_array(1, s.us))
FROM (SELECT (extract(epoch FROM max(time)) * 1000000)::bigint AS us FROM samples) AS s
"""


@dataclass(frozen=True, slots=True)
class NeighbourCase:
    """The behaviour of the other tenant.

    Attributes:
        keys: of how many each asks.
        manner: of the other one: quiet, polite or rude.
        workers: the API processes.
    """

    keys: int
    manner: str
    workers: int = 1

    @property
    def name(self) -> str:
        """The label in the report."""
        keys = "one key" if self.keys == 1 else f"{self.keys} keys"
        processes = "" if self.workers == 1 else f", {self.workers} processes"
        return f"{keys}, {self.manner}{processes}"


@dataclass(slots=True)
class MeasuredTenant:
    """The requests of the measured tenant in a case.

    Attributes:
        parts_ms: of each part, the time of each answer from when it was due.
        seconds: how long it was watched.
        passed: requests of the other tenant that were answered.
        refused: those that were not, for the limits.
        cpu_s: CPU by process.
        idle: of the machine's CPU time, the share that nobody used.
    """

    parts_ms: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    passed: int = 0
    refused: int = 0
    cpu_s: dict[str, float] = field(default_factory=dict)
    idle: list[float] = field(default_factory=list)

    def add(self, other: "MeasuredTenant") -> None:
        """Put another part to this one."""
        self.parts_ms += other.parts_ms
        self.seconds += other.seconds
        self.passed += other.passed
        self.refused += other.refused
        self.idle += other.idle
        for name, seconds in other.cpu_s.items():
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + seconds

    @property
    def took_ms(self) -> list[float]:
        """The times of all parts."""
        return [took_ms for part in self.parts_ms for took_ms in part]

    def at(self, share: float) -> float:
        """Return a percentile (ms): the median of those of the parts.

        A stall of the disk, of which there are some in a run, lasts for a tenth of a second or more, and
        would otherwise be the percentile of its case.
        """
        return median(percentile(part, share) for part in self.parts_ms)

    def row(self, case: NeighbourCase, quiet: "MeasuredTenant") -> list[str]:
        """Return the cells of the report's table."""
        return [
            case.name,
            f"{self.passed / self.seconds:.0f}",
            f"{self.refused / self.seconds:.0f}",
            f"{len(self.took_ms):,}",
            f"{self.at(0.5):.1f}",
            f"{self.at(0.99):.1f}",
            f"{percentile(self.took_ms, 0.99):.1f}",
            f"{max(self.took_ms):.0f}",
            "" if self is quiet else f"**{self.at(0.99) / quiet.at(0.99):.2f}**",
            f"{self.cpu_s['api'] / self.seconds:.0%}",
            f"{self.cpu_s['clients'] / self.seconds:.0%}",
            f"{sum(self.idle) / len(self.idle):.0%}",
        ]


HEAD: Final = [
    *(
        "the other tenant",
        "answered/s",
        "refused/s",
        "requests",
        "p50 (ms)",
        "p99 (ms)",
        "of all",
        "max (ms)",
    ),
    *("p99 ÷ quiet", "CPU API", "CPU clients", "CPU left"),
]
type Found = dict[NeighbourCase, MeasuredTenant]


def list_default_limits() -> dict[str, str]:
    """List the default limits as environment variables."""
    names = [name.removeprefix("VIGIE_API__").lower() for name in LIMITS]
    return {
        variable: str(ApiSettings.model_fields[name].default)
        for variable, name in zip(LIMITS, names, strict=True)
    }


@dataclass(frozen=True, slots=True)
class TenantKeys:
    """A tenant with boxes that have sent for half a day.

    Attributes:
        keys: its API keys.
        boxes: its boxes.
        paths: what it reads.
    """

    keys: Sequence[str]
    boxes: Sequence[str]
    paths: Sequence[str]


async def new_tenant(admin: ApiClient, name: str, keys: int = SEVERAL) -> TenantKeys:
    """Make one, without samples."""
    owner = (await admin.post("/v1/organisations", {"name": name}))["id"]
    wanted = {"organisation_id": owner, "name": "bench", "scopes": ["*"]}
    made = [str((await admin.post("/v1/api-keys", wanted))["key"]) for _ in range(keys)]
    place = {"type": "Point", "coordinates": [1.44, 43.6]}
    boxes: list[str] = []
    paths = ["/v1/sites", "/v1/boxes?limit=20", "/v1/rules", "/v1/alerts"]
    for number in range(_SITES):
        site = {"name": f"Site {number}", "kind": "street", "timezone": "Europe/Paris", "location": place}
        site_id = (await admin.post("/v1/sites", {**site, "organisation_id": owner}))["id"]
        names = [f"{name}-{number}-{box}" for box in range(_BOXES // _SITES)]
        await admin.post("/v1/boxes/bulk", {"boxes": [{"id": box, "site_id": site_id} for box in names]})
        boxes += names
        paths += [f"/v1/sites/{site_id}/latest", f"/v1/boxes/{names[0]}/latest"]
        paths.append(f"/v1/boxes/{names[1]}/readings?metric=pm2_5&bucket=1h")
    return TenantKeys(made, boxes, paths)


class ClientProcess:
    """A process that sends the requests of one tenant."""

    def __init__(self, running: RunningProcess) -> None:
        self._running = running
        self.answers: list[tuple[float, float, str]] = []

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running.pid

    def last_words(self) -> str:
        """The last line of its log."""
        return self._running.last_words()

    async def tell(self, word: str) -> Mapping[str, int]:
        """Have it do something; gives what it counted until then, by status, once it began or is done."""
        process = self._running.process
        if process.stdin is None or process.stdout is None:
            raise FailedError("The client cannot be spoken to.")
        process.stdin.write(f"{word}\n".encode())
        await process.stdin.drain()
        async with asyncio.timeout(_TELLS_WITHIN_S):
            said = json.loads(await process.stdout.readline() or b"{}")
        if said.get("word") != word:
            raise FailedError(f"The client ended: {self._running.last_words()}")
        tally: dict[str, int] = said["tally"]
        return tally

    async def listen(self) -> None:
        """Keep what a steady one tells, as long as it does."""
        stream = self._running.process.stdout
        while stream is not None and (line := await stream.readline()):
            self.answers += [(due, took, kind) for due, took, kind in json.loads(line)["found"]]


@asynccontextmanager
async def client(stack: BenchStack, name: str, **task: object) -> AsyncIterator[ClientProcess]:
    """Run a process of clients for the length of a block."""
    path = stack.folder / f"{name}.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    log = stack.folder / f"{name}.log"
    module = "bench.neighbour_client"
    async with python(module, str(path), environment=stack.environment(""), log=log, piped=True) as running:
        yield ClientProcess(running)


async def fill(database: str) -> None:
    """Give every box half a day of samples."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(_FILL, _MINUTES)
        await connection.execute(_FILL_STATES, _MINUTES)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class _Scene:
    """All processes of one number of keys."""

    keys: int
    pids: Mapping[str, int]
    watched: ClientProcess
    other: ClientProcess

    async def part(self, manner: str, seconds: float) -> MeasuredTenant:
        """Watch for so long what becomes of the one while the other is quiet, polite or rude."""
        if manner != QUIET:
            await self.other.tell("drain")
            await self.other.tell(manner)
        await asyncio.sleep(_SETTLE_S)
        psutil.cpu_times_percent()
        before = CpuReading.now(self.pids)
        await asyncio.sleep(seconds)
        after = CpuReading.now(self.pids)
        idle = psutil.cpu_times_percent().idle / 100
        tally = await self.other.tell("hush")
        await asyncio.sleep(_SETTLE_S)
        cpu = after.since(before)
        cpu_s = {"api": cpu["api"], "clients": cpu["watched"] + cpu["other"]}
        took = [
            (kind, took_s * 1000) for due, took_s, kind in self.watched.answers if before.at <= due < after.at
        ]
        self.watched.answers.clear()
        bad = sorted({kind for kind, _ in took} - {"reads", "samples"})
        if bad or not took:
            what = ", ".join(bad) or f"nothing ({self.watched.last_words()})"
            raise FailedError(f"The watched tenant was answered {what}.")
        share = seconds / (after.at - before.at + _SETTLE_S)
        return MeasuredTenant(
            [[took_ms for _, took_ms in took]],
            after.at - before.at,
            round(tally.get("200", 0) * share),
            round(tally.get("429", 0) * share),
            cpu_s,
            [idle],
        )


async def measure(
    stack: BenchStack,
    *,
    seconds: float = 10.0,
    rounds: int = 4,
    numbers: Sequence[int] = (1, SEVERAL),
    workers: Sequence[int] = (1,),
    limits: Mapping[str, str] | None = None,
) -> Found:
    """Watch each case so many times for so long, by turns with a quiet neighbour.

    Args:
        stack: where.
        seconds: of each part.
        rounds: of all parts.
        numbers: of how many keys each tenant asks.
        workers: numbers of API processes.
        limits: settings of the API besides the defaults.

    Raises:
        FailedError: the watched tenant was refused something.
    """
    found: Found = {}
    for processes in workers:
        database = await stack.database(_DATABASE)
        settings = {**list_default_limits(), "VIGIE_API__WORKERS": str(processes), **(limits or {})}
        async with stack.api_role(database, **settings) as (admin, api):
            tenants = await new_tenant(admin, "watched"), await new_tenant(admin, "other")
            await fill(database)
            for keys in numbers:
                async with _open_scene(stack, admin, api, tenants, keys) as scene:
                    for number in range(rounds):
                        for manner in _order(number):
                            case = NeighbourCase(keys, manner, processes)
                            found.setdefault(case, MeasuredTenant()).add(await scene.part(manner, seconds))
    await stack.drop(_DATABASE)
    return found


@asynccontextmanager
async def _open_scene(
    stack: BenchStack,
    admin: ApiClient,
    api: RunningProcess,
    tenants: tuple[TenantKeys, TenantKeys],
    keys: int,
) -> AsyncIterator[_Scene]:
    """Run the clients of both tenants for the length of a block."""
    port = int(admin.address.rpartition(":")[2])
    watched, other = tenants
    steady = _task(watched, keys, port, steady=True, reads=READS_PER_S, samples=SAMPLES_PER_S, seed=keys)
    async with (
        client(stack, f"watched-{keys}", **steady) as one,
        client(stack, f"other-{keys}", **_task(other, keys, port, steady=False)) as two,
    ):
        listening = asyncio.create_task(one.listen())
        await asyncio.sleep(_WARM_S)
        yield _Scene(keys, {"api": api.pid, "watched": one.pid, "other": two.pid}, one, two)
        listening.cancel()


def _order(number: int) -> Iterable[str]:
    """Quiet before each; what comes first changes."""
    first, second = _MANNERS if number % 2 == 0 else reversed(_MANNERS)
    return QUIET, first, QUIET, second


def _task(tenant: TenantKeys, keys: int, port: int, **more: object) -> dict[str, Any]:
    return {"port": port, "keys": tenant.keys[:keys], "boxes": tenant.boxes, "paths": tenant.paths, **more}
