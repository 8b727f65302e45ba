"""Starts, logs and stops one child process.

A child runs in its own session, so that a terminal's Ctrl-C does not reach it. The supervisor decides when to
start, stop and restart it.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LOG_LIMIT = 10 * 2**20
_RETAINED_LOGS = 3
_TAIL_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class StopStep:
    """One step of a stop: a signal, and the seconds to wait after it."""

    signal: signal.Signals
    timeout_s: float


GENTLE_STOP = (StopStep(signal.SIGTERM, 6.0),)


def rotate_log(log: Path, limit: int = _LOG_LIMIT) -> None:
    """Rotate a log of more than `limit` bytes; three old files are retained."""
    if not log.exists() or log.stat().st_size <= limit:
        return
    for number in range(_RETAINED_LOGS - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))


def read_log_tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log; empty if there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


class ChildProcess:
    """A running child process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.started = time.monotonic()

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path | None,
        folder: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> "ChildProcess":
        """Start a child process.

        The supervisor alone decides the order in which processes stop, so the child gets its own session:
        Ctrl-C in a terminal does not reach it.

        Args:
            arguments: the command line.
            environment: the complete environment.
            log: the file to which standard output and standard error are appended; None: those of this
                process.
            folder: the working directory.
            pass_fds: file descriptors that it inherits.
        """
        descriptor = None
        if log is not None:
            rotate_log(log)
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                env=dict(environment),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return cls(process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end; returns the exit status."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; does nothing if the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self, steps: Sequence[StopStep] = GENTLE_STOP) -> int:
        """Apply `steps` until the process has ended, then kill the rest of its process group."""
        if self._process.returncode is not None:
            return self._process.returncode
        for step in steps:
            self.send(step.signal)
            # A suspended process (SIGSTOP) handles the signal only after it continues.
            self.send(signal.SIGCONT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(step.timeout_s):
                    await self._process.wait()
            if self._process.returncode is not None:
                break
        self.kill()
        return await self._process.wait()

    def kill(self) -> None:
        """Kill the process and its group; to be called at the latest immediately after its end."""
        # The group id is not reused while the group has a member, even after its leader has ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
