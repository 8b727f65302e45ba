"""Runs the child processes that render reports, with limits on their number and duration.

A child is killed when its client disconnects or its time is over. It limits its own memory and CPU time
(`report_process`). Must not import the rendering libraries: they would stay in the memory of the API process.
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
"""Timeout of a report (s), including the wait for a slot. It must be below `api.deadline_s`."""
SLOT_TIMEOUT_S: Final = 20.0
"""Timeout of the wait for a slot (s). The rest of `REPORT_TIMEOUT_S` is enough for the largest reports."""

_CHILD: Final = "app.reports.report_process"
# A child takes one core, and 100 to 500 MB. HTML takes a second and has its own slot, so that it need not
# wait for the layout of PDFs.
_SLOTS: Final[Mapping[ReportFormat, int]] = {"html": 1, "pdf": 2, "csv": 1}
_QUEUE_LIMIT: Final = 3
_RETRY_AFTER_S: Final = 10
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
_LOGGED_CHARS: Final = 2_000
_log = get_logger(__name__)


class ReportProcessPool:
    """The child processes of an API process: per format one for each integrator with its clients, few in all.

    Slots are shared fairly: the next one goes to the integrator that has waited longest since its last one.

    Args:
        timeout_s: the timeout of a report, including the wait for a slot (s).
        slot_timeout_s: the timeout of the wait for a slot (s).
    """

    def __init__(
        self, *, timeout_s: float = REPORT_TIMEOUT_S, slot_timeout_s: float = SLOT_TIMEOUT_S
    ) -> None:
        self._semaphores = {
            form: FairSemaphore(1, _QUEUE_LIMIT, total=count) for form, count in _SLOTS.items()
        }
        self._timeout_s = timeout_s
        self._slot_timeout_s = slot_timeout_s

    @property
    def tenant_count(self) -> int:
        """Number of integrators with a slot or waiting for one, summed over the formats."""
        return sum(len(semaphore) for semaphore in self._semaphores.values())

    @asynccontextmanager
    async def slot(self, tree: UUID, form: ReportFormat, receive: Receive) -> AsyncIterator[None]:
        """Hold a slot for the duration of a block. Enter it before reading any data.

        The block and the wait are cancelled on a timeout, and when the client disconnects.

        Args:
            tree: the integrator of the caller, or its organisation.
            form: the format of the report.
            receive: ASGI `receive` of the request. It is a `GET`, so the only message is the disconnect.

        Raises:
            TooManyRequestsError: `too_many_reports`: the queue is full, or no slot became free in time.
            UnavailableError: `report_not_made`: the timeout expired.
            ClientDisconnect: the client disconnected.
        """
        semaphore = self._semaphores[form]
        async with _cancel_on_disconnect(receive, self._timeout_s):
            await self._enter(semaphore, tree)
            try:
                yield
            finally:
                semaphore.release(tree)

    async def _enter(self, semaphore: FairSemaphore, tree: UUID) -> None:
        entered = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._slot_timeout_s):
                entered = await semaphore.acquire(tree)
        if not entered:
            raise TooManyRequestsError(
                "Your organisation (or its integrator) already waits for several reports, or the server is "
                "busy with other reports. Try again later.",
                code="too_many_reports",
                retry_after_s=_RETRY_AFTER_S,
            )

    async def render(self, report_input: bytes) -> bytes:
        """Render a report in a child process.

        Args:
            report_input: the packed input of the report.

        Raises:
            UnavailableError: `report_not_made`: the child failed.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _CHILD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # The child needs no settings, and must not see secrets.
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        try:
            made, stderr = await process.communicate(report_input)
        finally:
            # It has ended, or this task was cancelled.
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.returncode != 0 or not made:
            raise _fail(process.returncode, stderr[-_LOGGED_CHARS:].decode(errors="replace"))
        return made


@asynccontextmanager
async def _cancel_on_disconnect(receive: Receive, seconds: float) -> AsyncIterator[None]:
    """Cancel a block on a timeout (`report_not_made`), or when the client disconnects (ClientDisconnect).

    The block stays in its own task, because CPU time is accounted per task (`app.platform.http.fairness`).
    A second task listens for the disconnect.
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
        raise _fail(None, "not within its time") from None


def _fail(status: int | None, output: str) -> UnavailableError:
    _log.error("report_not_made", status=status, told=output)
    return UnavailableError(
        "The report could not be generated within its limits of time and memory. Select fewer boxes with "
        "`box`, or request HTML.",
        code="report_not_made",
    )
