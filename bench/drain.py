"""Runs one competitor on one backlog, with its clocks, and counts the rows afterwards.

The clock runs from the competitor's connection to the broker to its last commit (to its last acknowledgement
where it stores nothing). Each has a database of its own, and no other session exists at the broker.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import asyncpg

from bench.competitors.task import CompetitorTask
from bench.load import MessageLoad, flat_message, topic, vigie_message
from bench.measure import CpuReading, connected, peak_rss, reset_peak
from bench.process import FailedError, RunningProcess, python
from bench.publisher import CONNECTIONS, drop_session, make_session, publish
from bench.results import DrainResult
from bench.stack import BenchStack, free_port
from bench.tables import all_stored, box_keys, steps, stored

WITHIN_S: Final = 150.0
"""No competitor gets longer than this for a usual backlog; for a larger one, in proportion."""

_PROGRAMS: Final = {
    "a": "bench.competitors.aiomqtt_loop",
    "b": "bench.competitors.aiomqtt_batched",
    "c": "bench.competitors.tutorial",
    "d": "bench.competitors.copy",
    "f": "bench.competitors.mq_bridge_route",
}
_USUAL: Final = 400_000
_STORES_NOTHING: Final = frozenset("ab")
_WATCH_EVERY_S: Final = 0.25
_TELEMETRY: Final = "vigie/v1/+/telemetry"
_VIGIE_FILTERS: Final = (_TELEMETRY, "vigie/v1/+/event", "vigie/v1/+/status", "vigie/v1/+/config/reported")
_VIGIE_CLIENT: Final = "vigie-bench-ingest"

Beside = Callable[[str], AbstractAsyncContextManager[None]]
"""Given the database's address: what runs while a competitor drains."""
Watch = Callable[[float, Mapping[str, int]], None]


@dataclass(frozen=True, slots=True)
class DrainCourse:
    """The backlog, and the consumer that drains it.

    Attributes:
        letter: the competitor.
        load: the backlog.
        rules_per_site: for those that know rules.
        sites: over which boxes are spread.
        further: conditions of further rules on each site.
    """

    letter: str
    load: MessageLoad
    rules_per_site: int = 20
    sites: int = 10
    further: tuple[dict[str, Any], ...] = ()

    @property
    def client_id(self) -> str:
        """The client id of the session that holds the backlog."""
        return _VIGIE_CLIENT if self.letter == "e" else f"bench-{self.letter}"

    @property
    def filters(self) -> tuple[str, ...]:
        """The topic filters of the session."""
        return _VIGIE_FILTERS if self.letter == "e" else (_TELEMETRY,)


@asynccontextmanager
async def _nothing(_: str) -> AsyncIterator[None]:
    yield


async def run(
    stack: BenchStack, course: DrainCourse, watch: Watch | None = None, beside: Beside = _nothing
) -> DrainResult:
    """Let one competitor drain its backlog; a failure is a result too.

    Args:
        stack: where.
        course: what.
        beside: runs meanwhile, on the same database.
        watch: is told, while the drain lasts, the seconds since its beginning and the processes.
    """
    within_s = WITHIN_S * max(1.0, course.load.messages / _USUAL)
    try:
        async with asyncio.timeout(within_s):
            return await _run(stack, course, watch, beside)
    except TimeoutError:
        failure = f"It was not done within {within_s:.0f} s."
    except (FailedError, OSError, asyncpg.PostgresError) as error:
        failure = str(error)
    return DrainResult(course.letter, course.load.messages, failure=failure)


async def _run(stack: BenchStack, course: DrainCourse, watch: Watch | None, beside: Beside) -> DrainResult:
    name = f"drain_{course.letter}"
    database = await stack.database_with_fleet(
        name,
        boxes=course.load.boxes,
        rules_per_site=course.rules_per_site,
        sites=course.sites,
        further=course.further,
    )
    account = stack.account("ingest")
    try:
        if course.letter != "d":
            await make_session(account, course.client_id, course.filters)
            await publish(await all_messages(course, database), stack.account("gateway"))
        port = free_port()
        async with beside(database), _started(stack, course, database, port) as running:
            drain = await _measure(stack, course, database, running, watch)
            return replace(drain, steps=await steps(port)) if course.letter == "e" else drain
    finally:
        if course.letter != "d":
            await drop_session(account, course.client_id)
        await stack.drop(name)


async def all_messages(course: DrainCourse, database: str) -> Iterable[tuple[str, bytes]]:
    """Return the messages of a backlog, as its consumer expects them: (topic, payload)."""

    def of_vigie() -> Iterator[tuple[str, bytes]]:
        for sample in course.load.samples():
            yield topics[sample.box], vigie_message(sample)

    def flat() -> Iterator[tuple[str, bytes]]:
        for sample in course.load.samples():
            yield topics[sample.box], flat_message(sample, keys)

    topics = [topic(index) for index in range(course.load.boxes)]
    if course.letter != "f":
        return of_vigie()
    keys = await box_keys(database)
    return flat()


def _started(
    stack: BenchStack, course: DrainCourse, database: str, metrics_port: int
) -> AbstractAsyncContextManager[RunningProcess]:
    if course.letter == "e":
        return stack.role(
            "ingest",
            database,
            VIGIE_INGEST__CLIENT_ID=_VIGIE_CLIENT,
            VIGIE_METRICS_PORT=str(metrics_port),
        )
    broker, load = stack.account("ingest"), course.load
    task = CompetitorTask(
        messages=load.messages,
        host=broker.host,
        port=broker.port,
        username=broker.username,
        password=broker.password,
        client_id=course.client_id,
        filter=_TELEMETRY,
        database=database,
        start_ms=load.start_ms,
        boxes=load.boxes,
        seed=load.seed,
    )
    return python(
        _PROGRAMS[course.letter],
        task.text(),
        environment=stack.environment(database),
        log=stack.folder / f"{course.letter}.log",
        piped=True,
    )


async def _measure(
    stack: BenchStack, course: DrainCourse, database: str, running: RunningProcess, watch: Watch | None
) -> DrainResult:
    pids = {"consumer": running.pid, **stack.services}
    if course.letter == "d":
        await running.told("ready")
        before = CpuReading.now(pids)
        await running.go()
    else:
        if not await connected(running.pid, stack.mosquitto.port):
            raise FailedError(f"It did not connect to the broker: {running.last_words()}")
        before = CpuReading.now(pids)
    for pid in stack.services.values():
        reset_peak(pid)
    watching = None if watch is None else asyncio.create_task(_watch(watch, before.at, pids))
    try:
        if course.letter in "ef":
            await all_stored(database, course.load.last_of(CONNECTIONS), running.check)
        else:
            await running.told("done")
        after = CpuReading.now(pids)
    finally:
        if watching is not None:
            watching.cancel()
    return await _result(course, database, before, after, pids)


async def _watch(watch: Watch, began: float, pids: Mapping[str, int]) -> None:
    while True:
        watch(time.monotonic() - began, pids)
        await asyncio.sleep(_WATCH_EVERY_S)


async def _result(
    course: DrainCourse, database: str, before: CpuReading, after: CpuReading, pids: dict[str, int]
) -> DrainResult:
    # PostgreSQL's processes share most of what they hold; (d) knows no broker.
    measured = ("consumer",) if course.letter == "d" else ("consumer", "mosquitto")
    peak = {name: peak_rss(pids[name]) for name in measured}
    drain = DrainResult(
        course.letter,
        course.load.messages,
        seconds=after.at - before.at,
        cpu=after.since(before),
        peak=peak,
    )
    if course.letter in _STORES_NOTHING:
        return drain
    rows, different, disk = await stored(database, narrow=course.letter == "c")
    return replace(
        drain, stored=rows, lost=course.load.messages - different, twice=rows - different, disk=disk
    )
