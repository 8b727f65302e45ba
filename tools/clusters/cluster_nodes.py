"""Starts, suspends, kills and stops the server processes of a cluster, each by its process id.

A node may run behind other words (`launcher`), for instance `ip netns exec NAME` for a network of its own.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from app.standalone.child_process import ChildProcess, StopStep, read_log_tail
from app.standalone.free_ports import LOOPBACK
from app.standalone.unprivileged_accounts import SystemAccount, build_run_as_command

STOP: Final = (StopStep(signal.SIGTERM, 10.0), StopStep(signal.SIGKILL, 5.0))
_PROBE_S: Final = 0.1


class ClusterError(Exception):
    """A cluster did not start or did not reach the expected state. The message has the ends of its logs."""


@dataclass(frozen=True, slots=True)
class NodePlace:
    """The address and the network of a node.

    Attributes:
        host: The address that its servers bind, and by which the other nodes reach it.
        launcher: Words before its command lines; empty: none.
    """

    host: str = LOOPBACK
    launcher: tuple[str, ...] = ()


@dataclass
class ClusterNode:
    """One node of a cluster.

    Attributes:
        name: Its name in the cluster.
        place: Its address.
        folder: Its files.
        ports: Its ports, by purpose.
        process: Its server, if it runs.
    """

    name: str
    place: NodePlace
    folder: Path
    ports: Mapping[str, int]
    process: ChildProcess | None = field(default=None)

    @property
    def log(self) -> Path:
        """The file with the output of the server."""
        return self.folder / "server.log"

    @property
    def is_running(self) -> bool:
        """Whether the server runs."""
        return self.process is not None and self.process.returncode is None

    async def launch(
        self, words: Sequence[str], environment: Mapping[str, str], account: SystemAccount | None = None
    ) -> None:
        """Start the server, under an account if one is given. It ends with the process that started it."""
        self.process = await ChildProcess.start(
            [*self.place.launcher, *build_run_as_command(account, words, death_signal="KILL")],
            environment=environment,
            log=self.log,
            folder=self.folder,
        )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server and its children."""
        if self.process is None:
            return
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            for process in (parent, *parent.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    async def kill(self) -> None:
        """Kill the server (SIGKILL), as a power cut would, and wait for its end."""
        if self.process is not None:
            self.process.kill()
            await self.process.wait()

    def suspend(self) -> None:
        """Suspend the server (SIGSTOP): its connections stay open and nobody answers."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended server continue."""
        self.send(signal.SIGCONT)

    async def stop(self) -> None:
        """Stop the server in good order; kill it after some seconds."""
        if self.process is not None:
            self.send(signal.SIGCONT)
            await self.process.stop(STOP)

    def read_cpu_s(self) -> float:
        """Return the CPU seconds that the server and its children have used; 0 if it does not run."""
        if self.process is None:
            return 0.0
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
            return sum(each.user + each.system for each in times)
        return 0.0


def find_server(program: str, package: str) -> str:
    """Return the path of a server's program.

    Raises:
        ClusterError: It is not installed.
    """
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ClusterError(f"`{program}` is missing: apt-get install {package}")
    return found


async def wait_until(
    is_ready: Callable[[], bool], timeout_s: float, nodes: Sequence[ClusterNode], subject: str
) -> None:
    """Wait until a blocking check, called in a thread, returns true.

    Args:
        is_ready: The check. OSError and ValueError count as false.
        timeout_s: The longest wait, in seconds.
        nodes: The nodes whose logs the error quotes.
        subject: What is awaited, for the error.

    Raises:
        ClusterError: It did not within `timeout_s`.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while True:
                with suppress(OSError, ValueError):
                    if await asyncio.to_thread(is_ready):
                        return
                await asyncio.sleep(_PROBE_S)
    logs = "\n".join(f"{node.name}: {read_log_tail(node.log)}" for node in nodes)
    raise ClusterError(f"{subject}: not within {timeout_s:g} s\n{logs}")
