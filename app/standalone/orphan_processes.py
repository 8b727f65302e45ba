"""Finds and stops processes that an earlier run left behind.

A process belongs to the stack if its environment has our marker, or if it is a `postgres` whose working
directory is our cluster. Process ids in files are not trusted, since another process may have the number now.
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
    """Return the processes of the cluster in `data`: all of them work in that folder."""
    found = []
    expected = os.path.realpath(data)
    for entry in _processes():
        with contextlib.suppress(OSError):
            if str((entry / "cwd").readlink()) == expected and (entry / "comm").read_text().startswith(
                "postgres"
            ):
                found.append(int(entry.name))
    return found


def find_marked_orphans(marker: str) -> list[int]:
    """Return the processes that were started with `marker` as VIGIE_STACK."""
    expected = f"{MARKER}={marker}".encode()
    found = []
    for entry in _processes():
        with contextlib.suppress(OSError):
            if expected in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        # A suspended process (SIGSTOP) handles the signal only after it continues.
        os.kill(pid, signal.SIGCONT)


async def stop_postgres_orphans(data: Path, timeout_s: float = 10.0) -> None:
    """Stop a cluster that still runs in `data`, then remove its stale `postmaster.pid`.

    The file is removed only when no process of the cluster is left: it keeps a second server from the same
    files.
    """
    deadline = time.monotonic() + timeout_s
    pid_file = data / "postmaster.pid"
    while remains := find_postgres_orphans(data):
        left = deadline - time.monotonic()
        # First a fast shutdown (rolls back, writes everything), then an immediate one, then SIGKILL.
        number = signal.SIGINT if left > timeout_s / 2 else signal.SIGQUIT if left > 0 else signal.SIGKILL
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


async def stop_marked_orphans(marker: str, timeout_s: float = 10.0) -> list[int]:
    """Stop the processes of an earlier supervisor of the same stack; returns their ids."""
    first = find_marked_orphans(marker)
    deadline = time.monotonic() + timeout_s
    while remains := find_marked_orphans(marker):
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid in remains:
            _signal(pid, number)
        await asyncio.sleep(0.1)
    return first
