"""Delays requests of tenants that use more than their share until no other tenant's request runs.

The share is of requests and of CPU time.

One process serves all tenants on one core: a tenant at its limits would delay everyone. Its requests run one
at a time, and begin when no request of normal priority is running. Tenants of low priority alternate, so that
a slow request of one does not delay another. Clients of one integrator count as one tenant; but a client that
is slow to send delays only its organisation.

`CpuUsage` measures the CPU time of recent requests, as rate limits ignore their cost: one tenant could fill
the process within them. Only time in which the process did nothing else counts, not waiting for the database
or in queues. It decides priority and nothing else.

`SteppedCoroutine` runs a request step by step, from one await to the next, measures each step, and can pause
between steps, so that other requests go first.

Pure: no database and no HTTP; the clock of `CpuUsage` is an argument.
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

# Longest wait while others run. Once it has begun, it is the only low-priority request for as long.
_PATIENCE_S: Final = 0.1
PAUSES_S: Final = 0.05
"""Total of pauses between steps, in seconds: the request may hold locks that others wait for."""


class LowPriorityQueue:
    """Queues the low-priority requests of a process behind the others.

    Args:
        waiting: Maximum queued requests of one organisation, and of one tenant.
    """

    def __init__(self, waiting: int) -> None:
        self._organisations = FairSemaphore(1, waiting)
        self._tenants = FairSemaphore(1, waiting)
        # First in, first out. As no tenant is in this queue twice, tenants alternate.
        self._permit = asyncio.Semaphore(1)
        self._normal_running = 0
        self._idle = asyncio.Event()

    def begin(self) -> None:
        """Record that a request of normal priority started; call `end` after it."""
        self._normal_running += 1
        self._idle.clear()

    def end(self) -> None:
        """Record that a request of normal priority ended."""
        self._normal_running -= 1
        if not self._normal_running:
            self._idle.set()

    def make_pause(self) -> Callable[[], Awaitable[None]]:
        """Return what a low-priority request awaits between steps: that no other request runs."""
        clock = asyncio.get_running_loop().time
        left_s = PAUSES_S

        async def wait() -> None:
            nonlocal left_s
            if not self._normal_running or left_s <= 0:
                return
            began = clock()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    while self._normal_running:
                        await self._idle.wait()
            left_s -= clock() - began

        return wait

    async def acquire_organisation(self, organisation: Hashable) -> Callable[[], None] | None:
        """Wait for the permit among the low-priority requests of one organisation; returns as `acquire` does.

        Its holder may wait for a slow client, or for its organisation; it calls `acquire` after that.
        """
        if not await self._organisations.acquire(organisation):
            return None
        return partial(self._organisations.release, organisation)

    async def acquire(self, tenant: Hashable) -> Callable[[], None] | None:
        """Wait for the permit of a low-priority request.

        Returns:
            A function that releases it; None immediately where too many requests of the tenant are queued.
        """
        if not await self._tenants.acquire(tenant):
            return None
        with ExitStack() as held:
            held.callback(self._tenants.release, tenant)
            await self._permit.acquire()
            permit = held.enter_context(ExitStack())
            permit.callback(self._permit.release)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    # Others may have begun before this task runs.
                    while self._normal_running:
                        await self._idle.wait()
            # From here on it may wait for its integrator's other requests, or for the database.
            timer = asyncio.get_running_loop().call_later(_PATIENCE_S, permit.close)
            held.callback(timer.cancel)
            return held.pop_all().close


# Shares of the process in the long run. An integrator with all its clients may use more than one
# organisation.
_ORGANISATION: Final = 1 / 3
_INTEGRATOR: Final = 1 / 2
# Excess that has no effect, and the most that is remembered.
_ALLOWED_S: Final = 0.5
_REMEMBERED_S: Final = 2.0


class CpuUsage:
    """Tracks the CPU time of each subject above a share, as the one time at which the excess is forgotten.

    Args:
        share: the part of the process that each subject may use without consequence.
        most: maximum subjects; the least recently used one is evicted.
    """

    def __init__(self, share: float, *, most: int = MOST_SUBJECTS) -> None:
        self._share = share
        self._most = most
        # In order of use.
        self._over_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._over_at)

    def add(self, subject: Hashable, seconds: float, now: float) -> None:
        """Record CPU time that the process spent on a subject's requests."""
        over_at = max(self._over_at.get(subject, now), now) + seconds / self._share
        self._over_at[subject] = min(over_at, now + _REMEMBERED_S / self._share)
        self._over_at.move_to_end(subject)
        if len(self._over_at) > self._most:
            self._over_at.popitem(last=False)

    def is_much(self, subject: Hashable, now: float) -> bool:
        """Return whether a subject used more than its share recently."""
        return (self._over_at.get(subject, now) - now) * self._share > _ALLOWED_S


class CpuShares:
    """The CPU time of a process by organisation and by integrator."""

    def __init__(self) -> None:
        self._organisations = CpuUsage(_ORGANISATION)
        self._integrators = CpuUsage(_INTEGRATOR)

    def add(self, group: PrincipalGroup, seconds: float, now: float) -> None:
        """Record CPU time that the process spent on a request of a group."""
        self._organisations.add(group.organisation, seconds, now)
        self._integrators.add(group.tree, seconds, now)

    def is_much(self, group: PrincipalGroup, now: float) -> bool:
        """Return whether a group's requests use much of the process."""
        return self._organisations.is_much(group.organisation, now) or self._integrators.is_much(
            group.tree, now
        )


class SteppedCoroutine[Result]:
    """A coroutine whose steps are timed, with a pause before each step but the first.

    It runs in the task that awaits it, and receives the task's exceptions, such as a cancellation, also in a
    pause.

    Args:
        work: The coroutine.
        pause: Called whenever the awaited result is available; returns an awaitable, or None for no pause.
        spent: Called with the duration of each step, in CPU time of the thread, as the machine has other
            work.
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
        """Run the coroutine to its end.

        Returns:
            Its result.
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
