"""Kills, suspends and cuts off nodes of a replicated log under load, and prints what each engine lost.

    uv run python -m tools.clusters.message_log_drill jetstream
    uv run python -m tools.clusters.message_log_drill rabbitmq --suspend-s 30
    uv run python -m tools.clusters.message_log_drill jetstream --no-faults --sync-interval always

A record is 1,000 messages of 164 bytes, unless `--record-messages` says otherwise. CPU is that of the three
nodes and of this process, which both appends and reads.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from app.message_log.message_log import LogUnavailableError, MessageLog
from app.message_log.message_log_factory import make_message_log
from app.message_log.settings import MessageLogSettings
from tools.clusters import nats_cluster, rabbitmq_cluster
from tools.clusters.append_ledger import AppendLedger
from tools.clusters.cluster_nodes import ClusterNode, NodePlace
from tools.clusters.nats_cluster import THREE, NatsCluster
from tools.clusters.network_namespaces import NamespaceNetwork
from tools.clusters.rabbitmq_cluster import RabbitMQCluster

Cluster = NatsCluster | RabbitMQCluster
_PARTITIONS: Final = 3
_MESSAGE_BYTES: Final = 164
_CPU_RECORDS: Final = 600
_PAUSE_S: Final = 0.05
_RECOVERY_S: Final = 90.0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def make_settings(engine: str, cluster: Cluster) -> MessageLogSettings:
    """Return settings of a log with three partitions on a cluster."""
    account = nats_cluster if engine == "jetstream" else rabbitmq_cluster
    return MessageLogSettings.model_validate(
        {
            "engine": engine,
            "servers": cluster.servers,
            "username": account.USERNAME,
            "password": SecretStr(account.PASSWORD),
            "partitions": _PARTITIONS,
        }
    )


async def open_log(settings: MessageLogSettings) -> MessageLog:
    """Open a log; repeats while the nodes are not ready."""
    log = make_message_log(settings)
    async with asyncio.timeout(_RECOVERY_S):
        while True:
            try:
                await log.open()
            except LogUnavailableError:
                await asyncio.sleep(0.5)
            else:
                return log


class MessageLogDrill:
    """The drill of one engine on its cluster."""

    def __init__(
        self, engine: str, cluster: Cluster, network: NamespaceNetwork | None, record_messages: int
    ) -> None:
        self._engine = engine
        self._record_messages = record_messages
        self._record_bytes = _MESSAGE_BYTES * record_messages
        self._cluster = cluster
        self._network = network
        self._settings = make_settings(engine, cluster)

    async def run(self, suspend_s: float | None) -> None:
        """Run all parts, one after another; None: only the measurement without faults."""
        await self._measure_cpu()
        if suspend_s is None:
            return
        await self._break("kill -9 of a follower", lambda: self._kill(leader=False))
        await self._break("kill -9 of the leader", lambda: self._kill(leader=True))
        await self._break(f"SIGSTOP of a follower, {suspend_s:g} s", lambda: self._suspend(suspend_s, False))
        await self._break(f"SIGSTOP of the leader, {suspend_s:g} s", lambda: self._suspend(suspend_s, True))
        if self._network is not None:
            await self._break(f"the leader cut off, {suspend_s:g} s", lambda: self._cut_off(suspend_s))

    async def _find_node(self, *, leader: bool) -> ClusterNode:
        log = await open_log(self._settings)
        try:
            async with asyncio.timeout(_RECOVERY_S):
                while True:
                    status = (await log.describe()).partitions[0]
                    if status.leader is not None and len(status.in_sync) == len(self._cluster.nodes):
                        break
                    await asyncio.sleep(0.5)
        finally:
            await log.close()
        name = status.leader if leader else next(each for each in status.replicas if each != status.leader)
        return self._cluster.find_node(name)

    async def _kill(self, *, leader: bool) -> None:
        node = await self._find_node(leader=leader)
        await node.kill()
        await asyncio.sleep(12.0)
        await self._cluster.start(node)
        await self._cluster.wait_for_peers([node])

    async def _suspend(self, suspend_s: float, leader: bool) -> None:  # noqa: FBT001
        node = await self._find_node(leader=leader)
        node.suspend()
        await asyncio.sleep(suspend_s)
        node.resume()

    async def _cut_off(self, suspend_s: float) -> None:
        node = await self._find_node(leader=True)
        if self._network is not None:
            async with self._network.cut_off(node.place):
                await asyncio.sleep(suspend_s)

    async def _break(self, title: str, happen: Callable[[], Awaitable[None]]) -> None:
        writer, reader = await open_log(self._settings), await open_log(self._settings)
        try:
            async with AppendLedger(
                writer, reader, _PARTITIONS, record_bytes=self._record_bytes, pause_s=_PAUSE_S
            ) as ledger:
                await asyncio.sleep(2.0)
                await happen()
                await asyncio.sleep(3.0)
                await ledger.finish(_RECOVERY_S)
        finally:
            await writer.close()
            await reader.close()
        parts = ledger.partitions
        _say(
            f"{self._engine}: {title}: {sum(part.acknowledged for part in parts)} acknowledged, "
            f"{sum(part.lost for part in parts)} lost, {sum(part.repeated for part in parts)} repeated, "
            f"ordered: {all(part.is_ordered for part in parts)}, "
            f"longest gap {max(part.longest_append_s for part in parts):.1f} s of appends, "
            f"{max(part.longest_read_s for part in parts):.1f} s of reads"
        )

    async def _measure_cpu(self) -> None:
        """Print the CPU per message, of the nodes and of this process, without any fault."""
        writer, reader = await open_log(self._settings), await open_log(self._settings)
        try:
            nodes = sum(node.read_cpu_s() for node in self._cluster.nodes)
            own, began = _read_own_cpu_s(), time.monotonic()
            async with AppendLedger(
                writer, reader, _PARTITIONS, record_bytes=self._record_bytes, pause_s=0.0
            ) as ledger:
                await ledger.wait_for_appends(_CPU_RECORDS // _PARTITIONS, 120.0)
                await ledger.finish(30.0)
            seconds = time.monotonic() - began
            nodes = sum(node.read_cpu_s() for node in self._cluster.nodes) - nodes
            own = _read_own_cpu_s() - own
        finally:
            await writer.close()
            await reader.close()
        messages = sum(part.acknowledged for part in ledger.partitions) * self._record_messages
        _say(
            f"{self._engine}: {messages} messages in {seconds:.1f} s; CPU in µs a message: "
            f"nodes {nodes / messages * 1e6:.2f}, client {own / messages * 1e6:.2f}; "
            f"longest append {max(part.longest_append_s for part in ledger.partitions) * 1000:.0f} ms"
        )


def _read_own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _main(arguments: argparse.Namespace) -> None:
    suspend_s = None if arguments.no_faults else arguments.suspend_s
    messages: int = arguments.record_messages
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:

        def make_cluster(places: Sequence[NodePlace]) -> Cluster:
            if arguments.engine == "jetstream":
                return NatsCluster(Path(folder), places, sync_interval=arguments.sync_interval)
            return RabbitMQCluster(Path(folder), places)

        if not arguments.namespaces:
            async with make_cluster(THREE) as cluster:
                await MessageLogDrill(arguments.engine, cluster, None, messages).run(suspend_s)
            return
        async with NamespaceNetwork(3) as network, make_cluster(network.places) as cluster:
            await MessageLogDrill(arguments.engine, cluster, network, messages).run(suspend_s)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("engine", choices=["jetstream", "rabbitmq"])
    parser.add_argument("--suspend-s", type=float, default=30.0, help="how long a node hangs or is cut off")
    parser.add_argument("--namespaces", action="store_true", help="a network per node, as root")
    parser.add_argument("--no-faults", action="store_true", help="measure only")
    parser.add_argument("--record-messages", type=int, default=1000, help="messages of 164 bytes in a record")
    parser.add_argument("--sync-interval", help="NATS: when files are forced to disk (`always`, `1s`)")
    parser.add_argument("--folder", help="where the nodes keep their files; default: that of temporary files")
    asyncio.run(_main(parser.parse_args()))
