"""Reads CPU seconds and memory of processes from the operating system."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_KIB: Final = 1024
_RESET_PEAK: Final = "5"  # of Linux's clear_refs
_CONNECTED_WITHIN_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.002


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its descendants, ended ones included."""
    try:
        root = psutil.Process(pid)
        times = root.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in root.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:  # ended meanwhile: its parent has its time
                continue
            total += times.user + times.system
    except psutil.NoSuchProcess:
        return 0.0
    return total


@dataclass(frozen=True, slots=True)
class CpuReading:
    """The monotonic clock and the CPU seconds of each process, at one instant."""

    at: float
    cpu: Mapping[str, float]

    @classmethod
    def now(cls, pids: Mapping[str, int]) -> "CpuReading":
        """Read the clock, then the processes."""
        return cls(time.monotonic(), {name: cpu_seconds(pid) for name, pid in pids.items()})

    def since(self, earlier: "CpuReading") -> dict[str, float]:
        """CPU seconds of each process since an earlier reading."""
        return {name: self.cpu[name] - earlier.cpu[name] for name in self.cpu}


def peak_rss(pid: int) -> int:
    """Return the peak memory of a process since its start or `reset_peak` (bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * _KIB
    return 0


def reset_peak(pid: int) -> None:
    """Forget a process's peak; where that is not allowed its peak is that of its whole life."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return


def rss(pid: int) -> int:
    """Return the present memory of a process (bytes); 0 once it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


async def connected(pid: int, port: int) -> bool:
    """Wait until a process has a connection to this port; False when it ended before, or took too long."""
    deadline = time.monotonic() + _CONNECTED_WITHIN_S
    process = psutil.Process(pid)
    while time.monotonic() < deadline:
        try:
            found = process.net_connections("tcp4")
        except psutil.NoSuchProcess:
            return False
        if any(connection.raddr[1:] == (port,) for connection in found):
            return True
        await asyncio.sleep(_LOOK_EVERY_S)
    return False


def describe_machine() -> str:
    """Describe the machine in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores ({model}), {memory:.0f} GiB of memory"
