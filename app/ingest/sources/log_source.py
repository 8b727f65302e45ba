"""Reads message batches from the partitions of the replicated log that one ingest worker owns.

A task for each partition reads ahead, within a limit of memory that one record may exceed. A batch has
records of several partitions; those of one partition stay in order. A record may name positions of other
partitions that must be committed before it: a box has moved from there.

Positions are committed in the transaction of the batch (`LogBatchToken.advances`), and not in the log.

A reader begins with the record that was read last, and compares it: another record at its position means that
the log has lost its newest records and appended others since. Records that the log removed before they were
read are counted (`removed`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final, NamedTuple

from app.ingest.prometheus_metrics import LOG_REMOVED
from app.ingest.sources.message_source import MessageBatch, SourceCounters, SourceStoppedError
from app.message_log.log_records import LogRecord, compute_record_digest, decode_record
from app.message_log.message_log import (
    LogUnavailableError,
    MessageLog,
    PartitionReader,
    RecordsRemovedError,
    StoredRecord,
)
from app.message_log.positions import PositionAdvance
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
# Of compressed records, which have about five times as many bytes in memory.
_FETCH_BYTES: Final = 2**18
_FETCH_WAIT_S: Final = 1.0
_RETRY_S: Final = 0.5


class LogBatchToken(NamedTuple):
    """The last position of a batch, by partition."""

    advances: dict[int, PositionAdvance]


class _Waiting(NamedTuple):
    """A record that was read and is in no batch yet. What cannot be decoded is kept as it is."""

    position: int
    size: int
    digest: int
    record: LogRecord | bytes
    read_at: float


class _Partition:
    """One partition: records read ahead, and where the worker is."""

    def __init__(self, position: int, digest: int | None) -> None:
        self.taken = self.committed = self.read = position
        # Of the record that was read last.
        self.digest = digest
        # The log has another record at the position `read`: its newest records are lost.
        self.is_tail_lost = False
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
        batch_bytes: Bytes of records, decompressed, at which a batch is full.
        batch_delay_s: How long a batch waits for more records (seconds).
        buffer_bytes: Bytes of records, decompressed, to read ahead, of all partitions together.

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
        self._removed: dict[int, int] = {}
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
        for number, advance in batch.token.advances.items():
            if number in self._partitions:
                self._partitions[number].committed = advance.position
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

    def list_without_tail(self) -> list[int]:
        """List the partitions whose newest records the log has lost, once all that was read is committed."""
        return [
            number
            for number, each in self._partitions.items()
            if each.is_tail_lost and each.committed == each.read
        ]

    @property
    def removed(self) -> dict[int, int]:
        """By partition, how many records were removed before they were read, and are not forgotten yet."""
        return {number: count for number, count in self._removed.items() if count}

    def forget_removed(self, number: int, count: int) -> None:
        """Forget so many removed records of a partition: the database has their number."""
        self._removed[number] -= count

    async def set_partitions(
        self, positions: Mapping[int, int], digests: Mapping[int, int | None] = MappingProxyType({})
    ) -> None:
        """Read exactly these partitions, each from its committed position on.

        Call it while no `next_batch` waits and each batch is acknowledged. A partition that is read already
        goes on where it is.

        Args:
            positions: The committed position of each partition.
            digests: The digests of the records there, where they are known.
        """
        gone = [self._partitions.pop(number) for number in list(self._partitions) if number not in positions]
        await self._end(gone)
        for number, position in positions.items():
            if number not in self._partitions:
                partition = self._partitions[number] = _Partition(position, digests.get(number))
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
        while not partition.is_tail_lost:
            try:
                await self._read_on(number, partition)
            except RecordsRemovedError as error:
                self._note_removed(number, partition, error)
                continue
            except LogUnavailableError as error:
                _log.warning("log_unavailable", partition=number, error=str(error))
            except Exception:  # noqa: BLE001 (the partition would stay with a worker that does not read it)
                _log.exception("log_reader_failed", partition=number)
            await asyncio.sleep(_RETRY_S)

    async def _read_on(self, number: int, partition: _Partition) -> None:
        """Read until an error, or until the log returns another record than the one that was read last."""
        # With a new reader: that before an error may belong to a connection that is closed for good.
        # To read after 0 would mean to begin with the oldest record, whichever that is.
        is_checked = partition.digest is not None and partition.read > 1
        reader = self._log.read(number, partition.read - is_checked)
        try:
            await self._take_records(number, partition, reader, is_checked=is_checked)
        finally:
            with suppress(LogUnavailableError):
                await reader.close()

    async def _take_records(
        self, number: int, partition: _Partition, reader: PartitionReader, *, is_checked: bool
    ) -> None:
        while True:
            await partition.room.wait()
            records = await reader.fetch(max_bytes=_FETCH_BYTES, max_wait_s=_FETCH_WAIT_S)
            if records and is_checked:
                is_checked = False
                position, data = records.pop(0)
                if position != partition.read or compute_record_digest(data) != partition.digest:
                    partition.is_tail_lost = True
                    _log.error("log_lost_newest_records", partition=number, position=partition.read)
                    return
            for record in records:
                # A record may have far more bytes in memory than in the log: one at a time.
                await partition.room.wait()
                self._add(partition, record)

    def _note_removed(self, number: int, partition: _Partition, error: RecordsRemovedError) -> None:
        """Go on with the oldest record. Without a gap after the last one, only committed records are gone."""
        partition.digest = None
        removed = error.oldest - 1 - partition.read
        if removed > 0:
            _log.error("log_records_removed", partition=number, after=partition.read, oldest=error.oldest)
            LOG_REMOVED.inc(removed)
            self._removed[number] = self._removed.get(number, 0) + removed
            partition.read = error.oldest - 1

    def _add(self, partition: _Partition, stored: StoredRecord) -> None:
        position, data = stored
        record: LogRecord | bytes = data
        size = len(data)
        try:
            record, size = decode_record(data)
        except ValueError as error:
            self._counters.malformed += 1
            _log.error("log_record_unreadable", position=position, error=str(error))
        digest = compute_record_digest(data)
        partition.waiting.append(_Waiting(position, size, digest, record, time.monotonic()))
        partition.read, partition.digest = position, digest
        partition.bytes += size
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
            # An edge may name a position of a log that is gone, or of lost records. The log shows that, if it
            # was asked after the record was read.
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
        self.advances: dict[int, PositionAdvance] = {}
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
        former = self.advances[number].former if number in self.advances else before
        self.advances[number] = PositionAdvance(former, each.position, each.digest)
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
