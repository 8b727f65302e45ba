"""Starts, kills, suspends and stops each program of a machine on its own: the parts of `CityCluster`."""

import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import psutil

from app.platform.kernel.atomic_files import replace_file_text
from app.standalone.unprivileged_accounts import SystemAccount
from tools.clusters.cluster_nodes import ClusterNode, NodePlace

NODES: Final = ("etcd", "patroni", "nats", "mosquitto")
"""The programs of others on a machine. Patroni starts PostgreSQL."""
ROLES: Final = ("edge", "api", "ingest", "deliver", "maintain")
"""The processes of Vigie on a machine."""


class Component(Protocol):
    """A program of a machine."""

    @property
    def is_running(self) -> bool:
        """Whether it runs."""

    async def start(self) -> None:
        """Start it on its files, unless it runs."""

    async def kill(self) -> None:
        """Kill it (SIGKILL)."""

    def suspend(self) -> None:
        """Suspend it (SIGSTOP): its connections stay open and nobody answers."""

    def resume(self) -> None:
        """Let it continue."""

    async def stop(self) -> None:
        """Stop it in good order."""


@dataclass
class ProgramComponent(ClusterNode):
    """A program that the cluster starts.

    Attributes:
        words: Its command line.
        environment: Its whole environment.
        account: The account it runs under; None: that of this process.
        pid_file: A file with its process id, which other programs read.
    """

    words: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    account: SystemAccount | None = None
    pid_file: Path | None = None

    @property
    def log(self) -> Path:
        """The file with the output of the program."""
        return self.folder / f"{self.name}.log"

    async def start(self) -> None:
        """Start the program on its files, unless it runs."""
        if self.is_running:
            return
        await self.launch(self.words, self.environment, self.account)
        if self.pid_file is not None and self.process is not None:
            replace_file_text(self.pid_file, f"{self.process.pid}\n")


@dataclass
class PostgresComponent:
    """The PostgreSQL that Patroni starts on a machine.

    Attributes:
        data: Its data directory.
    """

    data: Path

    def list_processes(self) -> list[psutil.Process]:
        """Return the server with its backends."""
        with suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
            server = psutil.Process(int(lines[0]))
            # After a crash the file remains, and another program may have the number.
            if "postgres" in server.name():
                return [server, *server.children(recursive=True)]
        return []

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return bool(self.list_processes())

    async def start(self) -> None:
        """Do nothing: Patroni starts it."""

    async def kill(self) -> None:
        """Kill the server and its backends (SIGKILL). Patroni starts it again, or promotes another one."""
        self._send(signal.SIGKILL)

    def suspend(self) -> None:
        """Suspend the server and its backends (SIGSTOP)."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them continue."""
        self._send(signal.SIGCONT)

    async def stop(self) -> None:
        """Do nothing: Patroni stops it."""

    def _send(self, number: signal.Signals) -> None:
        for process in self.list_processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@dataclass
class Machine:
    """One of three machines.

    Attributes:
        name: Its name: machine1, machine2, machine3.
        place: Its address and network.
        folder: Its files.
        components: Its programs by name: those of NODES and ROLES, and `postgres`.
    """

    name: str
    place: NodePlace
    folder: Path
    components: dict[str, Component] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Its address."""
        return self.place.host

    async def start(self, names: Sequence[str] = (*NODES, *ROLES)) -> None:
        """Start those of its programs that do not run."""
        for name in names:
            await self.components[name].start()
