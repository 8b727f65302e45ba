"""Measures ingest by HTTP: each call is answered after its commit."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched, zip_longest
from typing import Final

import aiohttp

from bench.load import LoadSample, MessageLoad, http_body
from bench.measure import CpuReading
from bench.process import FailedError
from bench.stack import BenchStack, free_port

_BOXES: Final = 1_000
_CALLERS: Final = 8
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class HttpRate:
    """A series of calls.

    Attributes:
        per_call: samples in each call.
        samples: all of them.
        seconds: for all of them.
        cpu: CPU seconds by process.
    """

    per_call: int
    samples: int
    seconds: float
    cpu: dict[str, float]

    def row(self) -> list[str]:
        """Return the cells of the report's table."""
        return [
            f"{self.per_call}",
            f"{self.samples / self.per_call / self.seconds:,.0f}",
            f"{self.samples / self.seconds:,.0f}",
            f"{self.cpu['api'] / self.samples * 1e6:.1f}",
            f"{self.cpu['postgres'] / self.samples * 1e6:.1f}",
        ]


HEAD: Final = ["samples a call", "calls/s", "samples/s", "CPU API", "CPU PostgreSQL"]


def _bodies(load: MessageLoad, per_call: int) -> list[bytes]:
    by_box: dict[int, list[LoadSample]] = {}
    for sample in load.samples():
        by_box.setdefault(sample.box, []).append(sample)
    calls = [
        [http_body(box, list(part)) for part in batched(samples, per_call)] for box, samples in by_box.items()
    ]
    # In turns, as boxes send: those of one box all at once would wait for each other.
    return [body for turn in zip_longest(*calls) for body in turn if body is not None]


async def _call(session: aiohttp.ClientSession, address: str, bodies: Iterator[bytes]) -> int:
    stored = 0
    for body in bodies:
        async with session.post(address, data=body) as answer:
            if answer.status >= 300:  # noqa: PLR2004 (anything but success)
                raise FailedError(f"The API answers {answer.status}: {await answer.text()}")
            stored += (await answer.json())["stored"]
    return stored


async def _calls(session: aiohttp.ClientSession, address: str, bodies: Sequence[bytes]) -> int:
    """Send all of them from all callers; gives how many samples were stored."""
    todo = iter(bodies)
    return sum(await asyncio.gather(*(_call(session, address, todo) for _ in range(_CALLERS))))


async def measure(stack: BenchStack, *, per_call: int, calls: int) -> HttpRate:
    """Send so many calls of so many samples each, from eight callers at once.

    Raises:
        FailedError: a call was refused, or not all was stored.
    """
    database = await stack.database("http")
    await stack.fleet(database, boxes=_BOXES, rules_per_site=20)
    start_ms = int(time.time()) * 1000 - _DAY_MS
    boxes = min(_BOXES, calls)
    bodies = _bodies(MessageLoad(per_call * calls, boxes, start_ms), per_call)
    # The first call of a box on a day tells the ingest role of it.
    first = _bodies(MessageLoad(boxes, boxes, start_ms - _DAY_MS), 1)
    port = free_port()
    headers = {"Authorization": f"Bearer {stack.admin_key}", "Content-Type": "application/json"}
    async with (
        stack.role("api", database, VIGIE_API__PORT=str(port)) as api,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        await _up(session, f"http://127.0.0.1:{port}/healthz")
        address = f"http://127.0.0.1:{port}/v1/telemetry"
        await _calls(session, address, first)
        pids = {"api": api.pid, **stack.services}
        before = CpuReading.now(pids)
        stored = await _calls(session, address, bodies)
        after = CpuReading.now(pids)
    await stack.drop("http")
    if stored != per_call * calls:
        raise FailedError(f"{stored} of {per_call * calls} samples were stored.")
    return HttpRate(per_call, stored, after.at - before.at, after.since(before))


async def _up(session: aiohttp.ClientSession, address: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get(address):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
