"""Appends records to the message log, repeats after errors, and names the problem while it lasts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

from app.edge.prometheus_metrics import EDGE_REPEATS
from app.message_log.message_log import LogFullError, LogUnavailableError, MessageLog
from app.platform.observability.metrics_and_logs import get_logger

type LogProblem = Literal["log_unavailable", "log_full"]

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 2.0
_log = get_logger(__name__)


class LogAppender:
    """Appends records of several partitions concurrently, those of one partition in order.

    Args:
        log: The log. `open` opens it.
    """

    def __init__(self, log: MessageLog) -> None:
        self._log = log
        self._failing: dict[object, LogProblem] = {}
        self._positions: dict[int, int] = {}
        self._is_open = False

    @property
    def problem(self) -> LogProblem | None:
        """Why nothing can be appended now; None while it works, as far as is known."""
        if self._failing:
            return "log_full" if "log_full" in self._failing.values() else "log_unavailable"
        return None if self._is_open and self._log.connected else "log_unavailable"

    @property
    def max_record_bytes(self) -> int:
        """The largest record. Valid once the log is open."""
        return self._log.max_record_bytes

    async def open(self) -> None:
        """Open the log; returns once it is open."""
        if not self._is_open:
            await self._repeat("open", self._log.open)
            self._is_open = True

    async def append(self, partition: int, records: Sequence[bytes], record_id: str) -> None:
        """Append records of one partition in order; returns once the log has all of them.

        Args:
            partition: The partition.
            records: The encoded records.
            record_id: Unique for this call. A repeated append has the id of the first, so that a log which
                detects repeats stores a record once.
        """
        for number, data in enumerate(records):
            position = await self._repeat(
                partition,
                lambda data=data, number=number: self._log.append(  # type: ignore[misc]  # defaults bind the loop's values
                    partition, data, record_id=f"{record_id}-{number}"
                ),
            )
            if position is not None:
                self._positions[partition] = position

    async def find_newest_position(self, partition: int) -> int:
        """Return the position of the newest record, at least that of the last one appended here."""
        newest = await self._repeat(partition, lambda: self._log.find_newest_position(partition))
        return max(newest, self._positions.get(partition, 0))

    async def _repeat[T](self, key: object, call: Callable[[], Awaitable[T]]) -> T:
        """Call until there is no error of the log, with a back-off."""
        wait = _FIRST_WAIT_S
        while True:
            try:
                result = await call()
            except LogUnavailableError as error:
                problem: LogProblem = "log_full" if isinstance(error, LogFullError) else "log_unavailable"
                if self._failing.get(key) != problem:
                    _log.warning("log_refused", key=key, problem=problem, error=str(error))
                self._failing[key] = problem
                EDGE_REPEATS.inc()
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_S)
            else:
                if self._failing.pop(key, None) is not None:
                    _log.info("log_works_again", key=key)
                return result
