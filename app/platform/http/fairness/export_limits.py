"""How much of a process exports may take: one of each kind of an organisation's at a time, and in pieces.

An answer that has begun holds no turn of its caller's any more, and a file can be long. So the pieces of one
file have turns of their own, and rests in between: those of an integrator and its clients come one after the
other, and a client that reads slowly holds up nobody's.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from uuid import UUID

from app.platform.http.fairness.fair_semaphore import FairSemaphore
from app.platform.kernel.errors import TooManyRequestsError

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
