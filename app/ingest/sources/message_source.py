"""Defines the interface from which the ingest pipeline reads message batches, whatever the transport.

Messages arrive in batches. A source acknowledges nothing before `acknowledge` is called, which the pipeline
does in the order of arrival and only after its commit. Unacknowledged messages are delivered again on the
next connection. The interface is small so that a partitioned log can replace MQTT.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol


class SourceStoppedError(Exception):
    """Raised by `next_batch` after the source was stopped."""


class MessageBatch:
    """Messages that were received together, as parallel lists (no object per message).

    Attributes:
        topics: One topic per message, in arrival order.
        payloads: One undecoded payload per message.
        retained: Indexes (ascending) of the messages that carry the retained flag; nearly always empty.
        correlations: MQTT 5 correlation data, by the index of its message; nearly always empty.
        traceparents: The W3C trace context of messages, by index; empty where telemetry is off.
        poison: Raw packets that no codec could read and that were delivered repeatedly, for quarantine under
            `malformed_packet`. They are acknowledged together with the batch. A batch may hold nothing else:
            its length and truth value count messages only.
        received_at: Unix time in seconds at which the batch's first message arrived.
        edges: (index after the last message, edge) of each run of messages that one edge received, in order;
            empty with a single broker.
        token: The source's own data for acknowledging the batch.
    """

    __slots__ = (
        "correlations",
        "edges",
        "payloads",
        "poison",
        "received_at",
        "retained",
        "token",
        "topics",
        "traceparents",
    )

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
        traceparents: Mapping[int, str] = MappingProxyType({}),
        edges: Sequence[tuple[int, str]] = (),
    ) -> None:
        self.topics = topics
        self.payloads = payloads
        self.retained = retained
        self.poison = poison
        self.received_at = received_at
        self.token = token
        self.correlations = correlations
        self.traceparents = traceparents
        self.edges = edges

    def __len__(self) -> int:
        return len(self.topics)

    def since(self, begin: int) -> "MessageBatch":
        """Return the messages from an index on, with the poison packets."""
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
            traceparents={index - begin: text for index, text in self.traceparents.items() if index >= begin},
            edges=[(end - begin, edge) for end, edge in self.edges if end > begin],
        )


@dataclass(slots=True)
class SourceCounters:
    """Counters of a source since it was created.

    Attributes:
        messages: Messages received, repeats included.
        bytes: Bytes of those messages.
        reconnects: Connections established after the first one.
        malformed: Unreadable packets, each delivery of the same one included.
        poison: Unreadable packets that were skipped and returned in `MessageBatch.poison`.
        stale_acks: Batches acknowledged after their connection had ended: they are delivered again.
        pauses: Times at which reading was paused because too many bytes were unacknowledged.
    """

    messages: int = 0
    bytes: int = 0
    reconnects: int = 0
    malformed: int = 0
    poison: int = 0
    stale_acks: int = 0
    pauses: int = 0


class MessageSource(Protocol):
    """A source of messages."""

    async def start(self) -> None:
        """Begin to connect in the background. A refused connection is retried, never raised."""

    async def next_batch(self) -> MessageBatch:
        """Wait for the next batch: closed by its number of messages, its bytes or its age.

        One consumer at a time. Cancelling the wait loses nothing.

        Raises:
            SourceStoppedError: The source was stopped.
        """

    def acknowledge(self, batch: MessageBatch) -> None:
        """Acknowledge all of a batch; to be called in arrival order, after the commit.

        Idempotent. If the connection that delivered the batch is gone, only `stale_acks` is counted.
        """

    async def stop(self) -> None:
        """Stop reading and disconnect. Unacknowledged messages are delivered to the next connection."""

    @property
    def connected(self) -> bool:
        """Whether the source is connected and subscribed."""

    @property
    def counters(self) -> SourceCounters:
        """The live counters."""
