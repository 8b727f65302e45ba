"""Compares ingest through edge and replicated log with ingest from one broker, on the same backlog.

The log is three NATS nodes, on the machine that runs everything else too: CPU for each message carries over
to separate machines, absolute rates do not.
"""

import asyncio
import json
import statistics
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import asyncpg

from app.platform.db.advisory_lock_keys import CONSUMER, PARTITION_CLASS
from bench.drain import DrainCourse, all_messages, run
from bench.measure import CpuReading, connected
from bench.process import FailedError, RunningProcess
from bench.publisher import CONNECTIONS, drop_session, make_session, publish
from bench.results import DrainResult
from bench.stack import BenchStack
from bench.standby import run_standby, wait_for_standby
from bench.suite import BenchPlan
from bench.tables import all_stored, stored
from tools.clusters import nats_cluster
from tools.clusters.nats_cluster import NatsCluster

PARTITIONS: Final = 12
_SITES: Final = 60
_CLIENT: Final = "vigie-bench-edge"

_EACH_PARTITION: Final = f"FROM generate_series(0, {PARTITIONS - 1}) AS n"
_DRAINED: Final = "SELECT bool_or(drained_at > now() - interval '3 seconds') FROM edges"
_JOINED: Final = (
    "SELECT count(DISTINCT pid) = $1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (classid::bigint << 32 | objid::bigint) = $2"
)
_TAKEN: Final = "SELECT count(worker) > 0 FROM ingest_positions"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ClusterResults:
    """What was measured: several drains of each kind, in turn.

    Attributes:
        direct: one broker, one consumer.
        through_log: edge, log, one worker, all at once.
        one_worker: a backlog that is in the log, and one worker.
        two_workers: the same with two.
        alone: one broker, one consumer, no standby.
        synchronous: the same, where commits wait for a standby.
    """

    direct: list[DrainResult]
    through_log: list[DrainResult]
    one_worker: list[DrainResult]
    two_workers: list[DrainResult]
    alone: list[DrainResult]
    synchronous: list[DrainResult]


def sum_cpu_us(drain: DrainResult) -> float:
    """Return the CPU of all processes for each message, in µs."""
    return sum(drain.cpu_us(name) for name in drain.cpu)


def find_ratio(
    of: list[DrainResult], to: list[DrainResult], measure: Callable[[DrainResult], float]
) -> float:
    """Return the median ratio of pairs that were measured one after the other."""
    return statistics.median(measure(one) / measure(other) for one, other in zip(of, to, strict=True))


async def measure(stack: BenchStack, plan: BenchPlan, say: Say) -> ClusterResults:
    """Drain the backlog in each way, in turn.

    Raises:
        FailedError: A drain failed.
    """
    found = ClusterResults([], [], [], [], [], [])
    course = DrainCourse("e", plan.load(), sites=_SITES)
    log = _ClusterDrains(stack, course)
    for _ in range(plan.repeat):
        for name, drains, drain in (
            ("one broker", found.direct, run(stack, course)),
            ("through edge and log", found.through_log, log.drain_through()),
            ("one worker", found.one_worker, log.drain_log(1)),
            ("two workers", found.two_workers, log.drain_log(2)),
        ):
            _keep(name, drains, await drain, say)
    for _ in range(plan.repeat):
        _keep("without standby", found.alone, await run(stack, course), say)
        async with run_standby(stack.postgres):
            await wait_for_standby(stack.postgres, wait=True)
            _keep("synchronous standby", found.synchronous, await run(stack, course), say)
    return found


def _keep(name: str, drains: list[DrainResult], drain: DrainResult, say: Say) -> None:
    if drain.failure is not None or drain.lost or drain.twice:
        raise FailedError(f"{name}: {drain.failure or f'{drain.lost} lost, {drain.twice} twice'}")
    drains.append(drain)
    cpu = ", ".join(f"{process} {drain.cpu_us(process):.1f}" for process in drain.cpu)
    say(f"{name}: {drain.rate:,.0f} messages/s; CPU µs/message {sum_cpu_us(drain):.1f} ({cpu})")


async def _until(
    server: asyncpg.Connection, question: str, needed: RunningProcess, *arguments: object
) -> None:
    """Ask until the answer is true."""
    while not await server.fetchval(question, *arguments):
        needed.check()
        await asyncio.sleep(0.05)


class _ClusterDrains:
    """Drains of one backlog through edge and log.

    Args:
        stack: where.
        course: the backlog and the fleet.
    """

    def __init__(self, stack: BenchStack, course: DrainCourse) -> None:
        self._stack = stack
        self._course = course

    async def drain_through(self) -> DrainResult:
        """Drain the broker's backlog by an edge, and the log by a worker at the same time."""
        return await self._drain(workers=1, edge_first=False)

    async def drain_log(self, workers: int) -> DrainResult:
        """Let an edge drain the broker first, and measure only what workers do."""
        return await self._drain(workers=workers, edge_first=True)

    async def _drain(self, *, workers: int, edge_first: bool) -> DrainResult:
        stack, course = self._stack, self._course
        database = await stack.database_with_fleet(
            "drain_cluster",
            boxes=course.load.boxes,
            rules_per_site=course.rules_per_site,
            sites=course.sites,
            further=course.further,
        )
        account = stack.account("ingest")
        try:
            await make_session(account, _CLIENT, course.filters)
            await publish(await all_messages(course, database), stack.account("gateway"))
            # Idle streams of an earlier drain would cost the nodes something.
            with TemporaryDirectory(dir=stack.folder) as folder:
                async with NatsCluster(Path(folder)) as nodes, AsyncExitStack() as running:
                    return await self._measure(running, nodes, database, workers, edge_first=edge_first)
        finally:
            await drop_session(account, _CLIENT)
            await stack.drop("drain_cluster")

    async def _measure(
        self,
        running: AsyncExitStack,
        nodes: NatsCluster,
        database: str,
        workers: int,
        *,
        edge_first: bool,
    ) -> DrainResult:
        stack = self._stack
        settings = _log_settings(nodes)

        async def start_workers() -> dict[str, RunningProcess]:
            return {
                f"worker {number}": await running.enter_async_context(
                    stack.role("ingest", database, **settings)
                )
                for number in range(1, workers + 1)
            }

        server = await asyncpg.connect(database)
        running.push_async_callback(server.close)
        if edge_first:
            # Workers wait while nobody gives them a partition.
            await server.execute(f"SELECT pg_advisory_lock({PARTITION_CLASS}, n) {_EACH_PARTITION}")
        roles = await start_workers()
        edge = await running.enter_async_context(
            stack.role("edge", database, VIGIE_EDGE__NAME="bench", **settings)
        )
        pids = {name: role.pid for name, role in roles.items()} | {"edge": edge.pid} | stack.services
        pids |= {node.name: node.process.pid for node in nodes.nodes if node.process is not None}
        if not await connected(edge.pid, stack.mosquitto.port):
            raise FailedError(f"The edge did not connect to the broker: {edge.last_words()}")
        if edge_first:
            await _until(server, _DRAINED, edge)
            await _until(server, _JOINED, edge, workers, CONSUMER)
            await server.execute(f"SELECT pg_advisory_unlock({PARTITION_CLASS}, n) {_EACH_PARTITION}")
            await _until(server, _TAKEN, edge)
        before = CpuReading.now(pids)
        await all_stored(database, self._course.load.last_of(CONNECTIONS), edge.check)
        after = CpuReading.now(pids)
        rows, different, disk = await stored(database, narrow=False)
        drain = DrainResult(
            "e", self._course.load.messages, seconds=after.at - before.at, cpu=after.since(before)
        )
        return replace(
            drain, stored=rows, lost=self._course.load.messages - different, twice=rows - different, disk=disk
        )


def _log_settings(nodes: NatsCluster) -> dict[str, str]:
    return {
        "VIGIE_MESSAGE_LOG__ENGINE": "jetstream",
        "VIGIE_MESSAGE_LOG__SERVERS": json.dumps(nodes.servers),
        "VIGIE_MESSAGE_LOG__USERNAME": nats_cluster.USERNAME,
        "VIGIE_MESSAGE_LOG__PASSWORD": nats_cluster.PASSWORD,
        "VIGIE_MESSAGE_LOG__PARTITIONS": str(PARTITIONS),
        "VIGIE_MESSAGE_LOG__MAX_BYTES": str(2**30),
        "VIGIE_INGEST__CLIENT_ID": _CLIENT,
    }
