"""Makes a network namespace for each node of a cluster, joined by a bridge, to cut nodes off. As root.

The names begin with the process id, so that several networks exist side by side.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
        space, outside = f"{self._id}-{number}", f"{self._id}{number}"
        await _run("netns", "add", space)
        await _run("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
        await _run("link", "set", outside, "master", self._id, "up")
        inside = ("netns", "exec", space, "ip")
        await _run(*inside, "addr", "add", f"{self._net}.{number}/{_PREFIX}", "dev", "eth0")
        await _run(*inside, "link", "set", "lo", "up")
        await _run(*inside, "link", "set", "eth0", "up")

    async def __aexit__(self, *_: object) -> None:
        """Remove the namespaces and the bridge."""
        for number in range(1, self._count + 1):
            await _run("netns", "delete", f"{self._id}-{number}", check=False)
        await _run("link", "delete", self._id, check=False)

    @asynccontextmanager
    async def cut_off(self, place: NodePlace) -> AsyncIterator[None]:
        """Cut a node off from the others and from this process for the length of a block."""
        outside = f"{self._id}{self.places.index(place) + 1}"
        await _run("link", "set", outside, "down")
        try:
            yield
        finally:
            await _run("link", "set", outside, "up")


async def _run(*words: str, check: bool = True) -> None:
    process = await asyncio.create_subprocess_exec(
        "ip", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if check and process.returncode:
        raise ClusterError(f"ip {' '.join(words)}: {output.decode().strip()}")
