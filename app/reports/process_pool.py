"""The child processes that make reports: how many at once, for how long, and what becomes of one that fails.

Owns their lives, which end when their client hangs up. What they may take of memory and of the processor they
limit themselves (`child`). Must not import what they render with: it would be in the API process's memory for
good.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.platform.http.fairness.fair_semaphore import FairSemaphore
from app.platform.kernel.errors import TooManyRequestsError, UnavailableError
from app.platform.observability.metrics_and_logs import get_logger
from app.reports.report_input import ReportFormat

REPORT_TIMEOUT_S: Final = 50.0
"""A report that is not made by then is given up, the wait for a place included: below `api.deadline_s`."""
SLOT_TIMEOUT_S: Final = 20.0
"""Whoever has no place by then is sent away: what is left is enough for the largest reports."""

_CHILD: Final = "app.reports.report_process"
# Each takes a core while it works, and 100 to 500 MB. What is ready in a second has a place of its own: it
# does not wait for layout.
_TOGETHER: Final[Mapping[ReportFormat, int]] = {"html": 1, "pdf": 2}
_WAITING: Final = 3
_COME_BACK_S: Final = 10
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
_TOLD: Final = 2_000
_log = get_logger(__name__)


class ReportProcessPool:
    """The child processes of one process: one of each form for an integrator with its clients, few in all.

    Places go around: the next one is that of the integrator that has not had one for longest.

    Args:
        within_s: the longest that a report may take, the wait for a place included (s).
        place_within_s: the longest that a place is waited for (s).
    """

    def __init__(self, *, within_s: float = REPORT_TIMEOUT_S, place_within_s: float = SLOT_TIMEOUT_S) -> None:
        self._turns = {form: FairSemaphore(1, _WAITING, total=count) for form, count in _TOGETHER.items()}
        self._within_s = within_s
        self._place_within_s = place_within_s

    @property
    def lines(self) -> int:
        """How many integrators have a place or wait for one, counted for each form."""
        return sum(len(turns) for turns in self._turns.values())

    @asynccontextmanager
    async def place(self, tree: UUID, form: ReportFormat, receive: Receive) -> AsyncIterator[None]:
        """A turn, for the length of a block: it is waited for before anything is read.

        The block is cancelled when its time is over, and when the client hangs up; so is the wait.

        Args:
            tree: the integrator of the caller, or its organisation.
            form: what is to be made.
            receive: the request's: a `GET`, of which all that comes is its end.

        Raises:
            TooManyRequestsError: `too_many_reports`: too many wait already, or no place came free in time.
            UnavailableError: `report_not_made`: the time was over.
            ClientDisconnect: the client hung up.
        """
        turns = self._turns[form]
        async with _while_there(receive, self._within_s):
            await self._enter(turns, tree)
            try:
                yield
            finally:
                turns.release(tree)

    async def _enter(self, turns: FairSemaphore, tree: UUID) -> None:
        entered = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._place_within_s):
                entered = await turns.acquire(tree)
        if not entered:
            raise TooManyRequestsError(
                "Your organisation (or its integrator) waits for several reports already, or those of others "
                "took all places for too long: ask again later.",
                code="too_many_reports",
                retry_after_s=_COME_BACK_S,
            )

    async def printed(self, material: bytes) -> bytes:
        """Have a report made of packed material (UnavailableError `report_not_made`)."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _CHILD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # It needs none of the settings, and no secrets.
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        try:
            made, told = await process.communicate(material)
        finally:
            # It has ended, or what waits for it was given up.
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.returncode != 0 or not made:
            raise _not_made(process.returncode, told[-_TOLD:].decode(errors="replace"))
        return made


@asynccontextmanager
async def _while_there(receive: Receive, seconds: float) -> AsyncIterator[None]:
    """Cancel a block when its time is over (`report_not_made`), or its client hung up (ClientDisconnect).

    The block stays in its task, whose steps are counted (`app.platform.http.middleware`); another one
    listens.
    """
    limit, gone = asyncio.timeout(seconds), False

    async def listen() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        if not limit.expired():
            gone = True
            limit.reschedule(0)

    try:
        async with limit:
            listening = asyncio.create_task(listen())
            try:
                yield
            finally:
                listening.cancel()
                await asyncio.wait({listening})
    except TimeoutError:
        if gone:
            raise ClientDisconnect from None
        if not limit.expired():
            raise
        raise _not_made(None, "not within its time") from None


def _not_made(status: int | None, told: str) -> UnavailableError:
    _log.error("report_not_made", status=status, told=told)
    return UnavailableError(
        "The report could not be made within its bounds of time and memory. Ask for fewer boxes with "
        "`box`, or for HTML.",
        code="report_not_made",
    )
