"""Servers that receive measurements, on free ports of loopback."""

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import httpx

from app.standalone.free_ports import find_free_port
from tools.clusters import rabbitmq_cluster
from tools.clusters.cluster_nodes import ClusterNode, NodePlace, find_server
from tools.clusters.rabbitmq_cluster import RabbitMQCluster

PASSWORD = "receiver-password"
RABBITMQ_LOGIN = {"username": rabbitmq_cluster.USERNAME, "password": rabbitmq_cluster.PASSWORD}


@dataclass(frozen=True)
class Server:
    """A server that runs, and its process."""

    node: ClusterNode
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).is_success
    except httpx.TransportError:
        return False


NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


async def launch(  # noqa: PLR0917 (a server)
    folder: Path,
    name: str,
    words: list[str],
    port: int,
    health: str,
    environment: Mapping[str, str] = NOTHING,
) -> Server:
    node = ClusterNode(name, NodePlace(), folder, {"client": port})
    await node.launch(words, {"PATH": "/usr/bin:/bin", **environment})
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(answers, health):  # noqa: ASYNC110 (it starts)
            await asyncio.sleep(0.05)
    return Server(node, port)


@asynccontextmanager
async def run_victoria(folder: Path) -> AsyncIterator[Server]:
    port = find_free_port()
    words = [
        find_server("victoria-metrics", "victoria-metrics"),
        f"-storageDataPath={folder}/data",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=10y",
        "-search.latencyOffset=0s",
        "-memory.allowedPercent=5",
    ]
    server = await launch(folder, "victoria", words, port, f"http://127.0.0.1:{port}/health")
    yield server
    await server.node.stop()


@asynccontextmanager
async def run_nats(folder: Path) -> AsyncIterator[Server]:
    """A node of NATS with JetStream and one account."""
    port, monitor = find_free_port(), find_free_port()
    words = [find_server("nats-server", "nats-server"), "-a", "127.0.0.1", "-p", str(port), "-js"]
    words += ["-sd", str(folder / "store"), "-m", str(monitor), "--user", "vigie", "--pass", PASSWORD]
    server = await launch(folder, "nats", words, port, f"http://127.0.0.1:{monitor}/healthz")
    yield server
    await server.node.stop()


@asynccontextmanager
async def run_rabbitmq(folder: Path) -> AsyncIterator[Server]:
    """One node of RabbitMQ."""
    async with RabbitMQCluster(folder, (NodePlace(),)) as cluster:
        yield Server(cluster.nodes[0], cluster.nodes[0].ports["amqp"])


def read_victoria(server: Server, match: str) -> list[dict[str, Any]]:
    """Return the series that VictoriaMetrics has, after it has written what is in its memory."""
    base = f"http://{server.address}"
    httpx.get(f"{base}/internal/force_flush", timeout=60).raise_for_status()
    answer = httpx.get(f"{base}/api/v1/export", params={"match[]": match}, timeout=60).raise_for_status()
    return [json.loads(line) for line in answer.text.splitlines()]


def postgresql_sink(url: str, **more: object) -> dict[str, Any]:
    parts = urllib.parse.urlsplit(url)
    return {
        "kind": "postgresql",
        "server": f"{parts.hostname}:{parts.port}",
        "tls": False,
        "database": parts.path[1:],
        "username": parts.username,
        "password": parts.password or "unused",
        **more,
    }
