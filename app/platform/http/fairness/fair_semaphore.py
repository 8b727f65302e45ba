"""Limits concurrent work per subject (a key, a tenant) with a fair queue, and concurrent exports.

Rate limits do not bound how long each request takes; `FairSemaphore` keeps a slow client from delaying
others.

`ExportLimits` allows one export of each kind per organisation. A response that has begun holds no permit of
its caller, and a file can be long. So its slices share a semaphore, with a rest between slices: slices of an
integrator and its clients follow each other, and a slow client delays no other tenant.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from app.platform.kernel.errors import TooManyRequestsError


@dataclass(slots=True)
class _SubjectQueue:
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class FairSemaphore:
    """Lets `running` requests of each subject run and queues `waiting` more, first in, first out.

    Args:
        running: Concurrent requests of each subject.
        waiting: Queued requests of each subject.
        total: Concurrent requests of all subjects; None: no limit. A free permit goes to the subject that has
            waited longest for one, however many requests others have queued.
    """

    def __init__(self, running: int, waiting: int, *, total: int | None = None) -> None:
        self._running = running
        self._waiting = waiting
        self._total = total
        self._busy = 0
        # At most one entry per running request: idle subjects are removed.
        self._subjects: dict[Hashable, _SubjectQueue] = {}
        # Subjects that wait only for the total limit, the next one first.
        self._due: OrderedDict[Hashable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._subjects)

    @property
    def running(self) -> int:
        """The number of requests that hold a permit."""
        return self._busy

    def count_waiting(self) -> int:
        """Count the requests that wait for a permit."""
        return sum(len(queue.waiting) for queue in self._subjects.values())

    async def acquire(self, subject: Hashable) -> bool:
        """Wait for a permit. Return False immediately if the queue is full; after True, call `release`."""
        queue = self._subjects.setdefault(subject, _SubjectQueue())
        # Requests do not overtake: with a free permit, none of this subject waits.
        if queue.running < self._running and self._has_permit():
            self._begin(queue)
            return True
        if len(queue.waiting) >= self._waiting:
            self._forget_idle(subject, queue)
            return False
        permit = asyncio.get_running_loop().create_future()
        queue.waiting.append(permit)
        self._enqueue(subject, queue)
        try:
            await permit
        except asyncio.CancelledError:
            if permit.cancelled():
                with suppress(ValueError):
                    queue.waiting.remove(permit)
                self._forget_idle(subject, queue)
            else:
                # The permit was granted at the moment of the cancellation.
                self.release(subject)
            raise
        return True

    def release(self, subject: Hashable) -> None:
        """Release a permit: the next request in the queue gets it."""
        queue = self._subjects[subject]
        queue.running -= 1
        self._busy -= 1
        self._enqueue(subject, queue)
        while self._due and self._has_permit():
            self._grant(next(iter(self._due)))
        self._forget_idle(subject, queue)

    def _grant(self, subject: Hashable) -> None:
        del self._due[subject]
        queue = self._subjects.get(subject, _SubjectQueue())
        while queue.waiting:
            permit = queue.waiting.popleft()
            if not permit.done():
                self._begin(queue)
                permit.set_result(None)
                break
        self._enqueue(subject, queue)

    def _has_permit(self) -> bool:
        return self._total is None or self._busy < self._total

    def _begin(self, queue: _SubjectQueue) -> None:
        queue.running += 1
        self._busy += 1

    def _enqueue(self, subject: Hashable, queue: _SubjectQueue) -> None:
        """Queue a subject for a permit, behind all others, if it may have one."""
        if queue.waiting and queue.running < self._running:
            self._due.setdefault(subject)

    def _forget_idle(self, subject: Hashable, queue: _SubjectQueue) -> None:
        # After a cancellation this queue may be gone and replaced by a new one.
        if not queue.running and not queue.waiting and self._subjects.get(subject) is queue:
            del self._subjects[subject]
            self._due.pop(subject, None)


# Rest after a slice, as a multiple of its duration.
_REST_FACTOR: Final = 2.0
_LONGEST_REST_S: Final = 1.0
# Concurrent slices of all organisations: each holds a database connection.
_TOTAL_SLICES: Final = 3
# Larger than the number of exporting organisations: no export is refused in the middle of a file.
_WAITING: Final = 1_000_000
_RETRY_AFTER_S: Final = 10


class ExportLimits:
    """Limits the exports of one process."""

    def __init__(self) -> None:
        self._exporting: set[tuple[UUID, str]] = set()
        self._slices = FairSemaphore(1, _WAITING, total=_TOTAL_SLICES)

    @contextmanager
    def reserve_export(self, organisation: UUID, what: str = "a log") -> Iterator[Callable[[], None]]:
        """Reserve an organisation's one export of a kind within a block.

        Args:
            organisation: its id.
            what: the kind of export.

        Yields:
            A function that releases the reservation before the end of the block (`release_at_end`).

        Raises:
            TooManyRequestsError: `too_many_exports`.
        """
        export = (organisation, what)
        if export in self._exporting:
            raise TooManyRequestsError(
                f"Your organisation is already exporting {what}. Wait until that export ends.",
                code="too_many_exports",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._exporting.add(export)
        # Removes it once: after an early release, the entry may be that of another export.
        with ExitStack() as reservation:
            reservation.callback(self._exporting.remove, export)
            yield reservation.close

    @asynccontextmanager
    async def read_slice(self, tree: UUID, *, rest: float | None = None) -> AsyncIterator[None]:
        """Hold the permit for reading a slice within a block. The integrator's next slice waits for a rest.

        Args:
            tree: the integrator of the caller, or its organisation.
            rest: the rest, as a multiple of the slice's duration; None: the default for work in this process.
        """
        await self._slices.acquire(tree)
        began = time.monotonic()
        try:
            yield
        finally:
            # The slice is being sent in the meantime.
            times = _REST_FACTOR if rest is None else rest
            rest_s = min(times * (time.monotonic() - began), _LONGEST_REST_S)
            asyncio.get_running_loop().call_later(rest_s, self._slices.release, tree)


async def release_at_end[T](chunks: AsyncIterator[T], release: Callable[[], None]) -> AsyncIterator[T]:
    """Pass the chunks of a body on, and call `release` before the client sees the end of the body.

    Later, the client's next export would be refused: the block of a reservation ends after the response.
    """
    async for chunk in chunks:
        yield chunk
    release()
