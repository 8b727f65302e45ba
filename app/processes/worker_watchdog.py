"""Watches the workers of the API: which are ready, and which hang.

Each worker gets a socket in its environment, to which it reports as to a service manager
(`app.platform.runtime.service_manager`).
"""

import asyncio
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.platform.runtime.service_manager import (
    NOTIFY_VARIABLE,
    READY,
    WATCHDOG,
    WATCHDOG_PID_VARIABLE,
    WATCHDOG_VARIABLE,
)
from app.standalone.process_keeper import ProcessKeeper

CHECK_EVERY_S: Final = 1.0
# A worker reports three times as often. Longer than any request may block the event loop.
HUNG_AFTER_S: Final = 30.0
# Until its first report a worker imports the program, which takes long on a machine that is busy.
STARTS_WITHIN_S: Final = 180.0
_DYING_S: Final = 2.0
_DATAGRAM: Final = 4096


@dataclass(slots=True)
class _WatchedWorker:
    """One worker. `silent_checks` counts the checks since its last report, or since its start."""

    receiver: socket.socket
    path: Path
    is_ready: bool = False
    silent_checks: int = 0
    has_reported: bool = False
    keeper: ProcessKeeper | None = field(default=None, repr=False)


class WorkerWatchdog:
    """Receives the workers' reports, and kills those that hang; their keepers restart them.

    Silence is counted in checks, not in time: after a pause of the whole machine no worker is late.

    Args:
        folder: A private folder for sockets.
        hung_after_s: The silence after which a worker counts as hung (s).
        starts_within_s: The same until its first report.
    """

    def __init__(
        self, folder: Path, hung_after_s: float = HUNG_AFTER_S, starts_within_s: float = STARTS_WITHIN_S
    ) -> None:
        self._folder = folder
        self._hung_after_s = hung_after_s
        self._starts_within_s = max(hung_after_s, starts_within_s)
        self._workers: list[_WatchedWorker] = []

    @property
    def are_ready(self) -> bool:
        """Whether every worker serves, or served before it was restarted."""
        return all(worker.is_ready for worker in self._workers)

    def add(self) -> Mapping[str, str]:
        """Add a worker; returns its environment."""
        path = self._folder / f"worker-{len(self._workers)}"
        receiver = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        receiver.bind(str(path))
        worker = _WatchedWorker(receiver, path)
        self._workers.append(worker)
        asyncio.get_running_loop().add_reader(receiver, self._receive, worker)
        return {
            NOTIFY_VARIABLE: str(path),
            WATCHDOG_VARIABLE: str(round(self._hung_after_s * 1e6)),
            WATCHDOG_PID_VARIABLE: "",
        }

    def watch(self, keepers: list[ProcessKeeper]) -> None:
        """Watch the processes of these keepers, in the order of `add`."""
        for worker, keeper in zip(self._workers, keepers, strict=True):
            worker.keeper = keeper

    def forget_silence(self, number: int) -> None:
        """Count again from now on: the worker has just started."""
        self._workers[number].silent_checks = 0
        self._workers[number].has_reported = False

    def _receive(self, worker: _WatchedWorker) -> None:
        lines = worker.receiver.recv(_DATAGRAM).split(b"\n")
        if READY in lines:
            worker.is_ready = True
        if WATCHDOG in lines:
            worker.silent_checks = 0
            worker.has_reported = True

    async def check(self) -> list[int]:
        """Count one check, and kill workers that hang; returns their process ids."""
        hung = []
        for worker in self._workers:
            pid = None if worker.keeper is None else worker.keeper.pid
            worker.silent_checks += 1
            limit_s = self._hung_after_s if worker.has_reported else self._starts_within_s
            if pid is not None and worker.silent_checks * CHECK_EVERY_S >= limit_s:
                worker.silent_checks = 0
                hung.append(pid)
                await _abort(worker.keeper)
        return hung

    def close(self) -> None:
        """Close and remove the sockets."""
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            loop.remove_reader(worker.receiver)
            worker.receiver.close()
            worker.path.unlink(missing_ok=True)


async def _abort(keeper: ProcessKeeper | None) -> None:
    """End a worker by SIGABRT, so that it logs where it hangs; two seconds later it is killed."""
    child = None if keeper is None else keeper.child
    if child is None:
        return
    child.send(signal.SIGABRT)
    child.send(signal.SIGCONT)
    try:
        async with asyncio.timeout(_DYING_S):
            await child.wait()
    except TimeoutError:
        child.kill()
