"""Keeps one child process running: restarts it after it ends, with back-off."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from app.standalone.child_process import ChildProcess

FIRST_PAUSE_S = 0.5
# Short enough that a stack is ready within 30 s after a full disk has space again.
LONGEST_PAUSE_S = 5.0
STABLE_S = 60.0


@dataclass(slots=True)
class BackOff:
    """Pauses that double with each crash, and start again after a stable time."""

    first_s: float = FIRST_PAUSE_S
    longest_s: float = LONGEST_PAUSE_S
    stable_s: float = STABLE_S
    _next_s: float = field(default=0.0, init=False)

    def pause(self, lived_s: float) -> float:
        """Return the pause (s) after a child that lived for `lived_s` seconds."""
        if self._next_s == 0.0 or lived_s >= self.stable_s:
            self._next_s = self.first_s
        pause = self._next_s
        self._next_s = min(self._next_s * 2, self.longest_s)
        return pause


type ChildStarter = Callable[[], Awaitable[ChildProcess]]
type MessageSink = Callable[[str], None]


class ProcessKeeper:
    """Runs and restarts one child process.

    Args:
        name: its name in messages and in `run.json`.
        start: starts the child and returns once it runs.
        notify: called with one line for each crash and each restart.
        on_change: called after each start and each end with the process id.
    """

    def __init__(
        self, name: str, start: ChildStarter, notify: MessageSink, on_change: Callable[[int], None]
    ) -> None:
        self.name = name
        self.child: ChildProcess | None = None
        self.crashes = 0
        self._start = start
        self._notify = notify
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The running child's process id; None between a crash and the restart."""
        return self.child.pid if self.child is not None and self.child.returncode is None else None

    async def begin(self) -> None:
        """Start the child, and restart it from then on.

        Raises:
            StandaloneError: the first start failed.
        """
        self.child = await self._start()
        self._on_change(self.child.pid)
        self._task = asyncio.create_task(self._keep(self.child), name=f"keep-{self.name}")

    async def release(self) -> None:
        """Stop restarting; the child itself continues."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep(self, child: ChildProcess) -> None:
        back_off = BackOff()
        while True:
            status = await child.wait()
            child.kill()  # its own children
            self.crashes += 1
            pause = back_off.pause(time.monotonic() - child.started)
            self._on_change(child.pid)
            self._notify(f"{self.name} ended ({status}); it is restarted in {pause:g} s")
            child = await self._restart(back_off, pause)
            self._on_change(child.pid)
            self._notify(f"{self.name} runs again (process {child.pid})")

    async def _restart(self, back_off: BackOff, pause: float) -> ChildProcess:
        failure = ""
        while True:
            await asyncio.sleep(pause)
            try:
                self.child = await self._start()
            except Exception as error:  # noqa: BLE001  # any error: only this task restarts the child
                pause = back_off.pause(0.0)
                reason = str(error) or type(error).__name__
                if reason != failure:
                    failure = reason
                    self._notify(f"{self.name} does not start; retrying about every {pause:g} s: {reason}")
            else:
                return self.child
