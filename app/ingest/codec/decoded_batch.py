"""Holds a batch of decoded messages: samples, events, statuses, configurations and rejections. Pure.

It decides which refused payloads may be stored: a refusal with forbidden content gets the code of that
content and is not stored. Binary data is not stored either, but keeps its own code. Only 1 MiB of a batch is
examined. Refused payloads after that are not stored.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final, NamedTuple, overload
from uuid import UUID

from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE
from app.ingest.codec.event_and_status_decoder import BoxStatus, DeviceEvent
from app.ingest.codec.telemetry_codec import Row, encode_sample
from app.platform.content_policy.content_scanner import NOT_EXAMINED_FINDING, ContentFinding, examine_topic
from app.platform.content_policy.refused_payload_assessment import (
    SEEN_BYTES,
    PayloadAssessment,
    assess_payload,
)
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES, InputRejection
from app.platform.kernel.tenant_scope import EMPTY_SCOPE, TenantScope

EXAMINED_BYTES: Final = 2**20
"""Bytes of a batch that are examined: at most two seconds of work (0.1 s for 64 KiB of quotation marks)."""

_UNEXAMINED: Final = PayloadAssessment(None, readable=False)
_FOREIGN_LEVEL: Final = 2


def build_content_rejection(finding: ContentFinding, former: InputRejection) -> InputRejection:
    """Return a rejection for forbidden content in place of the former one."""
    return InputRejection(finding.code, finding.detail, former.seq, former.index, former.purpose)


@dataclass(slots=True)
class PayloadGuard:
    """The content check of one batch.

    Attributes:
        examined_bytes: bytes examined so far.
        last_message: the message that was examined last and its result, since many of its parts may be
            refused.
    """

    examined_bytes: int = 0
    last_message: tuple[int, PayloadAssessment] | None = field(default=None, repr=False)

    def assess(
        self, origin: int, message: tuple[str | None, bytes], box: str | None, part: bytes | None
    ) -> PayloadAssessment:
        """Assess a refused payload.

        Args:
            origin: index of the message in the batch.
            message: its topic, if there is one, and its whole payload: content that was split into parts is
                found in the whole.
            box: id of the box, if it is known.
            part: the refused part; None for the whole message.
        """
        topic, payload = message
        finding = None if topic is None else _examine_topic(topic, box)
        if finding is not None:
            return PayloadAssessment(finding, readable=False)
        if self.last_message is None or self.last_message[0] != origin:
            self.last_message = (origin, self._assess(payload))
        assessment = self.last_message[1]
        if assessment.finding is None and part is not None:
            # The part was decompressed or decoded, or lies beyond the examined bytes of the whole.
            assessment = self._assess(part)
        return assessment

    def _assess(self, data: bytes) -> PayloadAssessment:
        if self.examined_bytes >= EXAMINED_BYTES:
            return _UNEXAMINED
        self.examined_bytes += min(len(data), SEEN_BYTES)
        return assess_payload(data)


def _examine_topic(topic: str, box: str | None) -> ContentFinding | None:
    """Examine the levels of a topic, except the box's id, which the registering person chose."""
    if len(topic) > SEEN_BYTES:
        return NOT_EXAMINED_FINDING
    levels = topic.split("/")
    skipped = {box} if box is not None else set(levels[_FOREIGN_LEVEL : _FOREIGN_LEVEL + 1])
    return examine_topic(topic, skip=skipped)


class ReceivedMessage(NamedTuple):
    """One message as it was received. `topic` is None for HTTP."""

    topic: str | None
    payload: bytes


class BatchRejection(NamedTuple):
    """The rejection of a message or of a part of it.

    Attributes:
        origin: index of the message in the batch.
        box: id of the box, if it is known.
        rejection: the rejection code and detail.
        part: the refused part of the payload.
        size: its size in bytes, if the part itself may not be stored and `part` is empty.
    """

    origin: int
    box: str | None
    rejection: InputRejection
    part: bytes
    size: int | None = None


class MessageColumns(Sequence[ReceivedMessage]):
    """Messages as two columns. Most are never needed as objects."""

    def __init__(self, topics: Sequence[str], payloads: Sequence[bytes]) -> None:
        self._topics = topics
        self._payloads = payloads

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self._topics)

    @overload
    def __getitem__(self, index: int) -> ReceivedMessage: ...

    @overload
    def __getitem__(self, index: slice) -> "MessageColumns": ...

    def __getitem__(self, index: int | slice) -> "ReceivedMessage | MessageColumns":
        """Return one message, or a range of messages."""
        if isinstance(index, slice):
            return MessageColumns(self._topics[index], self._payloads[index])
        return ReceivedMessage(self._topics[index], self._payloads[index])


@dataclass(slots=True)
class DecodedBatch:
    """A decoded batch. `origins` are indexes into `messages`.

    Attributes:
        door: "mqtt" or "http".
        messages: the received messages.
        boxes, rows, origins: the samples: box id, (time µs, seq, values), message; parallel lists.
        events: (box id, event, message).
        statuses: (box id, status, message), in order of arrival.
        configs: (box id, reported configuration, message), in order of arrival.
        rejections: what was refused so far.
        organisation_id: the organisation of the HTTP caller, which sees rejections without a known box.
        tenant_scope: the boxes that the sender may write to; None for MQTT, where the broker checks topics.
        traceparents: the W3C trace context of messages, by index; empty where telemetry is off.
        received_at: when the first message arrived (Unix time); 0: unknown.
        message_count: number of decoded messages; the others must be decoded after these are stored.
        positions: the index of each sample in its request, if known; parallel to the samples.
        has_event_per_message: whether message n is the n-th event of an HTTP request.
        correlations: MQTT 5 correlation data by message.
        edges: (index after the last message, edge) of each run of messages that one edge received, in order;
            empty with a single broker.
        retained: the messages with the retained flag.
        guard: decides which refused payloads may be stored.
        calls: the batches of the HTTP calls that `join_calls` joined into this one; else empty. The caller,
            `has_event_per_message` and the guard are those of the call.
        call_numbers: the index of each message's call in `calls`; parallel to the messages.
        call_starts: the index of each call's first message.
    """

    door: str
    messages: Sequence[ReceivedMessage]
    boxes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    events: list[tuple[str, DeviceEvent, int]] = field(default_factory=list)
    statuses: list[tuple[str, BoxStatus, int]] = field(default_factory=list)
    configs: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)
    rejections: list[BatchRejection] = field(default_factory=list)
    organisation_id: UUID | None = None
    tenant_scope: TenantScope | None = None
    positions: list[int | None] = field(default_factory=list)
    has_event_per_message: bool = False
    correlations: Mapping[int, bytes] = field(default_factory=dict)
    edges: Sequence[tuple[int, str]] = ()
    retained: frozenset[int] = frozenset()
    traceparents: Mapping[int, str] = field(default_factory=dict)
    received_at: float = 0.0
    message_count: int = field(init=False)
    guard: PayloadGuard = field(default_factory=PayloadGuard)
    calls: Sequence["DecodedBatch"] = ()
    call_numbers: list[int] = field(default_factory=list)
    call_starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.message_count = len(self.messages)

    def refuse(
        self,
        origin: int,
        box: str | None,
        rejection: InputRejection,
        part: bytes | None = None,
        *,
        is_examined: bool = True,
    ) -> None:
        """Refuse a message or a part of it. Forbidden content is detected here and not stored.

        Args:
            origin: index of the message.
            box: id of the box, if it is known.
            rejection: the rejection code and detail.
            part: the refused part; None for the whole message.
            is_examined: False: an adapter could not examine the message as it is encoded. It is not stored.
        """
        assessment = self.guard.assess(origin, self.messages[origin], box, part)
        payload = self.messages[origin].payload if part is None else part
        if assessment.finding is not None:
            self.rejections.append(
                BatchRejection(origin, box, build_content_rejection(assessment.finding, rejection), b"")
            )
        elif assessment.readable and is_examined:
            self.rejections.append(BatchRejection(origin, box, rejection, payload))
        else:
            self.rejections.append(BatchRejection(origin, box, rejection, b"", len(payload)))

    def __len__(self) -> int:
        """Return the number of samples, events, statuses, configurations and rejections."""
        return sum(len(part) for part in self._parts())

    def _parts(self) -> tuple[Sized, ...]:
        return (self.rows, self.events, self.statuses, self.configs, self.rejections)

    def find_call(self, origin: int) -> "DecodedBatch":
        """Return the batch of the call that sent a message; the batch itself if it has no calls."""
        return self.calls[self.call_numbers[origin]] if self.calls else self

    def find_edge(self, origin: int) -> str | None:
        """Return the edge that received a message; None with a single broker."""
        index = bisect_right(self.edges, origin, key=itemgetter(0))
        return self.edges[index][1] if index < len(self.edges) else None

    def find_event_position(self, origin: int) -> int | None:
        """Return the index in its request of the event that is a message; None if it is unknown."""
        if not self.find_call(origin).has_event_per_message:
            return None
        return origin - self.call_starts[self.call_numbers[origin]] if self.calls else origin

    def split_calls(self) -> list[tuple[int, "DecodedBatch"]]:
        """Split a batch into its calls, with their indexes. A call without any thing is left out."""
        if not len(self):
            return []
        ends = [0, *self.list_call_ends(), len(self)]
        parts = [self.select(range(*edges)) for edges in pairwise(ends)]
        return [(self.call_numbers[part.arrivals()[0][0]], part) for part in parts]

    def list_call_ends(self) -> list[int]:
        """List how many things arrived, in order, up to the end of each call but the last one."""
        if not self.calls:
            return []
        numbers = [self.call_numbers[origin] for origin, _, _ in self.arrivals()]
        return [
            count
            for count, (number, following) in enumerate(pairwise(numbers), start=1)
            if number != following
        ]

    def arrivals(self) -> list[tuple[int, int, int]]:
        """List all things to store by arrival: (message, index in `_parts`, position in it)."""
        origins = (
            self.origins,
            *([thing[2] for thing in things] for things in (self.events, self.statuses, self.configs)),
            [refusal.origin for refusal in self.rejections],
        )
        return sorted(
            (origin, kind, position)
            for kind, part in enumerate(origins)
            for position, origin in enumerate(part)
        )

    def select(self, picked: range) -> "DecodedBatch":
        """Return a part of the batch, by the order of arrival."""
        positions: list[list[int]] = [[], [], [], [], []]
        for _, kind, position in self.arrivals()[picked.start : picked.stop]:
            positions[kind].append(position)
        samples, events, statuses, configs, rejections = positions
        return replace(
            self,
            boxes=[self.boxes[position] for position in samples],
            rows=[self.rows[position] for position in samples],
            origins=[self.origins[position] for position in samples],
            positions=[self.positions[position] for position in samples] if self.positions else [],
            events=[self.events[position] for position in events],
            statuses=[self.statuses[position] for position in statuses],
            configs=[self.configs[position] for position in configs],
            rejections=[self.rejections[position] for position in rejections],
        )

    def as_storage_refusal(self, detail: str) -> "DecodedBatch":
        """Turn the only thing of a batch into a rejection, after the database refused it."""
        box: str | None
        seq: int | None = None
        part: bytes | None = None
        purpose: str | None = None
        if self.rows:
            box, seq, origin = self.boxes[0], self.rows[0][1], self.origins[0]
            part = encode_sample(self.rows[0])  # of a message with many samples only this one is refused
        elif self.events:
            box, seq, origin = self.events[0][0], self.events[0][1].seq, self.events[0][2]
            purpose = PURPOSE_BY_EVENT_TYPE.get(self.events[0][1].type)
        elif self.statuses or self.configs:
            box, _, origin = (*self.statuses, *self.configs)[0]
        else:
            origin, box, former, part, _ = self.rejections[0]
            if former.code in NEVER_STORED_CODES:
                # The error of the database may quote content that must never be stored.
                detail, seq, part = (
                    "The message was refused, and the refusal could not be counted.",
                    former.seq,
                    b"",
                )
        rejection = InputRejection("storage_refused", detail, seq, purpose=purpose)
        rejections = [
            BatchRejection(origin, box, rejection, self.messages[origin].payload if part is None else part)
        ]
        return replace(
            self,
            boxes=[],
            rows=[],
            origins=[],
            positions=[],
            events=[],
            statuses=[],
            configs=[],
            rejections=rejections,
        )


def join_calls(calls: Sequence[DecodedBatch]) -> DecodedBatch:
    """Join the batches of HTTP calls into one, in their order. Each thing stays attributed to its call.

    The joined batch itself may write to no box: only the scopes of its calls count.
    """
    if len(calls) == 1:
        return calls[0]
    messages: list[ReceivedMessage] = []
    traceparents: dict[int, str] = {}
    joined = DecodedBatch(
        calls[0].door,
        messages,
        tenant_scope=EMPTY_SCOPE,
        traceparents=traceparents,
        received_at=min(call.received_at for call in calls),
        calls=tuple(calls),
    )
    for number, call in enumerate(calls):
        first = len(messages)
        messages += call.messages
        joined.call_starts.append(first)
        traceparents.update((first + origin, text) for origin, text in call.traceparents.items())
        joined.call_numbers += [number] * len(call.messages)
        joined.boxes += call.boxes
        joined.rows += call.rows
        joined.positions += call.positions or [None] * len(call.rows)
        joined.origins += [first + origin for origin in call.origins]
        joined.events += [(box, event, first + origin) for box, event, origin in call.events]
        joined.statuses += [(box, status, first + origin) for box, status, origin in call.statuses]
        joined.configs += [(box, config, first + origin) for box, config, origin in call.configs]
        joined.rejections += [each._replace(origin=first + each.origin) for each in call.rejections]
    joined.message_count = len(messages)
    return joined
