"""How many requests of one subject are worked on at once: others wait their turn, too many are refused.

It is this that keeps one client from slowing another: a rate says nothing of how long each request takes.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Line:
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Turns:
    """Lets `running` requests of each subject run, and `waiting` more wait, first come, first served."""

    def __init__(self, running: int, waiting: int) -> None:
        self._running = running
        self._waiting = waiting
        # As many as there are requests under way, at most: who has none has no line.
        self._lines: dict[Hashable, _Line] = {}

    def __len__(self) -> int:
        return len(self._lines)

    async def enter(self, subject: Hashable) -> bool:
        """Wait for a turn. False at once where too many wait already; after True comes `leave`."""
        line = self._lines.setdefault(subject, _Line())
        if line.running < self._running:
            line.running += 1
            return True
        if len(line.waiting) >= self._waiting:
            return False
        turn = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):
                    line.waiting.remove(turn)
            else:
                # The turn came as it was given up.
                self.leave(subject)
            raise
        return True

    def leave(self, subject: Hashable) -> None:
        """Give one's turn to whoever waits longest."""
        line = self._lines[subject]
        while line.waiting:
            turn = line.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        line.running -= 1
        if not line.running:
            del self._lines[subject]
