"""The child processes that make reports: how many at once, for how long, and what becomes of one that fails.

Owns their lives. What they may take of memory and of the processor they limit themselves (`child`). Must not
import what they render with: it would be in the API process's memory for good.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

from app.core.edge.turns import Turns
from app.core.errors import TooManyRequestsError, UnavailableError
from app.core.observability import get_logger

WITHIN_S: Final = 50.0
"""A report that is not made by then is given up."""

_CHILD: Final = "app.reports.child"
# Each takes a core while it works, and 100 to 500 MB.
_TOGETHER: Final = 2
_WAITING: Final = 3
_COME_BACK_S: Final = 10
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
_TOLD: Final = 2_000
_log = get_logger(__name__)


class Printers:
    """The child processes of one process: one for an integrator with its clients at a time, few in all."""

    def __init__(self, *, within_s: float = WITHIN_S) -> None:
        self._turns = Turns(1, _WAITING, together=_TOGETHER)
        self._within_s = within_s

    @asynccontextmanager
    async def place(self, tree: UUID) -> AsyncIterator[None]:
        """A turn, for the length of a block: it is waited for before anything is read.

        Args:
            tree: the integrator of the caller, or its organisation.

        Raises:
            TooManyRequestsError: `too_many_reports`: too many wait already.
        """
        if not await self._turns.enter(tree):
            raise TooManyRequestsError(
                "Your organisation (or its integrator) waits for several reports already: ask again later.",
                code="too_many_reports",
                retry_after_s=_COME_BACK_S,
            )
        try:
            yield
        finally:
            self._turns.leave(tree)

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
            async with asyncio.timeout(self._within_s):
                made, told = await process.communicate(material)
        except TimeoutError:
            made, told = b"", b"not within its time"
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.returncode != 0 or not made:
            _log.error(
                "report_not_made", status=process.returncode, told=told[-_TOLD:].decode(errors="replace")
            )
            raise UnavailableError(
                "The report could not be made within its bounds of time and memory. Ask for fewer boxes with "
                "`box`, or for HTML.",
                code="report_not_made",
            )
        return made
