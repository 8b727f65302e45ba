"""Reads a partition of a Kafka topic from an offset on, with a consumer that never commits."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from app.message_log.buffered_reader import BufferedReader
from app.message_log.message_log import LogUnavailableError

_POLL_S: Final = 0.5
# As many units (`record_units`) as the largest record has: 4 MiB.
_MOST_MESSAGES: Final = 1024


class KafkaReader(BufferedReader):
    """Reads one partition in order (`PartitionReader`). The consumer reconnects by itself.

    Args:
        common: Settings of librdkafka.
        topic: The topic.
        partition: The partition.
        after: The position after which it begins: 1 plus the offset.
        most_record_bytes: The largest record, with its headers.
        on_close: Called with this reader once it is closed.
    """

    def __init__(
        self,
        common: dict[str, Any],
        topic: str,
        partition: int,
        after: int,
        *,
        most_record_bytes: int,
        on_close: Callable[[BufferedReader], None],
    ) -> None:
        super().__init__(after, on_close)
        self._consumer = Consumer(
            {
                **common,
                "group.id": "vigie",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",  # records after the position were removed
                "queued.max.messages.kbytes": 16_384,
                "fetch.message.max.bytes": most_record_bytes,
                "fetch.wait.max.ms": 500,
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, after)])
        self._errors: list[str] = []
        self._polling: asyncio.Task[None] | None = None

    async def _receive(self, _max_bytes: int) -> LogUnavailableError | None:
        """Start a poll unless one is in progress. A cancelled `fetch` leaves it to the next one."""
        if self._is_closed:
            return LogUnavailableError("the log was closed")
        if self._polling is None or self._polling.done():
            failures, self._errors = self._errors, []
            self._polling = asyncio.create_task(self._poll())
            if failures:
                return LogUnavailableError(f"the log does not answer: {failures[-1]}")
        return None

    async def _wait(self, seconds: float) -> None:
        if self._polling is not None:
            await asyncio.wait([self._polling], timeout=seconds)

    def _find_pause_s(self) -> float:
        return _POLL_S

    async def _stop(self) -> None:
        if self._polling is not None:
            await asyncio.wait([self._polling])
        await asyncio.to_thread(self._consumer.close)

    async def _poll(self) -> None:
        """Take the records that have arrived; wait for the first."""
        try:
            first = await asyncio.to_thread(self._consumer.consume, 1, _POLL_S)
            others = await asyncio.to_thread(self._consumer.consume, _MOST_MESSAGES, 0.0) if first else []
        except (KafkaException, RuntimeError) as error:
            self._errors.append(str(error))
            return
        for message in (*first, *others):
            problem, offset, data = message.error(), message.offset(), message.value()
            if problem is not None:
                self._errors.append(str(problem))
            elif offset is not None and offset >= self._position and self._note_oldest(offset + 1):
                # Empty messages stand for bytes of the record after them (`record_units`).
                self._position = offset + 1
                if data:
                    self._add(offset + 1, bytes(data))
