"""What came in, sorted: the first, pure part of the pipeline, the same for both doors.

Messages of a batch become samples, events, statuses and refusals, each still with the id of its box as the
sender wrote it. Whether that box exists is the next part's question. No database, no clock.
"""

from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import le
from typing import Any, Final, NamedTuple, overload
from uuid import UUID

from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE
from app.ingest.adapters import adapter_registry as adapters
from app.ingest.adapters.adapter_types import AdaptedMessage, DecodeContext, FormatAdapter, adapt_json
from app.ingest.codec.event_status_decoder import (
    BoxStatus,
    DeviceEvent,
    decode_event,
    decode_reported_config,
    decode_status,
)
from app.ingest.codec.payload_policy import PayloadGuard, build_content_rejection
from app.ingest.codec.telemetry_codec import Row, decode_singles, encode_sample, parse_topic
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES, InputRejection, RejectedError
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import (
    INGEST_IGNORED,
    get_logger,
    list_error_frames,
    redact_error,
)


class ReceivedMessage(NamedTuple):
    """One message of a batch, as it came. `topic` is None at the HTTP door."""

    topic: str | None
    payload: bytes


class BatchRejection(NamedTuple):
    """One refusal: which message, whose, why, and the part of the payload that is concerned.

    `size` is how many bytes it was, where they may not be kept and `part` is empty.
    """

    origin: int
    box: str | None
    rejection: InputRejection
    part: bytes
    size: int | None = None


class MessageColumns(Sequence[ReceivedMessage]):
    """Messages as two columns: of most of them nobody ever asks for more than their place."""

    def __init__(self, topics: Sequence[str], payloads: Sequence[bytes]) -> None:
        self._topics = topics
        self._payloads = payloads

    def __len__(self) -> int:
        """How many there are."""
        return len(self._topics)

    @overload
    def __getitem__(self, index: int) -> ReceivedMessage: ...

    @overload
    def __getitem__(self, index: slice) -> "MessageColumns": ...

    def __getitem__(self, index: int | slice) -> "ReceivedMessage | MessageColumns":
        """One message, or some of them."""
        if isinstance(index, slice):
            return MessageColumns(self._topics[index], self._payloads[index])
        return ReceivedMessage(self._topics[index], self._payloads[index])


@dataclass(slots=True)
class DecodedBatch:
    """A sorted batch. `origins` are indexes into `messages`.

    Attributes:
        door: "mqtt" or "http".
        messages: what came.
        boxes, rows, origins: the samples: box id, (time µs, seq, values), message; parallel lists.
        events: (box id, event, message).
        statuses: (box id, status, message), in order of arrival.
        configs: (box id, reported configuration, message), in order of arrival.
        turned: what was refused so far.
        organisation_id: whose key the HTTP caller used: what is refused without a known box is shown to it.
        limit: whose boxes alone may be written to; None for the broker's door, where the broker has checked
            whose topic it is.
        until: how many of the messages are in it; the others are to be sorted once these are stored.
        places: of each sample its place in the call, where that is known; parallel to the samples.
        by_event: each message is one event of a call: its number is the event's place.
        correlations: the MQTT 5 correlation data of the messages that have some.
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
    positions: list[int] = field(default_factory=list)
    has_event_per_message: bool = False
    correlations: Mapping[int, bytes] = field(default_factory=dict)
    message_count: int = field(init=False)
    guard: PayloadGuard = field(default_factory=PayloadGuard)

    def __post_init__(self) -> None:
        self.message_count = len(self.messages)

    def refuse(
        self, origin: int, box: str | None, rejection: InputRejection, part: bytes | None = None
    ) -> None:
        """Refuse a message, or a part of it: what must never enter is found here, and kept no further."""
        assessment = self.guard.assess(origin, self.messages[origin], box, part)
        kept = self.messages[origin].payload if part is None else part
        if assessment.finding is not None:
            self.rejections.append(
                BatchRejection(origin, box, build_content_rejection(assessment.finding, rejection), b"")
            )
        elif assessment.readable:
            self.rejections.append(BatchRejection(origin, box, rejection, kept))
        else:
            self.rejections.append(BatchRejection(origin, box, rejection, b"", len(kept)))

    def __len__(self) -> int:
        """How many things there are to store: samples, events, statuses, configurations and refusals."""
        return sum(len(part) for part in self._parts())

    def _parts(self) -> tuple[Sized, ...]:
        return (self.rows, self.events, self.statuses, self.configs, self.rejections)

    def put_in_order(self) -> None:
        """Put the samples into the order of arrival: those in other formats were read before all others."""
        origins = self.origins
        if all(map(le, origins, islice(origins, 1, None))):
            return
        order = sorted(range(len(origins)), key=origins.__getitem__)
        self.boxes = list(map(self.boxes.__getitem__, order))
        self.rows = list(map(self.rows.__getitem__, order))
        self.origins = list(map(origins.__getitem__, order))

    def arrivals(self) -> list[tuple[int, int, int]]:
        """All things to store in the order of arrival: (message, which of `_parts`, place in it)."""
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
        """Some of the things to store, by the order of arrival, and in that order."""
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
        """What becomes of a single thing that the database refuses: a refusal, under the same box and seq."""
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
                # The database's words may have of it what nobody is to keep.
                detail, seq, part = "It was refused, and could not be counted.", former.seq, b""
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


_log = get_logger(__name__)
_KNOWN_TOPICS: Final[dict[str, tuple[str, str] | None]] = {}
_KNOWN_LIMIT: Final = 200_000
_KNOWN_LENGTH: Final = 128
# What a box keeps at the broker, and the broker gives anew with each subscription.
_RETAINED: Final = frozenset({"status", "config/reported"})


def _route(topic: str) -> tuple[str, str] | None:
    """The box and kind of a topic. Fleets repeat their topics: the answers are kept, up to a limit.

    A topic may have 64 KiB: such are not kept.
    """
    answer = parse_topic(topic) or adapters.match_topic(topic)
    if len(topic) <= _KNOWN_LENGTH:
        if len(_KNOWN_TOPICS) >= _KNOWN_LIMIT:
            _KNOWN_TOPICS.clear()
        _KNOWN_TOPICS[topic] = answer
    return answer


# What one compressed message may hold: no more than the broker takes of one that is not. And how much is
# inflated before a batch is cut: one of a few megabytes could otherwise fill the memory.
_INFLATED_BYTES: Final = 2**20
_INFLATED_BATCH_BYTES: Final = 8 * 2**20


@dataclass(slots=True)
class _Clock:
    """When a batch arrived, and how much of it has been inflated so far."""

    now_us: int
    max_future_us: int
    inflated: int = 0

    def arrival(self, box: str) -> DecodeContext:
        return DecodeContext(box, self.now_us, self.max_future_us, _INFLATED_BYTES)


def decode_batch(
    topics: Sequence[str],
    payloads: Sequence[bytes],
    *,
    retained: Sequence[int] = (),
    poison: Sequence[bytes] = (),
    now_us: int,
    max_future_us: int,
) -> DecodedBatch:
    """Sort a batch of MQTT messages, or as many of the first as memory allows: see `DecodedBatch.until`.

    Args:
        topics: one per message.
        payloads: one per message.
        retained: indexes of messages that the broker had kept.
        poison: packets that no MQTT codec could read; sorted with the last of the messages.
        now_us: the time of arrival (µs since the epoch).
        max_future_us: how far a sample's time may lie ahead of it.
    """
    intake = DecodedBatch("mqtt", MessageColumns(topics, payloads))
    clock = _Clock(now_us, max_future_us)
    kept = frozenset(retained)
    quick: list[int] = []
    boxes: list[str] = []
    for origin, topic in enumerate(topics):
        route = _KNOWN_TOPICS[topic] if topic in _KNOWN_TOPICS else _route(topic)
        if route is not None and route[1] == "telemetry" and origin not in kept:
            quick.append(origin)
            boxes.append(route[0])
        else:
            with _guarded(intake, origin, None if route is None else route[0]):
                _sort_other(intake, origin, route, clock, is_retained=origin in kept)
            if clock.inflated > _INFLATED_BATCH_BYTES:
                intake.message_count = origin + 1
                break
    rows: Sequence[Row | None] = [None] * len(quick)
    with suppress(Exception):  # one by one below, where the message at fault is found
        rows = decode_singles([payloads[origin] for origin in quick], now_us, max_future_us)
    for box, origin, row in zip(boxes, quick, rows, strict=True):
        if row is None:
            with _guarded(intake, origin, box):
                add_telemetry(intake, box, origin, now_us=now_us, max_future_us=max_future_us)
        else:
            intake.boxes.append(box)
            intake.rows.append(row)
            intake.origins.append(origin)
    intake.put_in_order()
    for packet in poison if intake.message_count == len(topics) else ():
        origin = len(intake.messages)
        intake.messages = [*intake.messages, ReceivedMessage(None, packet)]
        detail = "An MQTT packet that could not be read came again and again"
        intake.refuse(origin, None, InputRejection("malformed_packet", detail))
    return intake


@contextmanager
def _guarded(intake: DecodedBatch, origin: int, box: str | None) -> Iterator[None]:
    """Refuse a message that our own code fails on: it would come again, and end the role each time."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (whatever it is, it must not come again for ever)
        # Neither the topic nor the error's own words: both may have of it what nobody is to keep.
        _log.error("message_not_sorted", error=redact_error(error), at=list_error_frames(error))
        rejection = InputRejection(
            "undecodable", f"Vigie failed on it: {type(error).__name__}. It is in the log."
        )
        intake.refuse(origin, box, rejection)


def add_telemetry(intake: DecodedBatch, box: str, origin: int, *, now_us: int, max_future_us: int) -> None:
    """Sort one telemetry message that is a batch, or bad, or written in an unusual way."""
    arrival = DecodeContext(box, now_us, max_future_us, 0)
    add_adapted_message(intake, origin, adapt_json(intake.messages[origin].payload, box, arrival))


def add_adapted_message(intake: DecodedBatch, origin: int, adapted: AdaptedMessage) -> None:
    """Add what a message was decoded to."""
    intake.boxes.extend(box for box, _ in adapted.samples)
    intake.rows.extend(row for _, row in adapted.samples)
    intake.origins.extend([origin] * len(adapted.samples))
    for box, rejection, part in adapted.refusals:
        intake.refuse(origin, box, rejection, part)


def add_foreign_message(
    intake: DecodedBatch, origin: int, adapter: FormatAdapter, arrival: DecodeContext
) -> AdaptedMessage:
    """Sort one message in another format than Vigie's own."""
    try:
        adapted = adapter.decode(intake.messages[origin].payload, arrival)
    except RejectedError as error:
        intake.refuse(origin, arrival.box, error.rejection())
        return AdaptedMessage()
    if adapted.ignored:
        INGEST_IGNORED.labels(adapter.name).inc(adapted.ignored)
    add_adapted_message(intake, origin, adapted)
    return adapted


def _sort_other(
    intake: DecodedBatch, origin: int, route: tuple[str, str] | None, clock: _Clock, *, is_retained: bool
) -> None:
    """Sort a message that is not plain telemetry, or is a retained one."""
    as_storage_refusal: InputRejection | None = None
    box: str | None = None
    if route is None:
        as_storage_refusal = InputRejection(
            "topic",
            "No box publishes on this topic: vigie/v1/{box}/telemetry, event, status, config/reported",
        )
    else:
        box, kind = route
        if is_retained and kind not in _RETAINED:
            as_storage_refusal = InputRejection(
                "retained_message", "Publish telemetry and events without the retain flag"
            )
        elif kind in adapters.BY_NAME:
            adapted = add_foreign_message(intake, origin, adapters.BY_NAME[kind], clock.arrival(box))
            clock.inflated += adapted.inflated
        else:
            as_storage_refusal = _sort_own(intake, origin, box, kind, clock)
    if as_storage_refusal is not None:
        intake.refuse(origin, box, as_storage_refusal)


def _sort_own(intake: DecodedBatch, origin: int, box: str, kind: str, clock: _Clock) -> InputRejection | None:
    """Sort a message of Vigie's own that is not telemetry; why, where it is refused."""
    payload = intake.messages[origin].payload
    decoded: BoxStatus | DeviceEvent | dict[str, Any] | InputRejection
    if kind == "status":
        decoded = decode_status(payload)
    elif kind == "config/reported":
        decoded = decode_reported_config(payload)
    elif kind == "event":
        decoded = decode_event(payload, clock.now_us, clock.max_future_us)
    else:
        names = ", ".join(each.topic for each in adapters.ADAPTERS if each.topic is not None)
        return InputRejection("topic", f"Telemetry in other formats has its own topics: {names}")
    if isinstance(decoded, BoxStatus):
        intake.statuses.append((box, decoded, origin))
    elif isinstance(decoded, DeviceEvent):
        intake.events.append((box, decoded, origin))
    elif isinstance(decoded, dict):
        intake.configs.append((box, decoded, origin))
    else:
        return decoded
    return None
