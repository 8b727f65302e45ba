"""Makes a network namespace for each node of a cluster, joined by a bridge, to cut nodes off. As root.

The names begin with the process id, so that several networks exist side by side.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

from tools.clusters.cluster_nodes import ClusterError, NodePlace

_PREFIX: Final = "24"


class NamespaceNetwork:
    """A bridge of this machine with one namespace per node, whose addresses are in 10.x.y.0/24.

    This process is on the bridge too, and remains connected to the nodes that are not cut off.

    Args:
        nodes: How many.
    """

    def __init__(self, nodes: int) -> None:
        own = os.getpid()
        self._id = f"v{own}"
        self._net = f"10.{200 + own // 250 % 50}.{own % 250}"
        self._count = nodes
        self.places = [
            NodePlace(f"{self._net}.{number}", ("ip", "netns", "exec", f"{self._id}-{number}"))
            for number in range(1, nodes + 1)
        ]

    @property
    def name(self) -> str:
        """The name of the bridge, with which the names of the namespaces begin."""
        return self._id

    @property
    def address(self) -> str:
        """The address of this process on the bridge."""
        return f"{self._net}.254"

    @property
    def network(self) -> str:
        """The addresses of all nodes and of this process."""
        return f"{self._net}.0/{_PREFIX}"

    async def __aenter__(self) -> Self:
        """Make the namespaces.

        Raises:
            ClusterError: This process is not root, or `ip` is missing.
        """
        try:
            await _run("link", "add", self._id, "type", "bridge")
            await _run("addr", "add", f"{self._net}.254/{_PREFIX}", "dev", self._id)
            await _run("link", "set", self._id, "up")
            for number in range(1, self._count + 1):
                await self._add(number)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _add(self, number: int) -> None:
        space, outside = f"{self._id}-{number}", _name_port(self._id, number)
        await _run("netns", "add", space)
        await _run("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
        await _run("link", "set", outside, "master", self._id, "up")
        inside = ("netns", "exec", space, "ip")
        await _run(*inside, "addr", "add", f"{self._net}.{number}/{_PREFIX}", "dev", "eth0")
        await _run(*inside, "link", "set", "lo", "up")
        await _run(*inside, "link", "set", "eth0", "up")

    async def __aexit__(self, *_: object) -> None:
        """Remove the links and the namespaces."""
        await _remove_links_and_namespaces(self._id)

    async def list_pids(self, place: NodePlace) -> list[int]:
        """Return the ids of the processes that run in the namespace of a node."""
        return await list_namespace_pids(place.launcher[-1])

    async def disconnect(self, place: NodePlace) -> None:
        """Cut a node off from the others and from this process."""
        await _run("link", "set", self._find_port(place), "down")

    async def connect(self, place: NodePlace) -> None:
        """Connect a node again that was cut off."""
        await _run("link", "set", self._find_port(place), "up")

    @asynccontextmanager
    async def cut_off(self, place: NodePlace) -> AsyncIterator[None]:
        """Cut a node off from the others and from this process for the length of a block."""
        await self.disconnect(place)
        try:
            yield
        finally:
            await self.connect(place)

    def _find_port(self, place: NodePlace) -> str:
        return _name_port(self._id, self.places.index(place) + 1)


def _name_port(network: str, number: int) -> str:
    """Return the name of a node's link on the bridge. The `p` tells it from the bridge of another process."""
    return f"{network}p{number}"


async def list_namespace_pids(namespace: str) -> list[int]:
    """Return the ids of the processes in a namespace; none if it does not exist."""
    return [
        int(word)
        for word in (await _run("netns", "pids", namespace, check=False)).split()
        if word.isdecimal()
    ]


async def remove_network(name: str) -> None:
    """Remove the network that an earlier process left behind, and kill the processes in it.

    Args:
        name: The name of its bridge.
    """
    for namespace in await _list_namespaces(name):
        for pid in await list_namespace_pids(namespace):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    await _remove_links_and_namespaces(name)


async def find_network_remains(name: str) -> list[str]:
    """Return the namespaces and links of a network that still exist."""
    return [*await _list_namespaces(name), *await _list_links(name)]


async def _list_namespaces(name: str) -> list[str]:
    listed = await _run("netns", "list", check=False)
    return [line.split()[0] for line in listed.splitlines() if line.startswith(f"{name}-")]


async def _list_links(name: str) -> list[str]:
    """Return the bridge of a network and the links of its nodes, without the `@…` of their other ends."""
    lines = (await _run("-oneline", "link", "show", check=False)).splitlines()
    links = [line.split()[1].rstrip(":").partition("@")[0] for line in lines]
    return [link for link in links if link == name or link.startswith(f"{name}p")]


async def _remove_links_and_namespaces(name: str) -> None:
    # The kernel removes the links of a deleted namespace some time later: each is deleted by name before.
    for link in await _list_links(name):
        await _run("link", "delete", link, check=False)
    for namespace in await _list_namespaces(name):
        await _run("netns", "delete", namespace, check=False)


async def _run(*words: str, check: bool = True) -> str:
    process = await asyncio.create_subprocess_exec(
        "ip", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if check and process.returncode:
        raise ClusterError(f"ip {' '.join(words)}: {output.decode().strip()}")
    return output.decode()
