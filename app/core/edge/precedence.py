"""Who has used up much of what it may ask at once goes behind everybody else.

One process answers everybody, on one core: whoever asks as much as its limits let through would lengthen
everybody's answers. So its requests run one at a time, and begin when no other tenant's is being worked on.
"""

import asyncio
from collections.abc import Hashable
from contextlib import suppress
from typing import Final

from app.core.edge.turns import Turns

# Where others are always at work it has its turn all the same.
_PATIENCE_S: Final = 0.1


class Precedence:
    """Which requests of a process are ahead of which.

    Args:
        waiting: How many of one tenant may wait behind the others.
    """

    def __init__(self, waiting: int) -> None:
        self._behind = Turns(1, waiting, together=1)
        self._ahead = 0
        self._clear = asyncio.Event()

    def begin(self) -> None:
        """A request that yields to nobody is worked on; after it comes `end`."""
        self._ahead += 1
        self._clear.clear()

    def end(self) -> None:
        """It was answered."""
        self._ahead -= 1
        if not self._ahead:
            self._clear.set()

    async def enter(self, tenant: Hashable) -> bool:
        """Wait for the turn of a request that yields. False where too many do; after True comes `leave`."""
        if not await self._behind.enter(tenant):
            return False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    # By the time that this task runs others may have begun.
                    while self._ahead:
                        await self._clear.wait()
        except asyncio.CancelledError:
            self.leave(tenant)
            raise
        return True

    def leave(self, tenant: Hashable) -> None:
        """It was answered."""
        self._behind.leave(tenant)
