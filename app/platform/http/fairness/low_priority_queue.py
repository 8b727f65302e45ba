"""Who has used up much of what it may ask at once goes behind everybody else.

One process answers everybody, on one core: whoever asks as much as its limits let through would lengthen
everybody's answers. So its requests run one at a time, and begin when no other tenant's is being worked on.
Those who go behind take turns, and a slow request of one does not keep the others waiting. Clients of one
integrator take turns as one tenant; but one that is slow to send keeps its own organisation waiting alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final

from app.platform.http.fairness.fair_semaphore import FairSemaphore

# Where others are always at work it has its turn all the same. Once it has begun, it is alone for as long.
_PATIENCE_S: Final = 0.1
# It stands aside between its steps too, but not for longer in all: it may hold locks that others wait for.
_ASIDE_S: Final = 0.05


class LowPriorityQueue:
    """Which requests of a process are ahead of which.

    Args:
        waiting: How many of one organisation, and of one tenant, may wait behind the others.
    """

    def __init__(self, waiting: int) -> None:
        self._lined_up = FairSemaphore(1, waiting)
        self._behind = FairSemaphore(1, waiting)
        # In the order of asking. As no tenant is in that line twice, they take turns.
        self._place = asyncio.Semaphore(1)
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

    def aside(self) -> Callable[[], Awaitable[None]]:
        """What a request that yields waits for before each of its steps: that nobody else is worked on."""
        clock = asyncio.get_running_loop().time
        left_s = _ASIDE_S

        async def wait() -> None:
            nonlocal left_s
            if not self._ahead or left_s <= 0:
                return
            began = clock()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    while self._ahead:
                        await self._clear.wait()
            left_s -= clock() - began

        return wait

    async def line_up(self, organisation: Hashable) -> Callable[[], None] | None:
        """Wait for the turn among the requests of one organisation that yield. The same as `enter` returns.

        Whoever has it may wait for a slow client, or for its organisation: `enter` comes after that.
        """
        if not await self._lined_up.enter(organisation):
            return None
        return partial(self._lined_up.leave, organisation)

    async def enter(self, tenant: Hashable) -> Callable[[], None] | None:
        """Wait for the turn of a request that yields.

        Returns:
            What ends it; None at once where too many of the tenant wait already.
        """
        if not await self._behind.enter(tenant):
            return None
        with ExitStack() as held:
            held.callback(self._behind.leave, tenant)
            await self._place.acquire()
            place = held.enter_context(ExitStack())
            place.callback(self._place.release)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    # By the time that this task runs others may have begun.
                    while self._ahead:
                        await self._clear.wait()
            # It may wait for its integrator's other requests from here on, or for the database.
            timer = asyncio.get_running_loop().call_later(_PATIENCE_S, place.close)
            held.callback(timer.cancel)
            return held.pop_all().close
