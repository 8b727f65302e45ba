"""Queues messages between an MQTT connection and the pipeline: batches, acknowledgements and memory limits.

It holds the open batch, the full batches and the number of unacknowledged bytes, and pauses the socket. It
knows neither packets nor sockets.

The reader appends directly to `topics`, `payloads`, `packet_ids`, `retained` and `correlations`, since a call
per message would cost as much as parsing it, and calls `settle` once per chunk.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from app.ingest.sources.message_source import MessageBatch, SourceCounters, SourceStoppedError
from app.platform.observability.tracing import TRACEPARENT, is_tracing, parse_traceparent


class PausableReader(Protocol):
    """A reader that can pause and resume; an asyncio transport is one."""

    def pause_reading(self) -> None:
        """Stop reading."""

    def resume_reading(self) -> None:
        """Continue to read."""


class BatchToken:
    """The token of a batch: the connection that delivered it, its packet ids and its size in bytes.

    A packet id is None for QoS 0.
    """

    __slots__ = ("acknowledged", "generation", "packet_ids", "size")

    def __init__(self, generation: int, packet_ids: list[int | None], size: int) -> None:
        self.generation = generation
        self.packet_ids = packet_ids
        self.size = size
        self.acknowledged = False


def _get_token(batch: MessageBatch) -> BatchToken:
    if not isinstance(batch.token, BatchToken):
        raise TypeError("the batch is another source's")
    return batch.token


class BatchQueue:
    """Fills batches on one side and returns them on the other, on one event loop.

    Args:
        counters: Counters to increment.
        batch_messages: Messages at which a batch is full.
        batch_bytes: Bytes (as on the wire) at which a batch is full.
        batch_delay_s: Age in seconds at which a batch is returned even if it is not full.
        window: Unacknowledged messages after which the broker sends no more (the Receive Maximum). A batch is
            closed then, since waiting would be in vain.
        pending_limit_bytes: Unacknowledged bytes above which reading pauses.
    """

    def __init__(
        self,
        counters: SourceCounters,
        *,
        batch_messages: int,
        batch_bytes: int,
        batch_delay_s: float,
        window: int,
        pending_limit_bytes: int,
    ) -> None:
        self.topics: list[str] = []
        self.payloads: list[bytes] = []
        self.packet_ids: list[int | None] = []
        self.retained: list[int] = []
        self.correlations: dict[int, bytes] = {}
        self.traceparents: dict[int, str] = {}
        self.paused = False
        self._poison: list[bytes] = []
        self._counters = counters
        self._batch_messages = batch_messages
        self._batch_bytes = batch_bytes
        self._batch_delay_s = batch_delay_s
        self._window = window
        self._pending_limit_bytes = pending_limit_bytes
        self._full: deque[MessageBatch] = deque()
        self._generation = 0
        self._size = 0  # bytes in the open batch
        self._counted = 0  # messages of the open batch that are already counted
        self._received_at = 0.0  # wall clock, for the batch
        self._opened_at = 0.0  # monotonic, for the delay
        self._pending_bytes = 0  # unacknowledged, in the open batch, the queue or the pipeline
        self._pending_messages = 0
        self._flow: PausableReader | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    # -- for the reader

    @property
    def room(self) -> int:
        """Messages that still fit in the open batch (at least one)."""
        return self._batch_messages - len(self.topics)

    @property
    def room_bytes(self) -> int:
        """Bytes that still fit in the open batch (at least one)."""
        return self._batch_bytes - self._size

    @property
    def pending_bytes(self) -> int:
        """Bytes received and not acknowledged."""
        return self._pending_bytes

    @property
    def pending_messages(self) -> int:
        """Messages received and not acknowledged."""
        return self._pending_messages

    def attach(self, flow: PausableReader) -> None:
        """Set the reader of a new connection."""
        self._flow = flow

    def detach(self) -> None:
        """Discard everything of the lost connection: the broker delivers unacknowledged messages again.

        A batch that is in the pipeline stays valid, but its acknowledgement is stale.
        """
        self._flow = None
        self.paused = False
        self._generation += 1
        self._full.clear()
        self._open_new()
        self._pending_bytes = 0
        self._pending_messages = 0
        self._cancel_timer()

    def add_poison(self, raw: bytes, packet_id: int | None) -> None:
        """Queue an unreadable packet in the order of arrival."""
        self._poison.append(raw)
        if packet_id is not None:
            self.packet_ids.append(packet_id)
        self._counters.poison += 1
        self.settle(len(raw))

    def add_properties(self, correlation: bytes | None, properties: Sequence[tuple[str, str]]) -> None:
        """Record the MQTT 5 properties of the message that was appended last.

        Args:
            correlation: its correlation data.
            properties: its user properties, of which a `traceparent` is used where telemetry is on.
        """
        origin = len(self.topics) - 1
        if correlation is not None:
            self.correlations[origin] = correlation
        if not is_tracing():
            return
        for name, value in properties:
            if name == TRACEPARENT and parse_traceparent(value) is not None:
                self.traceparents[origin] = value
                return

    def settle(self, size: int) -> None:
        """Count what was appended since the last call.

        Args:
            size: Its bytes on the wire.
        """
        count = len(self.topics) - self._counted
        if not self._size:
            self._received_at = time.time()
            self._opened_at = time.monotonic()
        self._counted += count
        self._size += size
        self._pending_bytes += size
        self._pending_messages += count
        self._counters.messages += count
        self._counters.bytes += size
        if self._counted >= self._batch_messages or self._size >= self._batch_bytes:
            self._close()
        if not self.paused and self._pending_bytes > self._pending_limit_bytes and self._flow is not None:
            self.paused = True
            self._counters.pauses += 1
            self._flow.pause_reading()
        if self._waiter is not None:
            self._wake_or_wait()

    # -- for the pipeline

    def may_have_more(self, batch: MessageBatch) -> bool:
        """Whether the broker may have more messages than a batch, because a limit ended it or nearly did."""
        delivery = _get_token(batch)
        in_flight = self._pending_messages + (len(batch.topics) if delivery.acknowledged else 0)
        return (
            len(batch.topics) > min(self._batch_messages, self._window) // 2
            or delivery.size > min(self._batch_bytes, self._pending_limit_bytes) // 2
            # It and the messages that came after it are all that the broker may send.
            or in_flight >= self._window
        )

    async def next_batch(self) -> MessageBatch:
        """Wait for a batch, as `MessageSource.next_batch` says."""
        if self._waiter is not None:
            raise RuntimeError("a source has one consumer at a time")
        while True:
            if self._stopped:
                raise SourceStoppedError
            batch = self._take()
            if batch is not None:
                self._resume_if_idle_or_below()
                return batch
            self._waiter = asyncio.get_running_loop().create_future()
            self._wake_or_wait()
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._cancel_timer()

    def acknowledge(self, batch: MessageBatch) -> list[int | None] | None:
        """Record the acknowledgement of a batch.

        Returns:
            The packet ids to acknowledge to the broker; None if the connection is gone or the batch was
                acknowledged.
        """
        delivery = _get_token(batch)
        if delivery.generation != self._generation or delivery.acknowledged:
            self._counters.stale_acks += 1
            return None
        delivery.acknowledged = True
        self._pending_bytes -= delivery.size
        self._pending_messages -= len(batch.topics)
        self._resume_if_idle_or_below()
        return delivery.packet_ids

    def stop(self) -> None:
        """End all waits for a batch with `SourceStoppedError`."""
        self._stopped = True
        self._wake()

    # -- inside

    def _open_new(self) -> None:
        self.topics = []
        self.payloads = []
        self.packet_ids = []
        self.retained = []
        self.correlations = {}
        self.traceparents = {}
        self._poison = []
        self._size = 0
        self._counted = 0

    def _close(self) -> None:
        batch = MessageBatch(
            topics=self.topics,
            payloads=self.payloads,
            retained=self.retained,
            poison=self._poison,
            received_at=self._received_at,
            token=BatchToken(self._generation, self.packet_ids, self._size),
            correlations=self.correlations,
            traceparents=self.traceparents,
        )
        self._full.append(batch)
        self._open_new()

    def _wait_left(self) -> float:
        """Return the seconds for which the open batch should still wait for messages."""
        if self.paused or self._pending_messages >= self._window:
            return 0.0  # nothing more can arrive before something is acknowledged
        return self._opened_at + self._batch_delay_s - time.monotonic()

    def _take(self) -> MessageBatch | None:
        if not self._full:
            if not self._size or self._wait_left() > 0:
                return None
            self._close()
        return self._full.popleft()

    def _wake_or_wait(self) -> None:
        if self._full:
            self._wake()
        elif self._size:
            left = self._wait_left()
            if left <= 0:
                self._wake()
            elif self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(left, self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _resume_if_idle_or_below(self) -> None:
        """Resume reading below the limit, or above it if no batch is left to return.

        Otherwise a consumer that needs more messages before it acknowledges would wait for ever. Memory then
        grows by one read at a time, up to the Receive Maximum.
        """
        if not self.paused or self._flow is None:
            return
        if self._pending_bytes <= self._pending_limit_bytes or not (self._full or self._size):
            self.paused = False
            self._flow.resume_reading()
