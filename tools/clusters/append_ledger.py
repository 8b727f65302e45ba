"""Appends numbered records to partitions, reads them, and finds those lost, repeated or out of order.

Tests and drills let nodes of a log die meanwhile.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

from app.message_log.message_log import LogUnavailableError, MessageLog

_PAUSE_S: Final = 0.05


@dataclass(slots=True)
class PartitionLedger:
    """The appends and reads of one partition.

    Attributes:
        partition: Its number.
        acknowledged: How many records the log has acknowledged: those numbered from 0 on.
        read: The numbers of the records that were read, in order.
        longest_append_s: The longest time between two acknowledgements.
        longest_read_s: The longest time between two reads.
        errors: Appends that were repeated.
    """

    partition: int
    acknowledged: int = 0
    read: list[int] = field(default_factory=list)
    longest_append_s: float = 0.0
    longest_read_s: float = 0.0
    errors: int = 0

    @property
    def lost(self) -> int:
        """How many acknowledged records were not read."""
        return self.acknowledged - len(set(self.read) & set(range(self.acknowledged)))

    @property
    def repeated(self) -> int:
        """How many records were read more than once."""
        return len(self.read) - len(set(self.read))

    @property
    def is_ordered(self) -> bool:
        """Whether the first reads of the records were in the order of their appends."""
        first = list(dict.fromkeys(self.read))
        return first == sorted(first)


class AppendLedger:
    """Appends to partitions and reads them, each in a task of its own, for the length of a block.

    Args:
        writer: The log that appends.
        reader: The log that reads; usually another connection.
        partitions: The partitions.
        record_bytes: The size of a record.
        pause_s: The pause between two appends to a partition.
    """

    def __init__(
        self,
        writer: MessageLog,
        reader: MessageLog,
        partitions: int,
        *,
        record_bytes: int = 200,
        pause_s: float = 0.01,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._filling = b"." * max(0, record_bytes - 12)
        self._pause_s = pause_s
        self._is_ending = False
        self._readers: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.Task[None]] = []
        self.partitions = [PartitionLedger(partition) for partition in range(partitions)]

    async def __aenter__(self) -> Self:
        """Begin to append, and to read after the newest positions."""
        for ledger in self.partitions:
            after = await self._reader.find_newest_position(ledger.partition)
            self._readers.append(asyncio.create_task(self._read(ledger, after)))
            self._writers.append(asyncio.create_task(self._append(ledger)))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop reading and appending."""
        tasks = [*self._readers, *self._writers]
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def wait_for_appends(self, count: int, timeout_s: float) -> None:
        """Wait until each partition has acknowledged so many more records.

        Raises:
            TimeoutError: One has not within `timeout_s`.
        """
        goals = [ledger.acknowledged + count for ledger in self.partitions]
        async with asyncio.timeout(timeout_s):
            await _wait_until(
                lambda: all(
                    ledger.acknowledged >= goal for ledger, goal in zip(self.partitions, goals, strict=True)
                )
            )

    async def finish(self, timeout_s: float) -> None:
        """Stop appending, and wait until all acknowledged records were read, at most for `timeout_s`."""
        self._is_ending = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*self._writers)
                await _wait_until(lambda: not any(ledger.lost for ledger in self.partitions))
                # Time for a repeated record to arrive.
                await asyncio.sleep(1.0)

    async def _append(self, ledger: PartitionLedger) -> None:
        before = time.monotonic()
        while not self._is_ending:
            number = ledger.acknowledged
            data = b"%012d" % number + self._filling
            while True:
                try:
                    await self._writer.append(
                        ledger.partition, data, record_id=f"{id(ledger)}-{ledger.partition}-{number}"
                    )
                except LogUnavailableError:
                    ledger.errors += 1
                    await asyncio.sleep(_PAUSE_S)
                else:
                    break
            now = time.monotonic()
            ledger.longest_append_s = max(ledger.longest_append_s, now - before)
            before = now
            ledger.acknowledged += 1
            await asyncio.sleep(self._pause_s)

    async def _read(self, ledger: PartitionLedger, after: int) -> None:
        reader = self._reader.read(ledger.partition, after)
        before = time.monotonic()
        try:
            while True:
                with suppress(LogUnavailableError):
                    for record in await reader.fetch(max_bytes=2**20, max_wait_s=1.0):
                        ledger.read.append(int(record.data[:12]))
                        now = time.monotonic()
                        ledger.longest_read_s = max(ledger.longest_read_s, now - before)
                        before = now
        finally:
            await reader.close()


async def _wait_until(is_so: Callable[[], bool]) -> None:
    while True:
        if is_so():
            return
        await asyncio.sleep(_PAUSE_S)
