"""Processes that an earlier run left behind, found for certain and then stopped.

A process is ours when it carries our marker in its environment, or is a `postgres` whose working
directory is our cluster. Numbers in pid files are never trusted: a number may be a stranger's by now.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARKER = "VIGIE_STACK"


def _processes() -> Iterator[Path]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            yield entry


def find_postgres_orphans(data: Path) -> list[int]:
    """The processes of the cluster in `data`: the postmaster and its backends all work in that folder."""
    found = []
    wanted = os.path.realpath(data)
    for entry in _processes():
        with contextlib.suppress(OSError):
            if str((entry / "cwd").readlink()) == wanted and (entry / "comm").read_text().startswith(
                "postgres"
            ):
                found.append(int(entry.name))
    return found


def find_marked_orphans(marker: str) -> list[int]:
    """The processes that were started with `marker` as their value of VIGIE_STACK."""
    wanted = f"{MARKER}={marker}".encode()
    found = []
    for entry in _processes():
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        # A halted process (SIGSTOP) would not see the signal before it goes on.
        os.kill(pid, signal.SIGCONT)


async def stop_postgres_orphans(data: Path, patience_s: float = 10.0) -> None:
    """Stop a cluster that still runs in `data`, then drop a `postmaster.pid` that no longer means anything.

    The file is removed only when no process of the cluster is left: while one is, it is what keeps a
    second server from the same files.
    """
    deadline = time.monotonic() + patience_s
    pid_file = data / "postmaster.pid"
    while remains := find_postgres_orphans(data):
        left = deadline - time.monotonic()
        # First a fast stop (rolls back, writes everything), then an immediate one, then force.
        number = signal.SIGINT if left > patience_s / 2 else signal.SIGQUIT if left > 0 else signal.SIGKILL
        postmaster = _recorded_postmaster(pid_file)
        targets = [postmaster] if postmaster in remains and left > 0 else remains
        # Backends without their postmaster: SIGINT would only cancel a query, SIGTERM ends them.
        if postmaster not in remains and number == signal.SIGINT:
            number = signal.SIGTERM
        for pid in targets:
            _signal(pid, number)
        await asyncio.sleep(0.1)
    pid_file.unlink(missing_ok=True)


def _recorded_postmaster(pid_file: Path) -> int:
    try:
        return int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return 0


async def stop_marked_orphans(marker: str, patience_s: float = 10.0) -> list[int]:
    """Stop what an earlier supervisor of the same stack left; gives the numbers of what was found."""
    first = find_marked_orphans(marker)
    deadline = time.monotonic() + patience_s
    while remains := find_marked_orphans(marker):
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid in remains:
            _signal(pid, number)
        await asyncio.sleep(0.1)
    return first
