"""One child process: started in a session of its own, logged to a file, stopped by a deadline.

Decides nothing about when: restarts and order are the supervisor's.
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
_LOGS_KEPT = 3
_TAIL_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class StopStep:
    """One stage of a stop: a signal, and how long to wait after it (seconds)."""

    signal: signal.Signals
    patience_s: float


GENTLE_STOP = (StopStep(signal.SIGTERM, 6.0),)


def rotate_log(log: Path, limit: int = _LOG_LIMIT) -> None:
    """Move a log aside when it has grown past `limit` bytes; three old ones are kept."""
    if not log.exists() or log.stat().st_size <= limit:
        return
    for number in range(_LOGS_KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))


def read_log_tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log; empty when there is none."""
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
        log: Path,
        folder: Path | None = None,
    ) -> "ChildProcess":
        """Start `arguments` with exactly `environment`; both outputs are appended to `log`.

        The session of its own keeps a terminal's Ctrl-C away from it: the supervisor alone decides the
        order in which things stop.
        """
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
            )
        finally:
            os.close(descriptor)
        return cls(process)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end; gives the exit status."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self, steps: Sequence[StopStep] = GENTLE_STOP) -> int:
        """Go through `steps` until the process has ended, then end what is left of its group by force."""
        if self._process.returncode is not None:
            return self._process.returncode
        for step in steps:
            self.send(step.signal)
            # A stopped process (SIGSTOP) would not see the signal before it goes on.
            self.send(signal.SIGCONT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(step.patience_s):
                    await self._process.wait()
            if self._process.returncode is not None:
                break
        self.kill()
        return await self._process.wait()

    def kill(self) -> None:
        """End the process and all of its group at once; to be called at the latest right after its end."""
        # The group outlives its leader as long as it has a member, so its number is not a stranger's yet.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
