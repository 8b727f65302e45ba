"""Reads a partition of a Kafka topic from an offset on, with a consumer that never commits."""

import asyncio
import time
from collections import deque
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from app.message_log.message_log import LogUnavailableError, StoredRecord

_POLL_S: Final = 0.5
_MOST_RECORDS: Final = 16


class KafkaReader:
    """Reads one partition in order (`PartitionReader`). The consumer reconnects by itself.

    Args:
        common: Settings of librdkafka.
        topic: The topic.
        partition: The partition.
        after: The position after which it begins: 1 plus the offset.
        most_record_bytes: The largest record, with its headers.
    """

    def __init__(
        self, common: dict[str, Any], topic: str, partition: int, after: int, *, most_record_bytes: int
    ) -> None:
        self._consumer = Consumer(
            {
                **common,
                "group.id": "vigie",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",  # records after the position were trimmed
                "queued.max.messages.kbytes": 16_384,
                "fetch.message.max.bytes": most_record_bytes,
                "fetch.wait.max.ms": 500,
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, after)])
        self._ready: deque[StoredRecord] = deque()
        self._errors: list[str] = []
        self._polling: asyncio.Task[None] | None = None
        self._is_closed = False

    async def fetch(self, *, max_bytes: int, max_wait_s: float) -> list[StoredRecord]:
        """Return the next records in order, as soon as there is one; an empty list after `max_wait_s`.

        Cancelling the wait loses nothing: a poll goes on, and the next call takes its records.

        Args:
            max_bytes: About how many bytes to return; at least one record.
            max_wait_s: The longest wait, in seconds.

        Raises:
            LogUnavailableError: The log does not answer. Call again.
        """
        deadline = time.monotonic() + max_wait_s
        while not self._ready:
            if self._is_closed:
                raise LogUnavailableError("the log was closed")
            left = deadline - time.monotonic()
            if left <= 0:
                if self._errors:
                    raise LogUnavailableError(f"the log does not answer: {self._errors.pop()}")
                return []
            if self._polling is None or self._polling.done():
                self._polling = asyncio.create_task(self._poll(min(left, _POLL_S)))
            await asyncio.wait([self._polling], timeout=left)
        return self._take(max_bytes)

    async def close(self) -> None:
        """Stop reading."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._polling is not None:
            await asyncio.wait([self._polling])
        await asyncio.to_thread(self._consumer.close)

    async def _poll(self, seconds: float) -> None:
        """Take the records that have arrived; wait for the first."""
        self._errors.clear()
        try:
            first = await asyncio.to_thread(self._consumer.consume, 1, seconds)
            others = await asyncio.to_thread(self._consumer.consume, _MOST_RECORDS, 0.0) if first else []
        except (KafkaException, RuntimeError) as error:
            self._errors.append(str(error))
            return
        for message in (*first, *others):
            problem, offset, data = message.error(), message.offset(), message.value()
            if problem is not None:
                self._errors.append(str(problem))
            elif offset is not None and data is not None:
                self._ready.append(StoredRecord(offset + 1, bytes(data)))

    def _take(self, max_bytes: int) -> list[StoredRecord]:
        taken = [self._ready.popleft()]
        size = len(taken[0].data)
        while self._ready and size + len(self._ready[0].data) <= max_bytes:
            taken.append(self._ready.popleft())
            size += len(taken[-1].data)
        return taken
