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

from app.catalogue.purposes import PURPOSE_OF_EVENT
from app.ingest.adapters import adapter_registry as adapters
from app.ingest.adapters.adapter_types import Adapted, Adapter, Arrival, adapt_json
from app.ingest.codec.event_status_decoder import (
    Event,
    Status,
    decode_event,
    decode_reported_config,
    decode_status,
)
from app.ingest.codec.payload_policy import Guard, refusal
from app.ingest.codec.telemetry_codec import Row, decode_singles, encode_sample, parse_topic
from app.platform.kernel.rejection_codes import NEVER_KEPT, RejectedError, Rejection
from app.platform.kernel.tenant_scope import Reach
from app.platform.observability.log_redaction import told, where
from app.platform.observability.metrics_and_logs import INGEST_IGNORED, get_logger


class Sent(NamedTuple):
    """One message of a batch, as it came. `topic` is None at the HTTP door."""

    topic: str | None
    payload: bytes


class Turned(NamedTuple):
    """One refusal: which message, whose, why, and the part of the payload that is concerned.

    `size` is how many bytes it was, where they may not be kept and `part` is empty.
    """

    origin: int
    box: str | None
    rejection: Rejection
    part: bytes
    size: int | None = None


class Messages(Sequence[Sent]):
    """Messages as two columns: of most of them nobody ever asks for more than their place."""

    def __init__(self, topics: Sequence[str], payloads: Sequence[bytes]) -> None:
        self._topics = topics
        self._payloads = payloads

    def __len__(self) -> int:
        """How many there are."""
        return len(self._topics)

    @overload
    def __getitem__(self, index: int) -> Sent: ...

    @overload
    def __getitem__(self, index: slice) -> "Messages": ...

    def __getitem__(self, index: int | slice) -> "Sent | Messages":
        """One message, or some of them."""
        if isinstance(index, slice):
            return Messages(self._topics[index], self._payloads[index])
        return Sent(self._topics[index], self._payloads[index])


@dataclass(slots=True)
class Intake:
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
    messages: Sequence[Sent]
    boxes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    events: list[tuple[str, Event, int]] = field(default_factory=list)
    statuses: list[tuple[str, Status, int]] = field(default_factory=list)
    configs: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)
    turned: list[Turned] = field(default_factory=list)
    organisation_id: UUID | None = None
    limit: Reach | None = None
    places: list[int] = field(default_factory=list)
    by_event: bool = False
    correlations: Mapping[int, bytes] = field(default_factory=dict)
    until: int = field(init=False)
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        self.until = len(self.messages)

    def turn(self, origin: int, box: str | None, rejection: Rejection, part: bytes | None = None) -> None:
        """Refuse a message, or a part of it: what must never enter is found here, and kept no further."""
        judgement = self.guard.judge(origin, self.messages[origin], box, part)
        kept = self.messages[origin].payload if part is None else part
        if judgement.finding is not None:
            self.turned.append(Turned(origin, box, refusal(judgement.finding, rejection), b""))
        elif judgement.readable:
            self.turned.append(Turned(origin, box, rejection, kept))
        else:
            self.turned.append(Turned(origin, box, rejection, b"", len(kept)))

    def __len__(self) -> int:
        """How many things there are to store: samples, events, statuses, configurations and refusals."""
        return sum(len(part) for part in self._parts())

    def _parts(self) -> tuple[Sized, ...]:
        return (self.rows, self.events, self.statuses, self.configs, self.turned)

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
            [turned.origin for turned in self.turned],
        )
        return sorted(
            (origin, kind, place) for kind, part in enumerate(origins) for place, origin in enumerate(part)
        )

    def only(self, picked: range) -> "Intake":
        """Some of the things to store, by the order of arrival, and in that order."""
        places: list[list[int]] = [[], [], [], [], []]
        for _, kind, place in self.arrivals()[picked.start : picked.stop]:
            places[kind].append(place)
        samples, events, statuses, configs, turned = places
        return replace(
            self,
            boxes=[self.boxes[place] for place in samples],
            rows=[self.rows[place] for place in samples],
            origins=[self.origins[place] for place in samples],
            places=[self.places[place] for place in samples] if self.places else [],
            events=[self.events[place] for place in events],
            statuses=[self.statuses[place] for place in statuses],
            configs=[self.configs[place] for place in configs],
            turned=[self.turned[place] for place in turned],
        )

    def refused(self, detail: str) -> "Intake":
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
            purpose = PURPOSE_OF_EVENT.get(self.events[0][1].type)
        elif self.statuses or self.configs:
            box, _, origin = (*self.statuses, *self.configs)[0]
        else:
            origin, box, former, part, _ = self.turned[0]
            if former.code in NEVER_KEPT:
                # The database's words may have of it what nobody is to keep.
                detail, seq, part = "It was refused, and could not be counted.", former.seq, b""
        rejection = Rejection("storage_refused", detail, seq, purpose=purpose)
        turned = [Turned(origin, box, rejection, self.messages[origin].payload if part is None else part)]
        return replace(
            self, boxes=[], rows=[], origins=[], places=[], events=[], statuses=[], configs=[], turned=turned
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
    answer = parse_topic(topic) or adapters.route(topic)
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

    def arrival(self, box: str) -> Arrival:
        return Arrival(box, self.now_us, self.max_future_us, _INFLATED_BYTES)


def sort_messages(
    topics: Sequence[str],
    payloads: Sequence[bytes],
    *,
    retained: Sequence[int] = (),
    poison: Sequence[bytes] = (),
    now_us: int,
    max_future_us: int,
) -> Intake:
    """Sort a batch of MQTT messages, or as many of the first as memory allows: see `Intake.until`.

    Args:
        topics: one per message.
        payloads: one per message.
        retained: indexes of messages that the broker had kept.
        poison: packets that no MQTT codec could read; sorted with the last of the messages.
        now_us: the time of arrival (µs since the epoch).
        max_future_us: how far a sample's time may lie ahead of it.
    """
    intake = Intake("mqtt", Messages(topics, payloads))
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
                intake.until = origin + 1
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
    for packet in poison if intake.until == len(topics) else ():
        origin = len(intake.messages)
        intake.messages = [*intake.messages, Sent(None, packet)]
        detail = "An MQTT packet that could not be read came again and again"
        intake.turn(origin, None, Rejection("malformed_packet", detail))
    return intake


@contextmanager
def _guarded(intake: Intake, origin: int, box: str | None) -> Iterator[None]:
    """Refuse a message that our own code fails on: it would come again, and end the role each time."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (whatever it is, it must not come again for ever)
        # Neither the topic nor the error's own words: both may have of it what nobody is to keep.
        _log.error("message_not_sorted", error=told(error), at=where(error))
        rejection = Rejection("undecodable", f"Vigie failed on it: {type(error).__name__}. It is in the log.")
        intake.turn(origin, box, rejection)


def add_telemetry(intake: Intake, box: str, origin: int, *, now_us: int, max_future_us: int) -> None:
    """Sort one telemetry message that is a batch, or bad, or written in an unusual way."""
    arrival = Arrival(box, now_us, max_future_us, 0)
    add_adapted(intake, origin, adapt_json(intake.messages[origin].payload, box, arrival))


def add_adapted(intake: Intake, origin: int, adapted: Adapted) -> None:
    """Add what a message was decoded to."""
    intake.boxes.extend(box for box, _ in adapted.samples)
    intake.rows.extend(row for _, row in adapted.samples)
    intake.origins.extend([origin] * len(adapted.samples))
    for box, rejection, part in adapted.refusals:
        intake.turn(origin, box, rejection, part)


def add_foreign(intake: Intake, origin: int, adapter: Adapter, arrival: Arrival) -> Adapted:
    """Sort one message in another format than Vigie's own."""
    try:
        adapted = adapter.decode(intake.messages[origin].payload, arrival)
    except RejectedError as error:
        intake.turn(origin, arrival.box, error.rejection())
        return Adapted()
    if adapted.ignored:
        INGEST_IGNORED.labels(adapter.name).inc(adapted.ignored)
    add_adapted(intake, origin, adapted)
    return adapted


def _sort_other(
    intake: Intake, origin: int, route: tuple[str, str] | None, clock: _Clock, *, is_retained: bool
) -> None:
    """Sort a message that is not plain telemetry, or is a retained one."""
    refused: Rejection | None = None
    box: str | None = None
    if route is None:
        refused = Rejection(
            "topic",
            "No box publishes on this topic: vigie/v1/{box}/telemetry, event, status, config/reported",
        )
    else:
        box, kind = route
        if is_retained and kind not in _RETAINED:
            refused = Rejection("retained_message", "Publish telemetry and events without the retain flag")
        elif kind in adapters.BY_NAME:
            adapted = add_foreign(intake, origin, adapters.BY_NAME[kind], clock.arrival(box))
            clock.inflated += adapted.inflated
        else:
            refused = _sort_own(intake, origin, box, kind, clock)
    if refused is not None:
        intake.turn(origin, box, refused)


def _sort_own(intake: Intake, origin: int, box: str, kind: str, clock: _Clock) -> Rejection | None:
    """Sort a message of Vigie's own that is not telemetry; why, where it is refused."""
    payload = intake.messages[origin].payload
    decoded: Status | Event | dict[str, Any] | Rejection
    if kind == "status":
        decoded = decode_status(payload)
    elif kind == "config/reported":
        decoded = decode_reported_config(payload)
    elif kind == "event":
        decoded = decode_event(payload, clock.now_us, clock.max_future_us)
    else:
        names = ", ".join(each.topic for each in adapters.ADAPTERS if each.topic is not None)
        return Rejection("topic", f"Telemetry in other formats has its own topics: {names}")
    if isinstance(decoded, Status):
        intake.statuses.append((box, decoded, origin))
    elif isinstance(decoded, Event):
        intake.events.append((box, decoded, origin))
    elif isinstance(decoded, dict):
        intake.configs.append((box, decoded, origin))
    else:
        return decoded
    return None
