"""What came in, sorted: the first, pure part of the pipeline, the same for both doors.

Messages of a batch become samples, events, statuses and refusals, each still with the id of its box as the
sender wrote it. Whether that box exists is the next part's question. No database, no clock.
"""

from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.core.observability import get_logger
from app.core.reasons import Rejection
from app.ingest.codec import Row, decode_singles, decode_telemetry, encode_sample, parse_topic
from app.ingest.codec_messages import Event, Status, decode_event, decode_reported_config, decode_status


class Sent(NamedTuple):
    """One message of a batch, as it came. `topic` is None at the HTTP door."""

    topic: str | None
    payload: bytes


class Turned(NamedTuple):
    """One refusal: which message, whose, why, and the part of the payload that is concerned."""

    origin: int
    box: str | None
    rejection: Rejection
    part: bytes


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
        limit: the only organisation whose boxes may be written to; None for the broker's door, where the
            broker has checked whose topic it is, and for administrators.
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
    limit: UUID | None = None

    def __len__(self) -> int:
        """How many things there are to store: samples, events, statuses, configurations and refusals."""
        return sum(len(part) for part in self._parts())

    def _parts(self) -> tuple[Sized, ...]:
        return (self.rows, self.events, self.statuses, self.configs, self.turned)

    def only(self, picked: range) -> "Intake":
        """Some of the things to store, in their order: to find the one that the database refuses."""
        slices = []
        before = 0
        for part in self._parts():
            slices.append(slice(max(0, picked.start - before), max(0, picked.stop - before)))
            before += len(part)
        samples, events, statuses, configs, turned = slices
        return replace(
            self,
            boxes=self.boxes[samples],
            rows=self.rows[samples],
            origins=self.origins[samples],
            events=self.events[events],
            statuses=self.statuses[statuses],
            configs=self.configs[configs],
            turned=self.turned[turned],
        )

    def refused(self, detail: str) -> "Intake":
        """What becomes of a single thing that the database refuses: a refusal, under the same box and seq."""
        box: str | None
        seq: int | None = None
        part: bytes | None = None
        if self.rows:
            box, seq, origin = self.boxes[0], self.rows[0][1], self.origins[0]
            part = encode_sample(self.rows[0])  # of a message with many samples only this one is refused
        elif self.events:
            box, seq, origin = self.events[0][0], self.events[0][1].seq, self.events[0][2]
        elif self.statuses or self.configs:
            box, _, origin = (*self.statuses, *self.configs)[0]
        else:
            origin, box, _, part = self.turned[0]
        rejection = Rejection("storage_refused", detail, seq)
        turned = [Turned(origin, box, rejection, self.messages[origin].payload if part is None else part)]
        return replace(self, boxes=[], rows=[], origins=[], events=[], statuses=[], configs=[], turned=turned)


class _RawBatch(msgspec.Struct):
    samples: list[msgspec.Raw]


_log = get_logger(__name__)
_raw_batch: Final = msgspec.json.Decoder(_RawBatch)
_KNOWN_TOPICS: Final[dict[str, tuple[str, str] | None]] = {}
_KNOWN_LIMIT: Final = 200_000


def _route(topic: str) -> tuple[str, str] | None:
    """The box and kind of a topic. Fleets repeat their topics: the answers are kept, up to a limit."""
    if len(_KNOWN_TOPICS) >= _KNOWN_LIMIT:
        _KNOWN_TOPICS.clear()
    answer = _KNOWN_TOPICS[topic] = parse_topic(topic)
    return answer


def sort_messages(
    topics: Sequence[str],
    payloads: Sequence[bytes],
    *,
    retained: Sequence[int] = (),
    poison: Sequence[bytes] = (),
    now_us: int,
    max_future_us: int,
) -> Intake:
    """Sort a batch of MQTT messages.

    Args:
        topics: one per message.
        payloads: one per message.
        retained: indexes of messages that the broker had kept.
        poison: packets that no MQTT codec could read.
        now_us: the time of arrival (µs since the epoch).
        max_future_us: how far a sample's time may lie ahead of it.
    """
    intake = Intake("mqtt", list(map(Sent, topics, payloads)))
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
                _sort_other(
                    intake,
                    origin,
                    route,
                    is_retained=origin in kept,
                    now_us=now_us,
                    max_future_us=max_future_us,
                )
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
    for packet in poison:
        origin = len(intake.messages)
        intake.messages = [*intake.messages, Sent(None, packet)]
        rejection = Rejection(
            "malformed_packet", "An MQTT packet that could not be read came again and again"
        )
        intake.turned.append(Turned(origin, None, rejection, packet))
    return intake


@contextmanager
def _guarded(intake: Intake, origin: int, box: str | None) -> Iterator[None]:
    """Refuse a message that our own code fails on: it would come again, and end the role each time."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (whatever it is, it must not come again for ever)
        _log.exception("message_not_sorted", topic=intake.messages[origin].topic)
        rejection = Rejection("undecodable", f"Vigie failed on it: {type(error).__name__}. It is in the log.")
        intake.turned.append(Turned(origin, box, rejection, intake.messages[origin].payload))


def add_telemetry(intake: Intake, box: str, origin: int, *, now_us: int, max_future_us: int) -> None:
    """Sort one telemetry message that is a batch, or bad, or written in an unusual way."""
    payload = intake.messages[origin].payload
    decoded = decode_telemetry(payload, now_us, max_future_us)
    add_decoded(intake, box, origin, decoded.samples, decoded.rejections)


def add_decoded(
    intake: Intake, box: str, origin: int, samples: Sequence[Row], rejections: Sequence[Rejection]
) -> None:
    """Add what a message was decoded to."""
    intake.boxes.extend([box] * len(samples))
    intake.rows.extend(samples)
    intake.origins.extend([origin] * len(samples))
    if not rejections:
        return
    payload = intake.messages[origin].payload
    # Only a sample of a batch has an index. The batch's key may be written with escapes: read it.
    indexed = any(rejection.index is not None for rejection in rejections)
    parts = _raw_batch.decode(payload).samples if indexed else []
    for rejection in rejections:
        part = payload if rejection.index is None else bytes(parts[rejection.index])
        intake.turned.append(Turned(origin, box, rejection, part))


def _sort_other(
    intake: Intake,
    origin: int,
    route: tuple[str, str] | None,
    *,
    is_retained: bool,
    now_us: int,
    max_future_us: int,
) -> None:
    payload = intake.messages[origin].payload
    if route is None:
        rejection = Rejection(
            "topic",
            "No box publishes on this topic: vigie/v1/{box}/telemetry, event, status, config/reported",
        )
        intake.turned.append(Turned(origin, None, rejection, payload))
        return
    box, kind = route
    if kind == "status":
        status = decode_status(payload)
        if isinstance(status, Rejection):
            intake.turned.append(Turned(origin, box, status, payload))
        else:
            intake.statuses.append((box, status, origin))
    elif kind == "config/reported":
        config = decode_reported_config(payload)
        if isinstance(config, Rejection):
            intake.turned.append(Turned(origin, box, config, payload))
        else:
            intake.configs.append((box, config, origin))
    elif is_retained:
        rejection = Rejection("retained_message", "Publish telemetry and events without the retain flag")
        intake.turned.append(Turned(origin, box, rejection, payload))
    else:
        event = decode_event(payload, now_us, max_future_us)
        if isinstance(event, Rejection):
            intake.turned.append(Turned(origin, box, event, payload))
        else:
            intake.events.append((box, event, origin))
