"""The queue between an MQTT connection and the pipeline: batches, acknowledgements, memory.

Owns the batch that is being filled, the full ones that wait, the count of bytes that wait for their
acknowledgement, and the decision to pause the socket. Knows nothing of packets or sockets.

The reader appends to ``topics``, ``payloads``, ``packet_ids``, ``retained`` and ``correlations``
directly, because at this rate a call per message costs as much as parsing it, and calls ``settle``
once per piece read.
"""

import asyncio
import time
from collections import deque
from typing import Protocol

from app.ingest.sources.message_source import MessageBatch, SourceCounters, SourceStoppedError


class PausableReader(Protocol):
    """What can be told to stop and go on reading; an asyncio transport is one."""

    def pause_reading(self) -> None:
        """Read nothing more for now."""

    def resume_reading(self) -> None:
        """Go on reading."""


class BatchToken:
    """The token of a batch: the connection that delivered it, its packet ids (None: QoS 0), its bytes."""

    __slots__ = ("acknowledged", "generation", "packet_ids", "size")

    def __init__(self, generation: int, packet_ids: list[int | None], size: int) -> None:
        self.generation = generation
        self.packet_ids = packet_ids
        self.size = size
        self.acknowledged = False


class BatchQueue:
    """Fills batches on one side and hands them out on the other, on one event loop.

    Args:
        counters: Counted up here.
        batch_messages: Messages at which a batch is full.
        batch_bytes: Bytes (as on the wire) at which a batch is full.
        batch_delay_s: Age in seconds at which a batch that is not full is handed out all the same.
        window: Unacknowledged messages after which the broker sends nothing more (the Receive
            Maximum): a batch is not kept open in vain then.
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
        self._counted = 0  # messages of the open batch that are in the counters already
        self._received_at = 0.0  # wall clock, for the batch
        self._opened_at = 0.0  # monotonic, for the delay
        self._pending_bytes = 0  # open, waiting or handed out, and not acknowledged
        self._pending_messages = 0
        self._flow: PausableReader | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    # -- the reader's side

    @property
    def room(self) -> int:
        """How many messages the open batch still takes (at least one)."""
        return self._batch_messages - len(self.topics)

    @property
    def room_bytes(self) -> int:
        """How many bytes the open batch still takes (at least one); the message that reaches it closes it."""
        return self._batch_bytes - self._size

    @property
    def pending_bytes(self) -> int:
        """Bytes received and not acknowledged, wherever they are."""
        return self._pending_bytes

    @property
    def pending_messages(self) -> int:
        """Messages received and not acknowledged, wherever they are."""
        return self._pending_messages

    def attach(self, flow: PausableReader) -> None:
        """Take a new connection, whose reading is paused and resumed from here."""
        self._flow = flow

    def detach(self) -> None:
        """Forget all that the lost connection left: what was not acknowledged comes again.

        A batch that is in the pipeline's hands stays valid; its acknowledgement is stale.
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
        """Put an unreadable packet, with its id where it has one, at its place in the order."""
        self._poison.append(raw)
        if packet_id is not None:
            self.packet_ids.append(packet_id)
        self._counters.poison += 1
        self.settle(len(raw))

    def settle(self, size: int) -> None:
        """Account for what was appended since the last call.

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

    # -- the pipeline's side

    async def next_batch(self) -> MessageBatch:
        """Wait for a batch, as ``Source.next_batch`` says."""
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
        """Account for an acknowledgement.

        Returns:
            The packet ids to acknowledge to the broker, or None when the delivery is stale or done.
        """
        delivery = batch.token
        if not isinstance(delivery, BatchToken):
            raise TypeError("the batch is another source's")
        if delivery.generation != self._generation or delivery.acknowledged:
            self._counters.stale_acks += 1
            return None
        delivery.acknowledged = True
        self._pending_bytes -= delivery.size
        self._pending_messages -= len(batch.topics)
        self._resume_if_idle_or_below()
        return delivery.packet_ids

    def stop(self) -> None:
        """Let every wait for a batch end with ``SourceStoppedError``."""
        self._stopped = True
        self._wake()

    # -- inside

    def _open_new(self) -> None:
        self.topics = []
        self.payloads = []
        self.packet_ids = []
        self.retained = []
        self.correlations = {}
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
        )
        self._full.append(batch)
        self._open_new()

    def _wait_left(self) -> float:
        """Seconds for which the open batch is still to be kept open."""
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
        """Go on reading below the limit; above it too once nothing is left to hand out.

        The second half keeps a consumer that wants more before it acknowledges from waiting for ever;
        memory then grows by one read at a time, up to the Receive Maximum.
        """
        if not self.paused or self._flow is None:
            return
        if self._pending_bytes <= self._pending_limit_bytes or not (self._full or self._size):
            self.paused = False
            self._flow.resume_reading()
