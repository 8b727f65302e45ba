"""A disk that fills up under a whole stack, while its boxes send and everything is asked of it."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.conftest import STREET
from tests.faults.disks import fill, small_disk
from tests.faults.fleet import BrokerAddress, FaultFleet, StoringBox
from tests.faults.harness import FaultReport, FaultSize
from tests.integration.standalone.stack import Stack, alive, started
from tests.scenarios.processes import until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

# As promised, where nothing else runs; else half of the time after which it is given up.
_READY_WITHIN_S = {True: 30.0, False: 45.0}
_BOXES = [f"box-{number:02}" for number in range(10)]
# What is killed while there is no room, one after the other: alone, or together for less time.
_KILLED = [["api"], ["ingest"], ["deliver"], ["maintain"], ["mosquitto"], ["postgres"]]
_KILLED_SHORT = [["api", "ingest", "deliver", "maintain"], ["postgres"]]


@dataclass
class Visitor:
    """Somebody who asks for everything again and again, whatever comes of it."""

    client: httpx.AsyncClient
    pages: list[str]
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    @classmethod
    async def meet(cls, client: httpx.AsyncClient, site_id: str) -> "Visitor":
        document = (await client.get("/openapi.json")).raise_for_status().json()
        plain = [
            path
            for path, calls in document["paths"].items()
            if "get" in calls and "{" not in path and "stream" not in path
        ]
        span = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
        with_arguments = [
            f"/v1/readings?metric=pm2_5&site={site_id}&{span}&bucket=1h",
            f"/v1/readings/export?site={site_id}&{span}&format=parquet",
            f"/v1/sites/{site_id}/latest",
            f"/v1/sites/{site_id}/indices",
            f"/v1/sites/{site_id}/reports/day?date=2026-01-01&format=pdf",
            f"/public/sites/{site_id}",
        ]
        return cls(client, ["/public", "/metrics", "/docs", *plain, *with_arguments])

    async def ask_all(self) -> None:
        for page in self.pages:
            with suppress(httpx.TransportError):  # the API itself is killed meanwhile
                answer = await self.client.get(page)
                self.statuses[page, answer.status_code] += 1

    async def ask_until(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self.ask_all()
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _measuring(keeping: StoringBox) -> AsyncIterator[None]:
    """Boxes measure ten times a second and send, for the length of a block."""

    async def measure() -> None:
        while True:
            keeping.record(keeping.fleet.next_seq)
            keeping.fleet.next_seq += 1
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(measure()), asyncio.create_task(keeping.live())]
    try:
        yield
        tasks[0].cancel()

        async def all_named() -> bool:
            return not keeping.kept

        await until(all_named, patience_s=60)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _fleet_of(stack: Stack, client: httpx.AsyncClient, ledger: Path) -> tuple[FaultFleet, str]:
    run = stack.run
    site = (await client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    mqtt = run["mqtt"]
    broker = BrokerAddress(mqtt["host"], mqtt["port"])
    fleet = FaultFleet(client, broker, run["database"], _BOXES, ledger, password=mqtt["password"])
    await fleet.register(site, ack=True)
    return fleet, site


def _kill(pids: dict[str, int], *names: str) -> None:
    for name in names:
        with suppress(ProcessLookupError):
            os.kill(pids[name], signal.SIGKILL)


async def test_22_disk_full_while_everything_is_asked(
    size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    """Nothing that runs, watches or shows may end for good with its disk; all of it comes back by itself."""
    with small_disk(600) as disk, started(disk / "data", "--no-demo") as stack:
        await asyncio.to_thread(stack.wait_ready)
        run = stack.run
        bearer = {"Authorization": f"Bearer {run['admin_key']}"}
        over = asyncio.Event()
        async with httpx.AsyncClient(base_url=run["api"], headers=bearer, timeout=20) as client:
            fleet, site = await _fleet_of(stack, client, tmp_path / "ledger")
            visitor = await Visitor.meet(client, site)
            await visitor.ask_all()
            async with _measuring(StoringBox(fleet)):
                await fleet.more(100)
                visiting = asyncio.create_task(visitor.ask_until(over))
                ballast = fill(disk)
                for names in size.of(_KILLED_SHORT, _KILLED):
                    _kill(run["pids"], *names)
                    await asyncio.sleep(size.of(3, 10))
                    fill(disk, "more")
                (disk / "more").unlink()
                ballast.unlink()
                fleet.healed()
                await _comes_back(stack, client, _READY_WITHIN_S[size.long])
                over.set()
                await visiting
            report.add("22 disk full while all is asked", await fleet.outcome())
            await visitor.ask_all()
        # Whatever could not be answered was said to be so.
        assert not [page for page, code in visitor.statuses if code == 500], visitor.statuses
        await until(lambda: _tells_who_lives(stack))
        assert stack.stop() < 15
        assert stack.process.returncode == 0


async def _comes_back(stack: Stack, client: httpx.AsyncClient, within_s: float) -> None:
    async def is_ready() -> bool:
        assert stack.process.poll() is None, stack.said()
        with suppress(httpx.TransportError):
            return (await client.get("/readyz")).status_code == 200
        return False

    began = time.monotonic()
    await until(is_ready, patience_s=90)
    took = time.monotonic() - began
    assert took <= within_s, f"ready after {took:.1f} s: {stack.said()}"


async def _tells_who_lives(stack: Stack) -> bool:
    """Whether `run.json` has all processes, each of them alive."""
    with suppress(OSError, json.JSONDecodeError):
        pids = stack.pids
        return len(pids) == 6 and all(map(alive, pids.values()))
    return False
