"""Runs three nodes of NATS with JetStream, by default on 127.0.0.1 with free ports.

async with NatsCluster(folder) as cluster:
    settings = MessageLogSettings(engine="jetstream", servers=cluster.servers, …)
"""

import asyncio
import json
import re
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import nats
import nats.errors

from app.platform.kernel.atomic_files import replace_file_text
from app.server_installation.deploy_files import render_deploy_file
from app.standalone.free_ports import find_free_port
from tools.clusters.cluster_nodes import ClusterError, ClusterNode, NodePlace, find_server, wait_until

THREE: Final = (NodePlace(), NodePlace(), NodePlace())
USERNAME: Final = "vigie"
PASSWORD: Final = "vigie-log"  # noqa: S105  # of servers that only tests and drills run
_START_S: Final = 30.0
_FIRST_LEADER_S: Final = 10.0
_MOST_RESTARTS: Final = 4
_PROBE: Final = "start-probe"
_PROBE_INTERVAL_S: Final = 0.2


class NatsCluster:
    """Three nodes of NATS.

    Args:
        folder: Their files.
        places: Their addresses.
        ports: The ports of each (`client`, `route`, `monitor`); none: free ones.
        max_file_store: The most bytes of all streams on a node.
        sync_interval: When files are forced to disk; None: as `deploy/ha/nats.conf` says.
    """

    def __init__(
        self,
        folder: Path,
        places: Sequence[NodePlace] = THREE,
        *,
        ports: dict[str, int] | None = None,
        max_file_store: int = 64 * 2**30,
        sync_interval: str | None = None,
    ) -> None:
        purposes = ("client", "route", "monitor")
        self._sync_interval = sync_interval
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
        """Start all nodes, and wait until they have a leader that accepts streams.

        Raises:
            ClusterError: They have none, although some were restarted.
        """
        try:
            await asyncio.gather(*(self.start(node) for node in self.nodes))
            await self._wait_for_first_leader()
            await self._wait_until_streams_are_accepted()
        except BaseException:
            await self.stop()
            raise
        return self

    async def _wait_for_first_leader(self) -> None:
        """Wait for a leader; restart nodes that do not find one, as an operator would.

        Nodes that start in the same moment connect to each other twice, drop the duplicates, and sometimes
        one of them never learns of the leader.
        """
        for _ in range(_MOST_RESTARTS):
            with suppress(ClusterError):
                return await self.wait_for_peers(within_s=_FIRST_LEADER_S)
            for node in self.nodes:
                if not _is_ready(node):
                    await node.stop()
                    await self.start(node)
        return await self.wait_for_peers()

    async def _wait_until_streams_are_accepted(self) -> None:
        """Create a stream on all nodes and remove it; restart the leader where it refuses.

        After the same start it may take the others for away for good: "no suitable peers for placement".
        """
        for _ in range(_MOST_RESTARTS):
            if await self._accepts_streams():
                return
            leader = _fetch(self.nodes[0], "jsz")["meta_cluster"]["leader"]
            node = self.find_node(leader)
            await node.stop()
            await self.start(node)
            await self.wait_for_peers()
        raise ClusterError("The leader of NATS accepts no stream.")

    async def _accepts_streams(self) -> bool:
        try:
            async with asyncio.timeout(_FIRST_LEADER_S):
                connection = await nats.connect(
                    [f"nats://{each}" for each in self.servers], user=USERNAME, password=PASSWORD
                )
                try:
                    streams = connection.jetstream()
                    while True:
                        with suppress(nats.errors.Error):
                            await streams.add_stream(
                                name=_PROBE, subjects=[_PROBE], num_replicas=len(self.nodes)
                            )
                            return await streams.delete_stream(_PROBE)
                        await asyncio.sleep(_PROBE_INTERVAL_S)
                finally:
                    await connection.close()
        except (OSError, TimeoutError, nats.errors.Error):
            return False

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
        if self._sync_interval is not None:
            text = re.sub(r"sync_interval: .*", f"sync_interval: {self._sync_interval}", text)
        config = node.folder / "nats.conf"
        replace_file_text(config, text)
        server = find_server("nats-server", "nats-server")
        await node.launch([server, "--config", str(config)], {"PATH": "/usr/bin:/bin"})

    async def stop(self) -> None:
        """Stop all nodes."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def wait_for_peers(
        self, nodes: Sequence[ClusterNode] | None = None, *, within_s: float = _START_S
    ) -> None:
        """Wait until the given nodes (all, by default) know a leader and follow it closely.

        Raises:
            ClusterError: They do not within the time (seconds).
        """
        awaited = self.nodes if nodes is None else nodes

        def are_ready() -> bool:
            return all(_is_healthy(node) for node in awaited)

        await wait_until(are_ready, within_s, self.nodes, "nodes of NATS with a leader")


def _is_ready(node: ClusterNode) -> bool:
    """Return whether a node answers and is healthy."""
    try:
        return _is_healthy(node)
    except (OSError, ValueError):
        return False


def _is_healthy(node: ClusterNode) -> bool:
    state = _fetch(node, "jsz").get("meta_cluster", {})
    return bool(state.get("leader")) and _fetch(node, "healthz").get("status") == "ok"


def _fetch(node: ClusterNode, path: str) -> dict[str, Any]:
    url = f"http://{node.place.host}:{node.ports['monitor']}/{path}"
    with urllib.request.urlopen(url, timeout=1) as answer:  # an address of this cluster
        found: dict[str, Any] = json.loads(answer.read())
    return found
