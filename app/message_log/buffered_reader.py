"""Implements what the readers of all engines share: the wait for records, and the buffer behind it."""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final

from app.message_log.message_log import LogUnavailableError, RecordsRemovedError, StoredRecord

_RETRY_S: Final = 0.1


class BufferedReader(ABC):
    """Buffers records that arrive, and notices those that were removed before they did (`PartitionReader`).

    Args:
        after: The position after which it begins; 0: with the oldest record.
        on_close: Called with this reader once it is closed.
    """

    def __init__(self, after: int, on_close: "Callable[[BufferedReader], None] | None" = None) -> None:
        self._on_close = on_close
        # The position of the last record that arrived.
        self._position = after
        self._ready: deque[StoredRecord] = deque()
        self._removed: RecordsRemovedError | None = None
        self._is_closed = False

    async def fetch(self, *, max_bytes: int, max_wait_s: float) -> list[StoredRecord]:
        """Return the next records, as `PartitionReader.fetch` describes."""
        deadline = time.monotonic() + max_wait_s
        while True:
            failure = None if self._ready or self._removed else await self._receive(max_bytes)
            if self._ready:
                return self._take(max_bytes)
            if self._removed is not None:
                raise self._removed
            left = deadline - time.monotonic()
            if failure is not None and (left <= 0 or self._is_closed):
                raise failure
            if left <= 0:
                return []
            await self._wait(min(left, self._find_pause_s() if failure is None else _RETRY_S))

    async def close(self) -> None:
        """Stop reading, and drop the records that were not fetched."""
        self._is_closed = True
        try:
            await self._stop()
        finally:
            self._ready.clear()
            if self._on_close is not None:
                self._on_close(self)

    @abstractmethod
    async def _stop(self) -> None:
        """Let no more records arrive. It may be called again."""

    @abstractmethod
    async def _receive(self, max_bytes: int) -> LogUnavailableError | None:
        """Let records arrive; returns the error of a log that does not answer."""

    @abstractmethod
    async def _wait(self, seconds: float) -> None:
        """Wait until something has arrived, for so long at most."""

    @abstractmethod
    def _find_pause_s(self) -> float:
        """Return after how many seconds without a record to call `_receive` again."""

    def _add(self, position: int, data: bytes) -> None:
        """Buffer the record that has arrived."""
        self._ready.append(StoredRecord(position, data))
        self._position = position

    def _note_oldest(self, oldest: int) -> bool:
        """Note the position of the oldest record that is left, or that the next record will have.

        Returns:
            False if records were removed before they arrived: buffer none of the later ones.
        """
        if self._position == 0:
            # The reader begins with the oldest record, whichever that is.
            self._position = max(0, oldest - 1)
        elif self._removed is None and oldest > self._position + 1:
            self._removed = RecordsRemovedError(self._position, oldest)
        return self._removed is None

    def _take(self, max_bytes: int) -> list[StoredRecord]:
        taken = [self._ready.popleft()]
        size = len(taken[0].data)
        while self._ready and size + len(self._ready[0].data) <= max_bytes:
            taken.append(self._ready.popleft())
            size += len(taken[-1].data)
        return taken
