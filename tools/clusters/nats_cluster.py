"""Runs three nodes of NATS with JetStream, by default on 127.0.0.1 with free ports.

async with NatsCluster(folder) as cluster:
    settings = MessageLogSettings(engine="jetstream", servers=cluster.servers, …)
"""

import asyncio
import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from app.platform.kernel.atomic_files import replace_file_text
from app.server_installation.deploy_files import render_deploy_file
from app.standalone.free_ports import find_free_port
from tools.clusters.cluster_nodes import ClusterNode, NodePlace, find_server, wait_until

THREE: Final = (NodePlace(), NodePlace(), NodePlace())
USERNAME: Final = "vigie"
PASSWORD: Final = "vigie-log"  # noqa: S105  # of servers that only tests and drills run
_START_S: Final = 30.0


class NatsCluster:
    """Three nodes of NATS.

    Args:
        folder: Their files.
        places: Their addresses.
        ports: The ports of each (`client`, `route`, `monitor`); none: free ones.
        max_file_store: The most bytes of all streams on a node.
    """

    def __init__(
        self,
        folder: Path,
        places: Sequence[NodePlace] = THREE,
        *,
        ports: dict[str, int] | None = None,
        max_file_store: int = 64 * 2**30,
    ) -> None:
        purposes = ("client", "route", "monitor")
        self._max_file_store = max_file_store
        self.nodes = [
            ClusterNode(
                name=f"nats{number}",
                place=place,
                folder=folder / f"nats{number}",
                ports=ports or {purpose: find_free_port() for purpose in purposes},
            )
            for number, place in enumerate(places, 1)
        ]

    @property
    def servers(self) -> list[str]:
        """The addresses of the nodes, as `host:port`."""
        return [f"{node.place.host}:{node.ports['client']}" for node in self.nodes]

    def find_node(self, name: str) -> ClusterNode:
        """Return the node of a name."""
        return next(node for node in self.nodes if node.name == name)

    async def __aenter__(self) -> Self:
        """Start all nodes, and wait until they have a leader.

        Raises:
            ClusterError: They have none after 30 s.
        """
        try:
            await asyncio.gather(*(self.start(node) for node in self.nodes))
            await self.wait_for_peers()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop all nodes."""
        await self.stop()

    async def start(self, node: ClusterNode) -> None:
        """Start a node on its files."""
        node.folder.mkdir(parents=True, exist_ok=True)
        routes = ", ".join(f'"nats://{each.place.host}:{each.ports["route"]}"' for each in self.nodes)
        text = render_deploy_file(
            "ha/nats.conf",
            name=node.name,
            host=node.place.host,
            store=node.folder / "store",
            routes=routes,
            username=USERNAME,
            password=PASSWORD,
            max_file_store=self._max_file_store,
            **node.ports,
        )
        config = node.folder / "nats.conf"
        replace_file_text(config, text)
        server = find_server("nats-server", "nats-server")
        await node.launch([server, "--config", str(config)], {"PATH": "/usr/bin:/bin"})

    async def stop(self) -> None:
        """Stop all nodes."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def wait_for_peers(self, nodes: Sequence[ClusterNode] | None = None) -> None:
        """Wait until the given nodes (all, by default) know a leader and follow it closely.

        Raises:
            ClusterError: They do not after 30 s.
        """
        awaited = self.nodes if nodes is None else nodes

        def are_ready() -> bool:
            return all(_is_healthy(node) for node in awaited)

        await wait_until(are_ready, _START_S, self.nodes, "nodes of NATS with a leader")


def _is_healthy(node: ClusterNode) -> bool:
    state = _fetch(node, "jsz").get("meta_cluster", {})
    return bool(state.get("leader")) and _fetch(node, "healthz").get("status") == "ok"


def _fetch(node: ClusterNode, path: str) -> dict[str, Any]:
    url = f"http://{node.place.host}:{node.ports['monitor']}/{path}"
    with urllib.request.urlopen(url, timeout=1) as answer:  # an address of this cluster
        found: dict[str, Any] = json.loads(answer.read())
    return found
