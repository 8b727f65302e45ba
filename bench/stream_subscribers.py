"""Measures what subscribers of the measurement stream cost ingest: (e) drains beside none, and beside ten.

The API and the delivery process run in both cases. All processes share the machine.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import asyncpg

from bench.drain import DrainCourse, run
from bench.measure import cpu_seconds
from bench.process import FailedError, RunningProcess, python
from bench.results import DrainResult, middle
from bench.stack import BenchStack
from bench.suite import BenchPlan, format_drain

SUBSCRIBERS: Final = 10

_CATCH_UP_S: Final = 120.0
_SETTLE_S: Final = 1.0
_DELIVERING: Final = "SELECT EXISTS (SELECT FROM heartbeats WHERE role = 'deliver' AND state = 'delivering')"


@dataclass(frozen=True, slots=True)
class SubscribedDrain:
    """A drain beside subscribers.

    Attributes:
        subscribers: how many.
        drain: of ingest.
        behind_s: from the last commit until each subscriber had all items (s); 0 without subscribers.
        cpu_s: CPU seconds of the API and of deliver, until then.
    """

    subscribers: int
    drain: DrainResult
    behind_s: float
    cpu_s: dict[str, float] = field(default_factory=dict)


@asynccontextmanager
async def _subscribed(
    stack: BenchStack, count: int, messages: int, found: dict[str, float], database: str
) -> AsyncIterator[None]:
    """Run the API, deliver and subscribers for the length of a block, and until they have all items."""
    async with (
        stack.api_role(database) as (client, api),
        stack.role("deliver", database) as deliver,
        _stream_clients(stack, client.address, count, messages) as clients,
    ):
        await _wait_for_deliver(database)
        pids = {"api": api.pid, "deliver": deliver.pid}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        yield
        found["behind_s"] = await _wait_for_items(clients, count, messages)
        found.update({name: cpu_seconds(pid) - before[name] for name, pid in pids.items()})


@asynccontextmanager
async def _stream_clients(
    stack: BenchStack, address: str, count: int, messages: int
) -> AsyncIterator[RunningProcess]:
    """Run the subscribers in a process of their own; gives it once all streams are open."""
    task = {
        "port": int(address.rpartition(":")[2]),
        "key": stack.admin_key,
        "count": count,
        "items": messages,
    }
    file = stack.folder / "stream_clients.json"
    file.write_text(json.dumps(task), encoding="utf-8")
    log = file.with_suffix(".log")
    async with python(
        "bench.stream_clients", str(file), environment=dict(os.environ), log=log, piped=True
    ) as clients:
        await clients.read_result("ready")
        yield clients


async def _wait_for_items(clients: RunningProcess, count: int, messages: int) -> float:
    """Wait until each subscriber has all items; returns how long that took (s).

    Raises:
        FailedError: it takes too long, or one got an item twice.
    """
    if not count:
        return 0.0
    began = time.monotonic()
    try:
        async with asyncio.timeout(_CATCH_UP_S):
            done = float(await clients.read_result("done"))
    except TimeoutError as error:
        raise FailedError(f"After {_CATCH_UP_S:.0f} s a subscriber lacks items.") from error
    if any(each != messages for each in await clients.read_result("items")):
        raise FailedError("A subscriber got an item twice.")
    return max(0.0, done - began)


async def _wait_for_deliver(database: str) -> None:
    """Wait until deliver has started: its start takes seconds of CPU."""
    connection = await asyncpg.connect(database)
    try:
        while True:
            if await connection.fetchval(_DELIVERING):
                break
            await asyncio.sleep(0.1)
    finally:
        await connection.close()
    await asyncio.sleep(_SETTLE_S)


async def measure(stack: BenchStack, plan: BenchPlan, say: Callable[[str], None]) -> list[SubscribedDrain]:
    """Drain with no subscribers and with ten in turns; gives the medians."""
    cases: dict[int, list[SubscribedDrain]] = {0: [], SUBSCRIBERS: []}
    for _ in range(plan.repeat):
        for count, drains in cases.items():
            found: dict[str, float] = {}
            load = plan.load()
            drain = await run(
                stack,
                DrainCourse("e", load),
                beside=partial(_subscribed, stack, count, load.messages, found),
            )
            if drain.failure is not None:
                raise FailedError(drain.failure)
            behind_s = found.pop("behind_s")
            drains.append(SubscribedDrain(count, drain, behind_s, found))
            cpu = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.items())
            say(f"{count} subscribers: {format_drain(drain)}; CPU {cpu}; behind {behind_s:.1f} s")
    return [
        SubscribedDrain(
            count,
            chosen := middle([each.drain for each in drains]),
            next(each.behind_s for each in drains if each.drain is chosen),
            next(each.cpu_s for each in drains if each.drain is chosen),
        )
        for count, drains in cases.items()
    ]
