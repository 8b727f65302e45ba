"""Measures exports of a million samples in each format: rate, CPU and memory of the API process.

Meanwhile somebody else reads on, whose answers tell whether the process is held up.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
FORMATS: Final = ("csv", "ndjson", "geojson", "parquet")

_DATABASE: Final = "exports"
_PATH: Final = "/v1/readings/export"
_START: Final = datetime(2025, 1, 1, tzinfo=UTC)
_STEP_S: Final = 10
_LOOK_EVERY_S: Final = 0.02
_QUIET_S: Final = 10.0
_MIB: Final = 2**20
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
class ExportRun:
    """An export in one format.

    Attributes:
        format: what the file is.
        samples: how many.
        size: of the file (bytes).
        seconds: from the request to the last byte.
        first_s: to the first.
        before: memory of the API process before it (bytes).
        peak: the most of it meanwhile.
        child: the most that its child process had; 0 where there is none.
        cpu: CPU seconds by process.
        others_ms: of each answer to somebody else meanwhile.
    """

    format: str
    samples: int
    size: int
    seconds: float
    first_s: float
    before: int
    peak: int
    child: int
    cpu: Mapping[str, float]
    others_ms: Sequence[float]

    def row(self) -> list[str]:
        """Return the cells of the report's table."""
        return [
            self.format,
            f"{self.size / _MIB:.0f} MiB",
            f"{self.seconds:.1f} s",
            f"{self.samples / self.seconds:,.0f}",
            f"{self.first_s * 1000:.0f} ms",
            f"{self.before / _MIB:.0f} MiB",
            f"+{(self.peak - self.before) / _MIB:.1f} MiB",
            f"{self.child / _MIB:.0f} MiB" if self.child else "-",
            f"{self.cpu['api'] / self.samples * 1e6:.1f}",
            f"{self.cpu['postgres'] / self.samples * 1e6:.1f}",
            f"{percentile(self.others_ms, 0.5):.1f}",
            f"{percentile(self.others_ms, 0.99):.1f}",
        ]

    def line(self) -> str:
        """Format the export as a line of progress."""
        return f"{self.format}: " + ", ".join(
            f"{name} {cell}" for name, cell in zip(HEAD[1:], self.row()[1:], strict=True)
        )


@dataclass(frozen=True, slots=True)
class ExportResults:
    """The exports in all formats.

    Attributes:
        fresh: memory of the API process before its first export (bytes).
        quiet_ms: of each answer to somebody else while nothing was exported.
        made: the exports.
    """

    fresh: int
    quiet_ms: Sequence[float]
    made: Sequence[ExportRun]


HEAD: Final = [
    *("format", "file", "time", "samples/s", "first byte", "API before", "API grew"),
    *("child", "CPU API", "CPU PostgreSQL", "others p50 (ms)", "others p99 (ms)"),
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
    """Fill a database, and export all of it in each format.

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
        async with aiohttp.ClientSession(client.address, headers=headers) as session:
            await asyncio.sleep(1)
            async with _Watch(running.pid, session, f"/v1/sites/{site}") as quiet:
                await asyncio.sleep(_QUIET_S)
            fresh = rss(running.pid)
            for format_ in FORMATS:
                pids = {"api": running.pid, **stack.services}
                found.append(await _export(session, format_, pids, site=site, samples=samples))
    await stack.drop(_DATABASE)
    return ExportResults(fresh, quiet.took_ms, found)


async def _export(
    session: aiohttp.ClientSession, format_: str, pids: Mapping[str, int], *, site: str, samples: int
) -> ExportRun:
    end = _START + timedelta(seconds=_STEP_S * samples)
    asked: dict[str, Any] = {"site": site, "format": format_, "metric": list(METRICS)}
    asked |= {"from": _START.isoformat(), "to": end.isoformat()}
    # What the process imports and keeps for its first requests is not the export's.
    soon = asked | {"to": (_START + timedelta(hours=1)).isoformat()}
    async with session.get(_PATH, params=soon) as answer:
        await answer.read()
    await asyncio.sleep(1)
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
    overhead = {"csv": 1, "ndjson": 0, "geojson": 2}.get(format_)
    if overhead is not None and rows - overhead != samples:
        raise FailedError(f"{rows - overhead} of {samples} samples are in the file.")
    return ExportRun(
        format_,
        samples,
        size,
        ended.at - begun.at,
        first_s,
        before,
        watch.peak,
        watch.child,
        ended.since(begun),
        watch.took_ms,
    )
