"""How many requests of one subject are worked on at once: others wait their turn, too many are refused.

It is this that keeps one client from slowing another: a rate says nothing of how long each request takes.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Line:
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class FairSemaphore:
    """Lets `running` requests of each subject run, and `waiting` more wait, first come, first served.

    Args:
        running: Of each subject at once.
        waiting: Of each subject besides.
        together: Of all subjects at once; None: any number. Where they have to wait for each other, the next
            place is that of the subject that has not had one for longest, however many wait of another.
    """

    def __init__(self, running: int, waiting: int, *, together: int | None = None) -> None:
        self._running = running
        self._waiting = waiting
        self._together = together
        self._busy = 0
        # As many as there are requests under way, at most: who has none has no line.
        self._lines: dict[Hashable, _Line] = {}
        # Those that wait for nothing but a place among all; the next one stands first.
        self._due: OrderedDict[Hashable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lines)

    async def enter(self, subject: Hashable) -> bool:
        """Wait for a turn. False at once where too many wait already; after True comes `leave`."""
        line = self._lines.setdefault(subject, _Line())
        # Nobody passes those who wait: where there is a place, none of this subject does.
        if line.running < self._running and self._has_place():
            self._begin(line)
            return True
        if len(line.waiting) >= self._waiting:
            self._forget_idle(subject, line)
            return False
        turn = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        self._queue(subject, line)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):
                    line.waiting.remove(turn)
                self._forget_idle(subject, line)
            else:
                # The turn came as it was given up.
                self.leave(subject)
            raise
        return True

    def leave(self, subject: Hashable) -> None:
        """Give one's turn back: to whoever's is next."""
        line = self._lines[subject]
        line.running -= 1
        self._busy -= 1
        self._queue(subject, line)
        while self._due and self._has_place():
            self._serve(next(iter(self._due)))
        self._forget_idle(subject, line)

    def _serve(self, subject: Hashable) -> None:
        del self._due[subject]
        line = self._lines.get(subject, _Line())
        while line.waiting:
            turn = line.waiting.popleft()
            if not turn.done():
                self._begin(line)
                turn.set_result(None)
                break
        self._queue(subject, line)

    def _has_place(self) -> bool:
        return self._together is None or self._busy < self._together

    def _begin(self, line: _Line) -> None:
        line.running += 1
        self._busy += 1

    def _queue(self, subject: Hashable, line: _Line) -> None:
        """Have a subject stand in line for a place, behind all others, if it may take one."""
        if line.waiting and line.running < self._running:
            self._due.setdefault(subject)

    def _forget_idle(self, subject: Hashable, line: _Line) -> None:
        # Whoever gives up may hold one that was forgotten since, in whose place there is another by now.
        if not line.running and not line.waiting and self._lines.get(subject) is line:
            del self._lines[subject]
            self._due.pop(subject, None)
