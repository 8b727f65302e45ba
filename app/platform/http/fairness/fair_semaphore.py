"""How many requests of one subject are worked on at once: others wait their turn, too many are refused.

It is this that keeps one client from slowing another: a rate says nothing of how long each request takes.

How much of a process exports may take: one of each kind of an organisation's at a time, and in pieces.

An answer that has begun holds no turn of its caller's any more, and a file can be long. So the pieces of one
file have turns of their own, and rests in between: those of an integrator and its clients come one after the
other, and a client that reads slowly holds up nobody's.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from app.platform.kernel.errors import TooManyRequestsError


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


# After a piece nothing is read for so many times as long as it took.
_REST: Final = 2.0
_LONGEST_REST_S: Final = 1.0
# Of everybody's: each holds a connection to the database while it is read.
_TOGETHER: Final = 3
# As many as there are organisations that export: nobody is refused in the middle of a file.
_WAITING: Final = 1_000_000
_COME_BACK_S: Final = 10


class ExportLimits:
    """The exports of one process."""

    def __init__(self) -> None:
        self._exporting: set[tuple[UUID, str]] = set()
        self._pieces = FairSemaphore(1, _WAITING, together=_TOGETHER)

    @contextmanager
    def place(self, organisation: UUID, what: str = "a log") -> Iterator[None]:
        """The place of an organisation's one export, for the length of a block.

        Args:
            organisation: whose.
            what: what is exported; one export of each is taken.

        Raises:
            TooManyRequestsError: `too_many_exports`.
        """
        place = (organisation, what)
        if place in self._exporting:
            raise TooManyRequestsError(
                f"Your organisation is exporting {what} already: read that one to its end.",
                code="too_many_exports",
                retry_after_s=_COME_BACK_S,
            )
        self._exporting.add(place)
        try:
            yield
        finally:
            self._exporting.discard(place)

    @asynccontextmanager
    async def piece(self, tree: UUID, *, rest: float | None = None) -> AsyncIterator[None]:
        """The turn in which a piece is read. The next one of the same integrator comes after a rest.

        Args:
            tree: the integrator of the caller, or its organisation.
            rest: how many times as long as the piece took; None: as of what this process makes itself.
        """
        await self._pieces.enter(tree)
        began = time.monotonic()
        try:
            yield
        finally:
            # The piece itself is sent meanwhile.
            times = _REST if rest is None else rest
            rest_s = min(times * (time.monotonic() - began), _LONGEST_REST_S)
            asyncio.get_running_loop().call_later(rest_s, self._pieces.leave, tree)
