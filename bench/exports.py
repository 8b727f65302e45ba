"""Measures exports of a million samples in each format: rate, CPU and memory of the API process.

Before each export, a process makes a file of the same samples directly from the database: `psql` for the
formats of text, a script with pyarrow for Parquet and Arrow.

Meanwhile somebody else reads on, whose answers tell whether the process is held up.
"""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import aiohttp
import asyncpg
import psutil

from bench.load import METRICS, RANGES
from bench.measure import CpuReading, rss
from bench.process import FailedError
from bench.results import percentile
from bench.stack import BenchStack

SAMPLES: Final = 1_000_000
"""Samples of all boxes."""
BOXES: Final = 20
"""Boxes that sent them."""
ASK_EVERY_S: Final = 0.05
"""The interval between requests of another client."""
COLUMNAR: Final = ("parquet", "arrow")
"""The formats that a child process writes."""
FORMATS: Final = ("csv", "ndjson", "geojson", *COLUMNAR)

_DATABASE: Final = "exports"
_PATH: Final = "/v1/readings/export"
_START: Final = datetime(2025, 1, 1, tzinfo=UTC)
_STEP_S: Final = 10
_LOOK_EVERY_S: Final = 0.02
_QUIET_S: Final = 10.0
_SETTLE_S: Final = 1.0
_MIB: Final = 2**20
_TURNS: Final = 3
_FROM: Final = "FROM samples s JOIN boxes b ON b.key = s.box_key"
_VALUES: Final = ", ".join(
    f"round((random() * {high - low} + {low})::numeric, 1)::real"
    for low, high in map(RANGES.__getitem__, METRICS)
)
_FILL: Final = f"""
INSERT INTO samples (box_key, time, {", ".join(METRICS)})
SELECT b.key, $1::timestamptz + n * make_interval(secs => {_STEP_S}), {_VALUES}
FROM boxes b, generate_series(0, $2::int - 1) AS n
"""


@dataclass(frozen=True, slots=True)
class ExportCase:
    """What is exported.

    Attributes:
        format: of the file.
        bucket: width of its buckets; None: samples.
    """

    format: str
    bucket: str | None = None

    @property
    def name(self) -> str:
        """The name in the report."""
        return self.format if self.bucket is None else f"{self.format}, {self.bucket} buckets"


CASES: Final = (*map(ExportCase, FORMATS), ExportCase("csv", "10m"))


@dataclass(frozen=True, slots=True)
class ExportRun:
    """An export in one format.

    Attributes:
        case: what the file is.
        samples: how many.
        size: of the file (bytes).
        seconds: from the request to the last byte.
        first_s: to the first.
        before: memory of the API process before it (bytes).
        peak: the most of it meanwhile.
        child: the most that its child process had; 0 where there is none.
        cpu: CPU seconds by process, that of others' reads included.
        others_ms: of each answer to somebody else meanwhile.
        reference_s: how long the reference took just before it; None if there is none.
    """

    case: ExportCase
    samples: int
    size: int
    seconds: float
    first_s: float
    before: int
    peak: int
    child: int
    cpu: Mapping[str, float]
    others_ms: Sequence[float]
    reference_s: float | None

    def row(self, found: "ExportResults") -> list[str]:
        """Return the cells of the report's table."""
        cpu = {name: self.cpu[name] - found.quiet_cpu[name] * self.seconds for name in found.quiet_cpu}
        others = [each for run in found.made if run.case == self.case for each in run.others_ms]
        return [
            self.case.name,
            f"{self.size / _MIB:.0f} MiB",
            f"{self.seconds:.2f} s",
            f"{self.samples / self.seconds:,.0f}",
            "-" if self.reference_s is None else f"{self.reference_s:.2f} s",
            "-" if self.reference_s is None else f"**{self.reference_s / self.seconds:.2f}**",
            f"{self.first_s * 1000:.0f} ms",
            f"{self.before / _MIB:.0f} MiB",
            f"+{max(run.peak - run.before for run in found.made if run.case == self.case) / _MIB:.1f} MiB",
            f"{self.child / _MIB:.0f} MiB" if self.child else "-",
            f"{cpu['api'] / self.samples * 1e6:.1f}",
            f"{cpu['postgres'] / self.samples * 1e6:.1f}",
            f"{percentile(others, 0.5):.1f}",
            f"{percentile(others, 0.99):.1f}",
        ]

    def line(self) -> str:
        """Format the export as a line of progress."""
        reference = (
            "" if self.reference_s is None else f", {self.reference_s / self.seconds:.2f} of its reference"
        )
        return f"{self.case.name}: {self.samples / self.seconds:,.0f} samples/s{reference}"


@dataclass(frozen=True, slots=True)
class ExportResults:
    """The exports in all formats.

    Attributes:
        fresh: memory of the API process before its first export (bytes).
        quiet_ms: of each answer to somebody else while nothing was exported.
        quiet_cpu: CPU of each process meanwhile (of one core).
        made: the exports, each of them several times.
    """

    fresh: int
    quiet_ms: Sequence[float]
    quiet_cpu: Mapping[str, float]
    made: Sequence[ExportRun]

    def rows(self) -> list[list[str]]:
        """Return the report's table: of each case the run with the median ratio to its reference."""
        found = []
        for case in dict.fromkeys(run.case for run in self.made):
            runs = [run for run in self.made if run.case == case]
            runs.sort(key=lambda run: run.seconds / (run.reference_s or 1.0))
            found.append(runs[len(runs) // 2].row(self))
        return found


HEAD: Final = [
    *("format", "file", "time", "samples/s", "reference", "rate ÷ reference's", "first byte", "API before"),
    *("API grew", "child", "CPU API", "CPU PostgreSQL", "others p50 (ms)", "others p99 (ms)"),
]


class _Watch:
    """Samples the memory of a process and its children during a block, while another client reads."""

    def __init__(self, pid: int, session: aiohttp.ClientSession, address: str) -> None:
        self._process = psutil.Process(pid)
        self._session = session
        self._address = address
        self._tasks: list[asyncio.Task[None]] = []
        self.peak = self.child = 0
        self.took_ms: list[float] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._look()), asyncio.create_task(self._ask())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            self.peak = max(self.peak, rss(self._process.pid))
            for child in self._process.children():
                self.child = max(self.child, rss(child.pid))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _ask(self) -> None:
        while True:
            began = time.monotonic()
            async with self._session.get(self._address) as answer:
                await answer.read()
            self.took_ms.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(ASK_EVERY_S)


async def measure(stack: BenchStack, *, samples: int = SAMPLES) -> ExportResults:
    """Fill a database, and export all of it in each format, several times and after its reference.

    Raises:
        FailedError: an export was refused, or is not whole.
    """
    database = await stack.database(_DATABASE)
    (site,) = await stack.fleet(database, boxes=BOXES, rules_per_site=0, sites=1)
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(_FILL, _START, samples // BOXES, timeout=200)
        await connection.execute("VACUUM ANALYZE samples", timeout=200)
    finally:
        await connection.close()
    found = []
    async with stack.api_role(database) as (client, running):
        # Limited to its site: of each row is asked whether it is the caller's.
        body = {"name": "exports", "scopes": ["telemetry:read", "sites:read"], "site_ids": [site]}
        key = (await client.call("POST", "/v1/api-keys", body))["key"]
        headers = {"Authorization": f"Bearer {key}"}
        pids = {"api": running.pid, **stack.services}
        async with aiohttp.ClientSession(client.address, headers=headers) as session:
            await asyncio.sleep(_SETTLE_S)
            begun = CpuReading.now(pids)
            async with _Watch(running.pid, session, f"/v1/sites/{site}") as quiet:
                await asyncio.sleep(_QUIET_S)
            ended, fresh = CpuReading.now(pids), rss(running.pid)
            quiet_cpu = {name: cpu / (ended.at - begun.at) for name, cpu in ended.since(begun).items()}
            for case in CASES * _TURNS:
                # The others read on, so that the reference has no more of the cores than the export.
                async with _Watch(running.pid, session, f"/v1/sites/{site}"):
                    reference_s = await _time_reference(database, case)
                run = await _export(session, case, pids, site=site, samples=samples)
                found.append(replace(run, reference_s=reference_s))
    await stack.drop(_DATABASE)
    return ExportResults(fresh, quiet.took_ms, quiet_cpu, found)


async def _time_reference(database: str, case: ExportCase) -> float | None:
    """Run the usual way to such a file as a process; return its seconds.

    Raises:
        FailedError: it failed.
    """
    if case.bucket is not None:
        return None
    query = f"SELECT b.id, b.site_id, s.time, {', '.join(f's.{name}' for name in METRICS)} {_FROM}"
    command = ["psql", "-qX", database, "-c", rf"\copy ({query}) TO '/dev/null' CSV"]
    if case.format in COLUMNAR:
        command = [sys.executable, "-m", "bench.arrow_writer", case.format, database, *METRICS]
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    if await process.wait():
        raise FailedError(f"{command[0]} ends with {process.returncode}.")
    return time.monotonic() - began


async def _export(
    session: aiohttp.ClientSession, case: ExportCase, pids: Mapping[str, int], *, site: str, samples: int
) -> ExportRun:
    end = _START + timedelta(seconds=_STEP_S * samples)
    asked: dict[str, Any] = {"site": site, "format": case.format, "metric": list(METRICS)}
    asked |= {"from": _START.isoformat(), "to": end.isoformat()}
    asked |= {} if case.bucket is None else {"bucket": case.bucket}
    # What the process imports and keeps for its first requests is not the export's.
    soon = asked | {"to": (_START + timedelta(hours=1)).isoformat()}
    async with session.get(_PATH, params=soon) as answer:
        await answer.read()
    await asyncio.sleep(_SETTLE_S)
    before, begun = rss(pids["api"]), CpuReading.now(pids)
    size = rows = 0
    first_s = 0.0
    async with (
        _Watch(pids["api"], session, f"/v1/sites/{site}") as watch,
        session.get(_PATH, params=asked, timeout=aiohttp.ClientTimeout(total=200)) as answer,
    ):
        if answer.status != 200:  # noqa: PLR2004 (an HTTP status)
            raise FailedError(f"The API answers {answer.status}: {await answer.text()}")
        async for chunk in answer.content.iter_any():
            first_s = first_s or time.monotonic() - begun.at
            size += len(chunk)
            rows += chunk.count(b"\n")
    ended = CpuReading.now(pids)
    overhead = {"csv": 1, "ndjson": 0, "geojson": 2}.get(case.format)
    if case.bucket is None and overhead is not None and rows - overhead != samples:
        raise FailedError(f"{rows - overhead} of {samples} samples are in the file.")
    return ExportRun(
        case,
        samples,
        size,
        ended.at - begun.at,
        first_s,
        before,
        watch.peak,
        watch.child,
        ended.since(begun),
        watch.took_ms,
        None,
    )
