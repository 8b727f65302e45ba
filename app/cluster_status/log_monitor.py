"""Describes the partitions of the message log for an observer, in bounded time."""

import asyncio
import time
from contextlib import suppress
from typing import Final

from app.message_log.message_log import LogUnavailableError, MessageLog, PartitionStatus
from app.message_log.message_log_factory import make_message_log
from app.message_log.settings import MessageLogSettings

WAIT_S: Final = 1.0
"""How long a caller waits for the log (seconds)."""
_FRESH_S: Final = 1.0
# A node that hangs is given up, and another one is tried at the next question.
_CONNECT_S: Final = 2.5


class LogMonitor:
    """A connection to the log that is opened at the first question, and describes it once a second at most.

    A question that takes longer than its caller waits goes on: the next caller gets its answer.

    Args:
        settings: The settings of the log.
        client: The name under which its servers list the connection.
        wait_s: How long a caller waits for the log, in seconds.

    Attributes:
        is_open: Whether it has connected once.
    """

    def __init__(self, settings: MessageLogSettings, *, client: str, wait_s: float = WAIT_S) -> None:
        self._settings = settings.model_copy(update={"timeout_s": min(settings.timeout_s, _CONNECT_S)})
        self._client = client
        self._wait_s = wait_s
        self._log: MessageLog | None = None
        self.is_open = False
        self._asking: asyncio.Task[list[PartitionStatus]] | None = None
        self._asked_at = 0.0

    async def describe(self) -> list[PartitionStatus]:
        """Return the status of each partition.

        Raises:
            LogUnavailableError: The log does not answer in time.
        """
        asking = self._asking
        if asking is None or (asking.done() and self._is_stale(asking)):
            self._asked_at = time.monotonic()
            asking = self._asking = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(self._wait_s):
                return await asyncio.shield(asking)
        except TimeoutError as error:
            raise LogUnavailableError(f"the log has not answered within {self._wait_s:g} s") from error

    def _is_stale(self, asking: asyncio.Task[list[PartitionStatus]]) -> bool:
        failed = asking.cancelled() or asking.exception() is not None
        return failed or time.monotonic() - self._asked_at >= _FRESH_S

    async def _ask(self) -> list[PartitionStatus]:
        if self._log is None:
            self._log = make_message_log(self._settings, client=self._client)
        if not self.is_open:
            await self._log.open()
            self.is_open = True
        return list((await self._log.describe()).partitions)

    async def close(self) -> None:
        """Disconnect."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError, LogUnavailableError, ValueError):
                await self._asking
        if self._log is not None:
            await self._log.close()
