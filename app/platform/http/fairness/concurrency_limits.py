"""Limits concurrent requests per key, organisation and integrator.

Neither an organisation nor an integrator with its clients gets as many permits as there are database
connections; when all are in use, the next permit goes to another tenant. Requests that send samples have
separate limits, so that neither kind waits for the other. They hold no connection while they wait, as they
are committed in groups (`app.ingest.group_committer`): there are as many permits as calls in a group.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Final, Literal

from starlette.types import Message, Receive

from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract.request_head import count_http_refusal
from app.platform.http.fairness.fair_semaphore import FairSemaphore
from app.platform.http.fairness.low_priority_queue import (
    PAUSES_S,
    CpuShares,
    LowPriorityQueue,
    SteppedCoroutine,
)
from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.kernel.errors import TooManyRequestsError
from app.platform.observability.gauge_sampling import HTTP_RUNNING, HTTP_WAITING, sample_gauge

SAMPLES_CONNECTIONS: Final = 4
"""Database connections of a process for storing samples."""

SAMPLE_CALLS: Final = 256
"""Most calls of a process that send samples at the same time: those of one group."""

# A body that arrives with the head, or soon after, is not worth a second wait.
_BODY_PATIENCE_S: Final = 0.1
# CPU time is recorded in steps of this size and at the end, as an event stream has no end.
_RECORD_STEP_S: Final = 0.005

type ConcurrencyLevel = Literal["key", "organisation", "integrator"]


class ConcurrencyLimits:
    """The concurrency limits of a process.

    Args:
        settings: The limits of running and queued requests.
        connections: Database connections for requests without samples.
    """

    def __init__(self, settings: ApiSettings, *, connections: int) -> None:
        self._semaphores: dict[tuple[ConcurrencyLevel, bool], FairSemaphore] = {}
        self.low_priority = (
            LowPriorityQueue(settings.waiting_per_organisation) if settings.running_per_organisation else None
        )
        # Tenants without a rate limit have no limit of CPU time either.
        self.shares = (
            CpuShares() if self.low_priority is not None and settings.organisation_rate_per_s else None
        )
        for samples in (False, True):
            if settings.running_per_key:
                self._semaphores["key", samples] = FairSemaphore(
                    settings.running_per_key, settings.waiting_per_key
                )
            if not settings.running_per_organisation:
                continue
            available = SAMPLE_CALLS if samples else connections
            waiting = settings.waiting_per_organisation
            organisation = _leave_one_connection(settings.running_per_organisation, available)
            integrator = _leave_one_connection(max(settings.running_per_integrator, organisation), available)
            self._semaphores["organisation", samples] = FairSemaphore(organisation, waiting)
            self._semaphores["integrator", samples] = FairSemaphore(integrator, waiting, total=available)
        for (level, samples), semaphore in self._semaphores.items():
            labels = (level, str(samples).lower())
            sample_gauge(HTTP_RUNNING, labels, semaphore, lambda each: each.running)
            sample_gauge(HTTP_WAITING, labels, semaphore, FairSemaphore.count_waiting)

    def of(self, level: ConcurrencyLevel, *, samples: bool) -> FairSemaphore | None:
        """Return one semaphore; None where its limit is off."""
        return self._semaphores.get((level, samples))


class RequestPermits:
    """The permits of one request."""

    def __init__(self, limits: ConcurrencyLimits, *, samples: bool) -> None:
        self._limits = limits
        self._samples = samples
        # Permits of the key and organisation; of low priority, released when the response begins; and shared
        # with all tenants.
        self._own: list[Callable[[], None]] = []
        self._low_priority: list[Callable[[], None]] = []
        self._shared: list[Callable[[], None]] = []
        self._reacquire: Callable[[], Awaitable[None]] | None = None
        self._make_pause: Callable[[], Awaitable[None]] | None = None
        self._group: PrincipalGroup | None = None
        self._cpu_time_s = 0.0

    async def acquire(self, level: ConcurrencyLevel, subject: Hashable) -> None:
        """Wait for the permit of a level.

        Raises:
            TooManyRequestsError: The queue is full.
        """
        semaphore = self._limits.of(level, samples=self._samples)
        if semaphore is None:
            return
        if not await semaphore.acquire(subject):
            raise self._too_many(level)
        (self._shared if level == "integrator" else self._own).append(partial(semaphore.release, subject))

    async def acquire_group(self, group: PrincipalGroup, *, yields: bool) -> None:
        """Wait for the permits of an organisation and its integrator.

        Args:
            group: The organisation and its integrator.
            yields: Whether the request has low priority. It also has if its group uses much of the process.

        Raises:
            TooManyRequestsError: A queue is full.
        """
        low_priority, shares = self._limits.low_priority, self._limits.shares
        self._group = group
        if shares is not None and not self._samples:
            yields = yields or shares.is_much(group, time.monotonic())
        if low_priority is not None and yields:
            # First: a request that waits here must hold no other permit.
            self._low_priority.append(
                self._require(
                    await low_priority.acquire_organisation((group.organisation, self._samples)),
                    "organisation",
                )
            )
            self._make_pause = low_priority.make_pause()
        await self.acquire("organisation", group.organisation)
        self._reacquire = partial(self._share, group, yields=yields)
        await self._reacquire()

    async def _share(self, group: PrincipalGroup, *, yields: bool) -> None:
        low_priority = self._limits.low_priority
        if low_priority is not None and yields:
            self._shared.append(
                self._require(await low_priority.acquire((group.tree, self._samples)), "integrator")
            )
        await self.acquire("integrator", group.tree)
        if low_priority is not None and not yields:
            low_priority.begin()
            self._shared.append(low_priority.end)

    def _require(
        self, release_permit: Callable[[], None] | None, level: ConcurrencyLevel
    ) -> Callable[[], None]:
        if release_permit is None:
            raise self._too_many(level)
        return release_permit

    def while_reading(self, receive: Receive) -> Receive:
        """Wrap `receive` to release shared permits while the client is slow to send its body.

        The request keeps the permits of its key and organisation, which bounds their buffered bodies.
        """
        loop = asyncio.get_running_loop()
        whole = slow = False
        # One patience for the whole body: single bytes must not extend it.
        patience_s = _BODY_PATIENCE_S
        if self._make_pause is not None:
            # A body that has arrived is read after the pause.
            patience_s += PAUSES_S

        def yield_to_others() -> None:
            nonlocal slow
            slow = True
            self._release(self._shared)

        async def receiving() -> Message:
            nonlocal whole, patience_s
            if whole:
                return await receive()
            began = loop.time()
            timer = loop.call_later(patience_s, yield_to_others)
            try:
                message = await receive()
            finally:
                timer.cancel()
            patience_s = max(0.0, patience_s - (loop.time() - began))
            whole = not message.get("more_body", False)
            if whole and slow and self._reacquire is not None:
                await self._reacquire()
            return message

        return receiving

    async def run(self, work: Awaitable[None]) -> None:
        """Process the request; one of low priority pauses for others between its steps."""
        if self._limits.low_priority is None:
            await work
            return
        try:
            await SteppedCoroutine(work, pause=self._pause, spent=self._add_cpu_time)
        finally:
            self._record_cpu_time()

    def _pause(self) -> Awaitable[None] | None:
        return None if self._make_pause is None else self._make_pause()

    def _add_cpu_time(self, seconds: float) -> None:
        self._cpu_time_s += seconds
        if self._cpu_time_s >= _RECORD_STEP_S:
            self._record_cpu_time()

    def _record_cpu_time(self) -> None:
        shares = self._limits.shares
        # Samples have separate limits, as storing them is the service itself.
        if shares is not None and self._group is not None and not self._samples:
            shares.add(self._group, self._cpu_time_s, time.monotonic())
            self._cpu_time_s = 0.0

    def release_shared(self) -> None:
        """Release, for good, the permits that all tenants share; may be called again."""
        self._reacquire = None
        self._release(self._shared)
        self._release(self._low_priority)

    def release(self) -> None:
        """Release all permits; may be called again."""
        self.release_shared()
        self._release(self._own)

    @staticmethod
    def _release(permits: list[Callable[[], None]]) -> None:
        while permits:
            permits.pop()()

    def _too_many(self, level: ConcurrencyLevel) -> TooManyRequestsError:
        error = TooManyRequestsError(
            "Too many concurrent requests. Wait for some responses, then retry.",
            retry_after_s=1,
            code="too_many_requests_at_once",
        )
        count_http_refusal(error, policy=f"{level}_telemetry" if self._samples else level)
        return error


def _leave_one_connection(limit: int, connections: int) -> int:
    return max(1, min(limit, connections - 1))
