"""Drains a broker into the message log: takes batches, appends their messages, and then acknowledges them.

One batch after the other: the source collects the next one meanwhile, and a batch is the larger the longer
the log takes. Within a batch all partitions are appended concurrently. Memory is bounded by the source, which
stops reading above its limit of unacknowledged bytes, so that the broker keeps the messages.

A message is acknowledged only after a majority of the log's replicas has it. If the edge dies between the
two, the broker delivers it again, and ingest finds a duplicate.
"""

import asyncio
import time
from typing import Final
from uuid import uuid4

from app.edge import prometheus_metrics as metrics
from app.edge.batch_splitter import (
    MessageColumns,
    RecordLimits,
    cut_records,
    group_by_partition,
    make_poison_record,
)
from app.edge.box_partitions import BoxPartitions
from app.edge.log_appender import LogAppender
from app.ingest.sources.message_source import MessageBatch
from app.ingest.sources.reconnecting_mqtt_source import MqttSource
from app.message_log.log_records import encode_record
from app.message_log.partitions import find_unknown_box_partition
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.process_runner import ProcessContext

STOP_WAIT_S: Final = 5.0
"""How long a stop waits for the batch that is being appended."""

_TURN_S: Final = 1.0
_log = get_logger(__name__)


class BrokerDrain:
    """Drains one broker.

    Args:
        process: The process.
        source: The messages of the broker.
        appender: Appends records to the log.
        boxes: The partitions of boxes.
        edge: The name of the edge.
        partitions: The number of partitions.
    """

    def __init__(
        self,
        process: ProcessContext,
        source: MqttSource,
        appender: LogAppender,
        boxes: BoxPartitions,
        *,
        edge: str,
        partitions: int,
    ) -> None:
        self._process = process
        self._source = source
        self._appender = appender
        self._boxes = boxes
        self._edge = edge
        self._poison_partition = find_unknown_box_partition("", partitions)
        # A record id is unique over restarts too.
        self._run_id = uuid4().hex
        self._batches = 0
        self._full_at = 0.0

    @property
    def was_full_at(self) -> float:
        """When the broker last may have had more messages than a batch (monotonic seconds); 0: never."""
        return self._full_at

    async def run(self) -> None:
        """Drain until the process stops. Returns with everything acknowledged that is in the log."""
        await self._source.start()
        try:
            if await self._finish(self._appender.open()):
                while (batch := await self._next_batch()) is not None:
                    if not await self._finish(self._append(batch)):
                        _log.warning("batch_abandoned", messages=len(batch))
                        return
                    self._source.acknowledge(batch)
        finally:
            await self._source.stop()

    async def _next_batch(self) -> MessageBatch | None:
        """Return the next batch; None when the process stops."""
        incoming = asyncio.create_task(self._source.next_batch())
        stopping = asyncio.create_task(self._process.stop.wait())
        try:
            while not (incoming.done() or stopping.done()):
                self._process.mark_progress()
                await asyncio.wait({incoming, stopping}, timeout=_TURN_S, return_when=asyncio.FIRST_COMPLETED)
            return incoming.result() if incoming.done() and not stopping.done() else None
        finally:
            incoming.cancel()
            stopping.cancel()

    async def _finish(self, work: "asyncio._CoroutineLike[None]") -> bool:
        """Wait for a step. After a stop it may take some seconds more; False if it was cancelled then."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._process.stop.wait())
        try:
            while not (task.done() or stopping.done()):
                self._process.mark_progress()
                await asyncio.wait({task, stopping}, timeout=_TURN_S, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=STOP_WAIT_S)
            if not task.done():
                return False
            task.result()
            return True
        finally:
            stopping.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _append(self, batch: MessageBatch) -> None:
        began = time.monotonic()
        if self._source.may_have_more(batch):
            self._full_at = began
        self._batches += 1
        encoded = await self._encode(batch)
        record_id = f"{self._run_id}-{self._batches}"
        async with asyncio.TaskGroup() as tasks:
            for partition, records in encoded.items():
                tasks.create_task(self._appender.append(partition, records, f"{record_id}-{partition}"))
        metrics.EDGE_APPEND.observe(time.monotonic() - began)
        metrics.EDGE_MESSAGES.inc(len(batch))
        metrics.EDGE_RECORDS.inc(sum(map(len, encoded.values())))
        metrics.EDGE_BYTES.inc(sum(len(data) for records in encoded.values() for data in records))

    async def _encode(self, batch: MessageBatch) -> dict[int, list[bytes]]:
        """Return the encoded records of each partition."""
        messages = MessageColumns(
            batch.topics, batch.payloads, batch.retained, batch.correlations, batch.traceparents
        )
        parts = group_by_partition(messages, self._boxes.find_partition)
        sources = self._boxes.take_sources(parts)
        after = await self._find_positions(sources) if sources else {}
        limits = RecordLimits(self._edge, batch.received_at, self._appender.max_record_bytes)
        encoded = {}
        for partition, part in parts.items():
            records, truncated = cut_records(part, limits, after.get(partition, {}))
            encoded[partition] = [encode_record(record) for record in records]
            metrics.EDGE_TRUNCATED.inc(truncated)
        for packet in batch.poison:
            record = make_poison_record(packet, limits)
            metrics.EDGE_TRUNCATED.inc(int(len(record.poison[0]) < len(packet)))
            encoded.setdefault(self._poison_partition, []).append(encode_record(record))
        return encoded

    async def _find_positions(self, sources: "dict[int, frozenset[int]]") -> dict[int, dict[int, int]]:
        """Return `LogRecord.after` of each partition. All earlier batches are in the log by now."""
        wanted = sorted(frozenset().union(*sources.values()))
        found = await asyncio.gather(*map(self._appender.find_newest_position, wanted))
        positions = dict(zip(wanted, found, strict=True))
        return {
            partition: {each: positions[each] for each in sorted(moved_from) if positions[each]}
            for partition, moved_from in sources.items()
        }
