"""What every source of messages promises to the pipeline.

Owns the interface between a transport and the pipeline, and nothing else: no socket, no MQTT, no
decoding. It is this small so that a partitioned log can take the place of MQTT.

The promise: messages come in batches; nothing is acknowledged to the sender's side before
``acknowledge`` is called, which the pipeline does in arrival order and only after its commit;
whatever was not acknowledged when a connection ends comes again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol


class SourceStoppedError(Exception):
    """Raised by ``next_batch`` once the source was stopped: no batch will ever come."""


class MessageBatch:
    """Messages that were received together, as parallel lists (no object per message).

    Attributes:
        topics: One topic per message, in arrival order.
        payloads: One undecoded payload per message.
        retained: Indexes (ascending) of the messages that carry the retained flag; nearly always empty.
        correlations: MQTT 5 correlation data, by the index of its message; nearly always empty.
        poison: Raw packets that no codec could read and that kept coming back, for quarantine under
            ``malformed_packet``. They are acknowledged together with the batch. A batch may hold nothing
            else: its length, and so its truth value, tells of messages only.
        received_at: Unix time in seconds at which the batch's first message arrived.
        token: What the source needs to acknowledge the batch; of no meaning to anybody else.
    """

    __slots__ = ("correlations", "payloads", "poison", "received_at", "retained", "token", "topics")

    def __init__(
        self,
        *,
        topics: list[str],
        payloads: list[bytes],
        retained: list[int],
        poison: list[bytes],
        received_at: float,
        token: object,
        correlations: Mapping[int, bytes] = MappingProxyType({}),
    ) -> None:
        self.topics = topics
        self.payloads = payloads
        self.retained = retained
        self.poison = poison
        self.received_at = received_at
        self.token = token
        self.correlations = correlations

    def __len__(self) -> int:
        return len(self.topics)

    def since(self, begin: int) -> "MessageBatch":
        """The messages from one on, and what is to come with the last of them."""
        if not begin:
            return self
        return MessageBatch(
            topics=self.topics[begin:],
            payloads=self.payloads[begin:],
            retained=[index - begin for index in self.retained if index >= begin],
            poison=self.poison,
            received_at=self.received_at,
            token=self.token,
            correlations={index - begin: data for index, data in self.correlations.items() if index >= begin},
        )


@dataclass(slots=True)
class SourceCounters:
    """What a source has seen since it was made. Only ever counted up.

    Attributes:
        messages: Messages received, repeats included.
        bytes: Bytes of those messages.
        reconnects: Connections established after the first one.
        malformed: Unreadable packets seen, each sighting of the same one included.
        poison: Unreadable packets that were skipped and handed out in ``MessageBatch.poison``.
        stale_acks: Batches acknowledged in vain, because their connection was gone: they come again.
        pauses: Times at which reading was paused because too many bytes waited for acknowledgement.
    """

    messages: int = 0
    bytes: int = 0
    reconnects: int = 0
    malformed: int = 0
    poison: int = 0
    stale_acks: int = 0
    pauses: int = 0


class MessageSource(Protocol):
    """A place that messages come from."""

    async def start(self) -> None:
        """Begin to connect, in the background; returns at once. A refusal is retried, never raised."""

    async def next_batch(self) -> MessageBatch:
        """Wait for the next batch: closed by its number of messages, its bytes or its age.

        One consumer at a time. Cancelling the wait loses nothing.

        Raises:
            SourceStoppedError: The source was stopped.
        """

    def acknowledge(self, batch: MessageBatch) -> None:
        """Acknowledge all of a batch; to be called in arrival order, after the commit.

        Harmless (and counted) when the connection that delivered the batch is gone, and when called twice.
        """

    async def stop(self) -> None:
        """Stop reading and disconnect; what was not acknowledged comes again to the next connection."""

    @property
    def connected(self) -> bool:
        """Whether the source is connected and subscribed."""

    @property
    def counters(self) -> SourceCounters:
        """The live counters."""
