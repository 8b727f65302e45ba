"""Runs three nodes of RabbitMQ with streams, by default on 127.0.0.1 with free ports."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from app.platform.kernel.atomic_files import replace_file_text
from app.standalone.free_ports import find_free_port
from tools.clusters.cluster_nodes import ClusterNode, NodePlace, find_server, wait_until

THREE: Final = (NodePlace(), NodePlace(), NodePlace())
USERNAME: Final = "vigie"
PASSWORD: Final = "vigie-log"  # noqa: S105  # of servers that only tests and drills run
# Debian's `rabbitmq-server` in the PATH runs as another account, with that account's folders.
_PROGRAM: Final = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_START_S: Final = 90.0

_CONFIG: Final = """\
listeners.tcp.1 = {host}:{amqp}
stream.listeners.tcp.1 = {host}:{client}
stream.advertised_host = {host}
stream.advertised_port = {client}
stream.frame_max = 8388608
cluster_formation.peer_discovery_backend = classic_config
{nodes}
cluster_partition_handling = pause_minority
net_ticktime = 8
default_user = {username}
default_pass = {password}
loopback_users = none
log.console.level = warning
log.file = false
log.console = true
"""


class RabbitMQCluster:
    """Three nodes of RabbitMQ.

    Args:
        folder: Their files.
        places: Their addresses.
        ports: The ports of each (`client`, `amqp`, `distribution`, `epmd`); none: free ones.
    """

    def __init__(
        self, folder: Path, places: Sequence[NodePlace] = THREE, *, ports: dict[str, int] | None = None
    ) -> None:
        purposes = ("client", "amqp", "distribution")
        epmd = find_free_port()
        self._mappers: dict[NodePlace, ClusterNode] = {}
        self.nodes = [
            ClusterNode(
                name=f"rabbit{number}",
                place=place,
                folder=folder / f"rabbit{number}",
                ports=ports or {"epmd": epmd} | {purpose: find_free_port() for purpose in purposes},
            )
            for number, place in enumerate(places, 1)
        ]

    @property
    def servers(self) -> list[str]:
        """The addresses of the nodes' stream protocol, as `host:port`."""
        return [self.address(node) for node in self.nodes]

    def address(self, node: ClusterNode) -> str:
        """Return the address of a node, which is its name in the log's description."""
        return f"{node.place.host}:{node.ports['client']}"

    def find_node(self, name: str) -> ClusterNode:
        """Return the node of a name in the log's description."""
        return next(node for node in self.nodes if self.address(node) == name)

    async def __aenter__(self) -> Self:
        """Start all nodes, and wait until they serve streams.

        Raises:
            ClusterError: They do not after 90 s.
        """
        try:
            for node in self.nodes:
                await self._start_port_mapper(node)
            await asyncio.gather(*(self.start(node) for node in self.nodes))
            await self.wait_for_peers()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop all nodes."""
        await self.stop()

    async def _start_port_mapper(self, node: ClusterNode) -> None:
        """Start Erlang's port mapper of a network, which the nodes in it share."""
        if node.place in self._mappers:
            return
        folder = node.folder.parent / f"epmd-{node.name}"
        folder.mkdir(parents=True, exist_ok=True)
        mapper = ClusterNode(f"epmd-{node.name}", node.place, folder, node.ports)
        self._mappers[node.place] = mapper
        words = [find_server("epmd", "rabbitmq-server"), "-address", node.place.host]
        await mapper.launch([*words, "-port", str(node.ports["epmd"])], {"PATH": "/usr/bin:/bin"})

    async def start(self, node: ClusterNode) -> None:
        """Start a node on its files."""
        node.folder.mkdir(parents=True, exist_ok=True)
        names = [f"{each.name}@{each.place.host}" for each in self.nodes]
        config = _CONFIG.format(
            host=node.place.host,
            nodes="\n".join(
                f"cluster_formation.classic_config.nodes.{number} = {name}"
                for number, name in enumerate(names, 1)
            ),
            username=USERNAME,
            password=PASSWORD,
            **node.ports,
        )
        replace_file_text(node.folder / "rabbitmq.conf", config)
        replace_file_text(node.folder / "enabled_plugins", "[rabbitmq_stream].\n")
        cookie = node.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text("VIGIETESTCLUSTER", encoding="ascii")
            cookie.chmod(0o400)
        await node.launch([find_server(_PROGRAM, "rabbitmq-server")], self._environment(node))

    def _environment(self, node: ClusterNode) -> dict[str, str]:
        interface = "{" + ",".join(node.place.host.split(".")) + "}"
        return {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(node.folder),
            "LC_ALL": "C.UTF-8",
            # The server replaces its script, and has the process id that the node knows.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_PORT": str(node.ports["epmd"]),
            "RABBITMQ_NODENAME": f"{node.name}@{node.place.host}",
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_DIST_PORT": str(node.ports["distribution"]),
            "RABBITMQ_CONFIG_FILE": str(node.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(node.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(node.folder / "data"),
            "RABBITMQ_LOG_BASE": str(node.folder / "log"),
            "RABBITMQ_PID_FILE": str(node.folder / "pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(node.folder / "generated"),
            # No busy waiting, and few schedulers: the nodes share the cores of one machine.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-start_epmd false -kernel inet_dist_use_interface {interface} "
                "+sbwt none +sbwtdcpu none +sbwtdio none +S 2:2"
            ),
        }

    async def stop(self) -> None:
        """Stop all nodes. They need no good order: their files are thrown away."""
        for node in (*self.nodes, *self._mappers.values()):
            node.resume()
            await node.kill()

    async def wait_for_peers(self, nodes: Sequence[ClusterNode] | None = None) -> None:
        """Wait until the given nodes (all, by default) serve streams: they have joined the others then.

        Raises:
            ClusterError: They do not after 90 s.
        """
        awaited = self.nodes if nodes is None else nodes

        def are_ready() -> bool:
            for node in awaited:
                with socket.create_connection((node.place.host, node.ports["client"]), timeout=1):
                    pass
            return True

        await wait_until(are_ready, _START_S, self.nodes, "nodes of RabbitMQ that serve streams")
