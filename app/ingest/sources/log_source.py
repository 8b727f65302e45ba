"""Reads message batches from the partitions of the replicated log that one ingest worker owns.

A task for each partition reads ahead, within a limit of memory. A batch has records of several partitions;
those of one partition stay in order. A record may name positions of other partitions that must be committed
before it: a box has moved from there.

The log is told nothing: positions are committed in the transaction of the batch (`LogBatchToken.advances`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from app.ingest.sources.message_source import MessageBatch, SourceCounters, SourceStoppedError
from app.message_log.log_records import LogRecord, decode_record
from app.message_log.message_log import LogUnavailableError, MessageLog, StoredRecord
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
_FETCH_BYTES: Final = 2**20
_FETCH_WAIT_S: Final = 1.0
_RETRY_S: Final = 0.5


class LogBatchToken(NamedTuple):
    """Where a batch ends: partition → (position before the batch, position of its last record)."""

    advances: dict[int, tuple[int, int]]


class _Waiting(NamedTuple):
    """A record that was read and is in no batch yet. What cannot be decoded is kept as it is."""

    position: int
    size: int
    record: LogRecord | bytes
    read_at: float


class _Partition:
    """One partition: records read ahead, and where the worker is."""

    def __init__(self, position: int) -> None:
        self.taken = self.committed = self.read = position
        self.waiting: deque[_Waiting] = deque()
        self.bytes = 0
        self.room = asyncio.Event()
        self.room.set()
        self.task: asyncio.Task[None] | None = None


class LogSource:
    """A `MessageSource` of the partitions that `set_partitions` names.

    Args:
        log: The log, open.
        batch_messages: Messages at which a batch is full.
        batch_bytes: Bytes of records at which a batch is full.
        batch_delay_s: How long a batch waits for more records (seconds).
        buffer_bytes: Bytes of records to read ahead, of all partitions together.

    Attributes:
        awaited: Partitions of other workers for whose commits a record waits.
    """

    def __init__(
        self,
        log: MessageLog,
        *,
        batch_messages: int,
        batch_bytes: int,
        batch_delay_s: float,
        buffer_bytes: int,
    ) -> None:
        self._log = log
        self._batch_messages = batch_messages
        self._batch_bytes = batch_bytes
        self._batch_delay_s = batch_delay_s
        self._buffer_bytes = buffer_bytes
        self._partitions: dict[int, _Partition] = {}
        self._elsewhere: dict[int, int] = {}
        self._newest: dict[int, int] = {}
        self._newest_at = 0.0
        self._counters = SourceCounters()
        self._arrived = asyncio.Event()
        self._arrived_at = 0.0
        self._stopped = False
        self.awaited: set[int] = set()

    # -- MessageSource

    async def start(self) -> None:
        """Do nothing: reading begins with `set_partitions`."""

    async def next_batch(self) -> MessageBatch:
        """Wait for the next batch, as `MessageSource` says."""
        while not self._stopped:
            left = self._arrived_at + self._batch_delay_s - time.monotonic()
            if self._arrived.is_set() and left > 0 and not self._has_full_batch():
                await asyncio.sleep(left)
            self._arrived.clear()
            batch = self._assemble()
            if batch is not None:
                # What is left needs no new arrival.
                self._arrived.set()
                return batch
            await self._arrived.wait()
        raise SourceStoppedError

    def acknowledge(self, batch: MessageBatch) -> None:
        """Note that a batch is committed, with its positions."""
        if not isinstance(batch.token, LogBatchToken):
            raise TypeError("the batch is another source's")
        for number, (_, position) in batch.token.advances.items():
            if number in self._partitions:
                self._partitions[number].committed = position
        # A record may have waited for these.
        self._arrived.set()

    async def stop(self) -> None:
        """Stop reading. Nothing is lost: another worker reads from the committed positions."""
        self._stopped = True
        self._arrived.set()
        await self._end([self._partitions.pop(number) for number in list(self._partitions)])

    @property
    def connected(self) -> bool:
        """Whether the log is connected."""
        return self._log.connected

    @property
    def counters(self) -> SourceCounters:
        """The live counters."""
        return self._counters

    # -- partitions

    @property
    def committed(self) -> dict[int, int]:
        """The committed position of each owned partition."""
        return {number: each.committed for number, each in self._partitions.items()}

    async def set_partitions(self, positions: Mapping[int, int]) -> None:
        """Read exactly these partitions, each from its committed position on.

        Call it while no `next_batch` waits and each batch is acknowledged. A partition that is read already
        goes on where it is.
        """
        gone = [self._partitions.pop(number) for number in list(self._partitions) if number not in positions]
        await self._end(gone)
        for number, position in positions.items():
            if number not in self._partitions:
                partition = self._partitions[number] = _Partition(position)
                partition.task = asyncio.create_task(self._read(number, partition))
        self._arrived.set()

    def set_other_positions(self, positions: Mapping[int, int]) -> None:
        """Set the committed positions of other workers' partitions, for records that wait for them."""
        self._elsewhere.update(positions)
        self._arrived.set()

    def set_newest_positions(self, positions: Mapping[int, int], asked_at: float) -> None:
        """Set the newest positions of all partitions: no record waits for what the log does not have.

        Args:
            positions: The position of the newest record of each partition.
            asked_at: When the log was asked (monotonic seconds).
        """
        self._newest, self._newest_at = dict(positions), asked_at
        self._arrived.set()

    @staticmethod
    async def _end(partitions: list[_Partition]) -> None:
        tasks = [each.task for each in partitions if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, number: int, partition: _Partition) -> None:
        while True:
            # After an error anew: the reader may belong to a connection that is closed for good.
            reader = self._log.read(number, partition.read)
            try:
                while True:
                    await partition.room.wait()
                    records = await reader.fetch(max_bytes=_FETCH_BYTES, max_wait_s=_FETCH_WAIT_S)
                    if records:
                        self._add(partition, records)
            except LogUnavailableError as error:
                _log.warning("log_unavailable", partition=number, error=str(error))
            except Exception:  # noqa: BLE001 (the partition would stay with a worker that does not read it)
                _log.exception("log_reader_failed", partition=number)
            finally:
                with suppress(LogUnavailableError):
                    await reader.close()
            await asyncio.sleep(_RETRY_S)

    def _add(self, partition: _Partition, records: list[StoredRecord]) -> None:
        for position, data in records:
            record: LogRecord | bytes = data
            try:
                record = decode_record(data)
            except msgspec.MsgspecError as error:
                self._counters.malformed += 1
                _log.error("log_record_unreadable", position=position, error=str(error))
            partition.waiting.append(_Waiting(position, len(data), record, time.monotonic()))
            partition.read = position
            partition.bytes += len(data)
        if partition.bytes > self._buffer_bytes // max(len(self._partitions), 1):
            partition.room.clear()
            self._counters.pauses += 1
        if not self._arrived.is_set():
            self._arrived_at = time.monotonic()
            self._arrived.set()

    # -- batches

    def _has_full_batch(self) -> bool:
        waiting = [each for partition in self._partitions.values() for each in partition.waiting]
        messages = sum(len(each.record.topics) for each in waiting if isinstance(each.record, LogRecord))
        size = sum(partition.bytes for partition in self._partitions.values())
        return messages >= self._batch_messages or size >= self._batch_bytes

    def _assemble(self) -> MessageBatch | None:
        """Return the next batch, a record of each partition in turn; None if there is nothing to take."""
        builder = _BatchBuilder()
        self.awaited = set()
        turns = deque(sorted(self._partitions.items()))
        while turns and builder.messages < self._batch_messages and builder.bytes < self._batch_bytes:
            number, partition = turns.popleft()
            if not partition.waiting or not self._may_take(partition.waiting[0]):
                continue
            each = partition.waiting.popleft()
            builder.add(number, partition.taken, each)
            partition.taken = each.position
            partition.bytes -= each.size
            turns.append((number, partition))
            if partition.bytes <= self._buffer_bytes // len(self._partitions):
                partition.room.set()
        if not builder.advances:
            return None
        self._counters.messages += builder.messages
        self._counters.bytes += builder.bytes
        self._counters.poison += len(builder.poison)
        return builder.build()

    def _may_take(self, each: _Waiting) -> bool:
        """Whether all that the record waits for is committed, or comes before it in this batch."""
        if isinstance(each.record, bytes):
            return True
        for number, position in each.record.after.items():
            # An edge may name a position of a log that is gone, or of lost records. The log tells, if it was
            # asked after the record was read.
            if self._newest_at > each.read_at and self._newest.get(number, position) < position:
                continue
            partition = self._partitions.get(number)
            if partition is None and self._elsewhere.get(number, 0) < position:
                self.awaited.add(number)
                return False
            if partition is not None and partition.taken < position:
                return False
        return True


class _BatchBuilder:
    """Joins records to one batch."""

    def __init__(self) -> None:
        self.bytes = 0
        self.advances: dict[int, tuple[int, int]] = {}
        self.poison: list[bytes] = []
        self._topics: list[str] = []
        self._payloads: list[bytes] = []
        self._retained: list[int] = []
        self._correlations: dict[int, bytes] = {}
        self._traceparents: dict[int, str] = {}
        self._edges: list[tuple[int, str]] = []
        self._received_at = time.time()

    @property
    def messages(self) -> int:
        return len(self._topics)

    def add(self, number: int, before: int, each: _Waiting) -> None:
        """Add a record of a partition, whose position was `before` until now."""
        self.bytes += each.size
        self.advances[number] = (self.advances.get(number, (before,))[0], each.position)
        record = each.record
        if isinstance(record, bytes):
            self.poison.append(record)
            return
        first = len(self._topics)
        self._topics += record.topics
        self._payloads += record.payloads
        self.poison += record.poison
        self._retained += [first + index for index in record.retained]
        self._correlations.update((first + index, data) for index, data in record.correlations.items())
        self._traceparents.update((first + index, text) for index, text in record.traceparents.items())
        self._received_at = min(self._received_at, record.received_at)
        if self._edges and self._edges[-1][1] == record.edge:
            self._edges.pop()
        self._edges.append((len(self._topics), record.edge))

    def build(self) -> MessageBatch:
        """Return the batch."""
        return MessageBatch(
            topics=self._topics,
            payloads=self._payloads,
            retained=self._retained,
            poison=self.poison,
            received_at=self._received_at,
            token=LogBatchToken(self.advances),
            correlations=self._correlations,
            traceparents=self._traceparents,
            edges=self._edges,
        )
