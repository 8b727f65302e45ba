"""Keeps one child alive: starts it, waits for its end, starts it again after a growing pause."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from app.standalone.child_process import ChildProcess

FIRST_PAUSE_S = 0.5
# Short enough that a stack whose disk was full is ready again within 30 s of there being room.
LONGEST_PAUSE_S = 5.0
STABLE_S = 60.0


@dataclass(slots=True)
class BackOff:
    """Pauses that double from one crash to the next, and begin again after a time without one."""

    first_s: float = FIRST_PAUSE_S
    longest_s: float = LONGEST_PAUSE_S
    stable_s: float = STABLE_S
    _next_s: float = field(default=0.0, init=False)

    def pause(self, lived_s: float) -> float:
        """How long to wait after a child that lived `lived_s` seconds (both in seconds)."""
        if self._next_s == 0.0 or lived_s >= self.stable_s:
            self._next_s = self.first_s
        pause = self._next_s
        self._next_s = min(self._next_s * 2, self.longest_s)
        return pause


type ChildStarter = Callable[[], Awaitable[ChildProcess]]
type MessageSink = Callable[[str], None]


class ProcessKeeper:
    """One child and its restarts.

    Args:
        name: how it is called in messages and in `run.json`.
        start: starts the child and returns once it runs.
        tell: is given one line for each crash and each restart.
        changed: is called after each start and each end with the number of the process that came or went.
    """

    def __init__(
        self, name: str, start: ChildStarter, tell: MessageSink, changed: Callable[[int], None]
    ) -> None:
        self.name = name
        self.child: ChildProcess | None = None
        self.crashes = 0
        self._start = start
        self._tell = tell
        self._changed = changed
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The running child's number; None between a crash and the restart."""
        return self.child.pid if self.child is not None and self.child.returncode is None else None

    async def begin(self) -> None:
        """Start the child for the first time, and keep it from then on.

        Raises:
            EmbeddedError: the first start failed.
        """
        self.child = await self._start()
        self._changed(self.child.pid)
        self._task = asyncio.create_task(self._keep(self.child), name=f"keep-{self.name}")

    async def let_go(self) -> None:
        """Stop restarting; the child itself goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep(self, child: ChildProcess) -> None:
        back_off = BackOff()
        while True:
            status = await child.wait()
            child.kill()  # whatever it started itself
            self.crashes += 1
            pause = back_off.pause(time.monotonic() - child.started)
            self._changed(child.pid)
            self._tell(f"{self.name} ended ({status}); it is started again in {pause:g} s")
            child = await self._again(back_off, pause)
            self._changed(child.pid)
            self._tell(f"{self.name} runs again (process {child.pid})")

    async def _again(self, back_off: BackOff, pause: float) -> ChildProcess:
        failure = ""
        while True:
            await asyncio.sleep(pause)
            try:
                self.child = await self._start()
            except Exception as error:  # noqa: BLE001  # whatever it is: nobody else starts the child again
                pause = back_off.pause(0.0)
                reason = str(error) or type(error).__name__
                if reason != failure:
                    failure = reason
                    self._tell(f"{self.name} does not start, tried every {pause:g} s or so: {reason}")
            else:
                return self.child
