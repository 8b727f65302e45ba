"""Who has used up much of what it may ask at once goes behind everybody else.

One process answers everybody, on one core: whoever asks as much as its limits let through would lengthen
everybody's answers. So its requests run one at a time, and begin when no other tenant's is being worked on.
Those who go behind take turns, and a slow request of one does not keep the others waiting. Clients of one
integrator take turns as one tenant; but one that is slow to send keeps its own organisation waiting alone.

Who takes much of the process: for how long it worked on somebody's requests in the last seconds.

The rates count requests, whatever each costs: within them one tenant can fill the process. What it takes is
counted here, and decides about nothing but who goes behind whom. It is the time in which the process did
nothing else: who waits for the database, or behind others, is not charged for that.

Pure: the clock is an argument.

Work that is driven step by step: each step is timed, and the next one begins when it is let.

A coroutine runs from one thing that it waits for to the next, and nobody can interrupt it there. In between
it can stand aside, so that what others wait for comes first.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Hashable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final

from app.platform.http.fairness.fair_semaphore import FairSemaphore
from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.http.fairness.token_buckets import MOST_SUBJECTS

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


# Of the process, in the long run; an integrator with all its clients may have more than one of them.
_ORGANISATION: Final = 1 / 3
_INTEGRATOR: Final = 1 / 2
# Beyond its share: so much at once is not much yet, and of no more is it reminded later.
_ALLOWED_S: Final = 0.5
_REMEMBERED_S: Final = 2.0


class CpuUsage:
    """What each subject took beyond a share of the process, as the one time at which that is forgotten.

    Args:
        share: the part of the process that is nobody's matter.
        most: subjects that are kept; whoever was away longest is forgotten first.
    """

    def __init__(self, share: float, *, most: int = MOST_SUBJECTS) -> None:
        self._share = share
        self._most = most
        # Used last stands last.
        self._over_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._over_at)

    def add(self, subject: Hashable, seconds: float, now: float) -> None:
        """The process worked on this subject's requests for so long."""
        over_at = max(self._over_at.get(subject, now), now) + seconds / self._share
        self._over_at[subject] = min(over_at, now + _REMEMBERED_S / self._share)
        self._over_at.move_to_end(subject)
        if len(self._over_at) > self._most:
            self._over_at.popitem(last=False)

    def is_much(self, subject: Hashable, now: float) -> bool:
        """Whether it took more than its share lately."""
        return (self._over_at.get(subject, now) - now) * self._share > _ALLOWED_S


class CpuShares:
    """The work of a process, by organisation and by integrator."""

    def __init__(self) -> None:
        self._organisations = CpuUsage(_ORGANISATION)
        self._integrators = CpuUsage(_INTEGRATOR)

    def add(self, account: PrincipalGroup, seconds: float, now: float) -> None:
        """The process worked on a request of theirs for so long."""
        self._organisations.add(account.organisation, seconds, now)
        self._integrators.add(account.tree, seconds, now)

    def is_much(self, account: PrincipalGroup, now: float) -> bool:
        """Whether their requests take much of the process."""
        return self._organisations.is_much(account.organisation, now) or self._integrators.is_much(
            account.tree, now
        )


class SteppedCoroutine[Result]:
    """A coroutine of which each step is timed, with a pause before each but the first.

    It runs in the task that awaits it: what the task is told (to end, above all) it is told as well, in a
    pause too.

    Args:
        work: The coroutine.
        pause: Called whenever what it waited for has come; it goes on when that is over, or at once (None).
        spent: Told how long each step took: of the thread's time, as the machine has other work too.
    """

    def __init__(
        self,
        work: Awaitable[Result],
        *,
        pause: Callable[[], Awaitable[None] | None],
        spent: Callable[[float], None],
    ) -> None:
        self._steps = work.__await__()
        self._pause = pause
        self._spent = spent

    def __await__(self) -> Generator[Any, Any, Result]:
        """Drive it to its end.

        Returns:
            What it returns.
        """
        step: Callable[[], Any] = partial(next, self._steps)
        while True:
            began = time.thread_time()
            try:
                awaited = step()
            except StopIteration as end:
                result: Result = end.value
                return result
            finally:
                self._spent(time.thread_time() - began)
            try:
                value = yield awaited
                if (pause := self._pause()) is not None:
                    yield from pause.__await__()
            except GeneratorExit:
                self._steps.close()
                raise
            except BaseException as error:  # noqa: BLE001 (it is the work's to handle)
                step = partial(self._steps.throw, error)
            else:
                step = partial(self._steps.send, value)
