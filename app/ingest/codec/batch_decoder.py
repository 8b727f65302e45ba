"""Decodes the messages of a batch into samples, events, statuses and rejections, for MQTT and HTTP alike.

Box ids are as the sender wrote them; the pipeline checks whether the boxes exist. No database, no clock.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from app.ingest.adapters import adapter_registry as adapters
from app.ingest.adapters.adapter_types import AdaptedMessage, DecodeContext, FormatAdapter, adapt_json
from app.ingest.codec.decoded_batch import DecodedBatch, MessageColumns, ReceivedMessage
from app.ingest.codec.event_and_status_decoder import (
    BoxStatus,
    DeviceEvent,
    decode_event,
    decode_reported_config,
    decode_status,
)
from app.ingest.codec.telemetry_codec import Row, decode_singles, parse_topic
from app.ingest.prometheus_metrics import INGEST_IGNORED
from app.platform.kernel.rejection_codes import InputRejection, RejectedError
from app.platform.observability.metrics_and_logs import get_logger, list_error_frames, redact_error

_log = get_logger(__name__)
_ROUTES: Final[dict[str, tuple[str, str] | None]] = {}
_MAX_ROUTES: Final = 200_000
_MAX_CACHED_TOPIC: Final = 128
# Kinds that boxes publish as retained messages. The broker sends them with each new subscription.
_RETAINED: Final = frozenset({"status", "config/reported"})


def _route(topic: str) -> tuple[str, str] | None:
    """Return the box and kind of a topic, from a cache: fleets repeat their topics.

    Topics of more than 128 characters are not cached, since a topic may have 64 KiB.
    """
    route = parse_topic(topic) or adapters.match_topic(topic)
    if len(topic) <= _MAX_CACHED_TOPIC:
        if len(_ROUTES) >= _MAX_ROUTES:
            _ROUTES.clear()
        _ROUTES[topic] = route
    return route


# Limits of decompressed bytes per message (as for an uncompressed message at the broker) and per batch: a
# few compressed megabytes could otherwise fill the memory.
_INFLATED_BYTES: Final = 2**20
_INFLATED_BATCH_BYTES: Final = 8 * 2**20


@dataclass(slots=True)
class _Clock:
    """The time of arrival of a batch, and the bytes decompressed so far."""

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
    """Decode a batch of MQTT messages, or the first of them (`DecodedBatch.message_count`).

    Args:
        topics: one topic per message.
        payloads: one payload per message.
        retained: indexes of retained messages.
        poison: packets that no MQTT codec can read; added after the last message.
        now_us: the time of arrival (µs since the epoch).
        max_future_us: how far a sample's time may lie ahead of it.
    """
    retained_indexes = frozenset(retained)
    intake = DecodedBatch("mqtt", MessageColumns(topics, payloads), retained=retained_indexes)
    clock = _Clock(now_us, max_future_us)
    plain: list[int] = []
    boxes: list[str] = []
    for origin, topic in enumerate(topics):
        route = _ROUTES[topic] if topic in _ROUTES else _route(topic)
        if route is not None and route[1] == "telemetry" and origin not in retained_indexes:
            plain.append(origin)
            boxes.append(route[0])
        else:
            with _refuse_on_failure(intake, origin, None if route is None else route[0]):
                _decode_other(intake, origin, route, clock, is_retained=origin in retained_indexes)
            if clock.inflated > _INFLATED_BATCH_BYTES:
                intake.message_count = origin + 1
                break
    rows: Sequence[Row | None] = [None] * len(plain)
    with suppress(Exception):  # decoded one by one below, which finds the message at fault
        rows = decode_singles([payloads[origin] for origin in plain], now_us, max_future_us)
    for box, origin, row in zip(boxes, plain, rows, strict=True):
        if row is None:
            with _refuse_on_failure(intake, origin, box):
                add_telemetry(intake, box, origin, now_us=now_us, max_future_us=max_future_us)
        else:
            intake.boxes.append(box)
            intake.rows.append(row)
            intake.origins.append(origin)
    intake.put_in_order()
    for packet in poison if intake.message_count == len(topics) else ():
        origin = len(intake.messages)
        intake.messages = [*intake.messages, ReceivedMessage(None, packet)]
        detail = "An unreadable MQTT packet was received repeatedly"
        intake.refuse(origin, None, InputRejection("malformed_packet", detail))
    return intake


@contextmanager
def _refuse_on_failure(intake: DecodedBatch, origin: int, box: str | None) -> Iterator[None]:
    """Refuse a message on which our own code fails, since it would be redelivered for ever."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (any error would be redelivered for ever)
        # Neither the topic nor the error's text: both may contain content that must never be stored.
        _log.error("message_not_sorted", error=redact_error(error), at=list_error_frames(error))
        rejection = InputRejection(
            "undecodable",
            f"Vigie failed to decode the message ({type(error).__name__}). The log has details.",
        )
        intake.refuse(origin, box, rejection)


def add_telemetry(intake: DecodedBatch, box: str, origin: int, *, now_us: int, max_future_us: int) -> None:
    """Decode a telemetry message that the fast path does not take: a batch, an invalid or an unusual message.

    Args:
        intake: the batch that it is added to.
        box: the box of its topic.
        origin: index of the message.
        now_us: the time of arrival (µs since the epoch).
        max_future_us: how far a sample's time may lie ahead of it.
    """
    arrival = DecodeContext(box, now_us, max_future_us, 0)
    add_adapted_message(intake, origin, adapt_json(intake.messages[origin].payload, box, arrival))


def add_adapted_message(intake: DecodedBatch, origin: int, adapted: AdaptedMessage) -> None:
    """Add the samples and rejections of a decoded message."""
    intake.boxes.extend(box for box, _ in adapted.samples)
    intake.rows.extend(row for _, row in adapted.samples)
    intake.origins.extend([origin] * len(adapted.samples))
    for box, rejection, part in adapted.refusals:
        intake.refuse(origin, box, rejection, part)


def add_foreign_message(
    intake: DecodedBatch, origin: int, adapter: FormatAdapter, arrival: DecodeContext
) -> AdaptedMessage:
    """Decode a message in another format than Vigie's.

    Args:
        intake: the batch that it is added to.
        origin: index of the message.
        adapter: its format.
        arrival: its box and time of arrival.
    """
    try:
        adapted = adapter.decode(intake.messages[origin].payload, arrival)
    except RejectedError as error:
        intake.refuse(origin, arrival.box, error.rejection())
        return AdaptedMessage()
    if adapted.ignored:
        INGEST_IGNORED.labels(adapter.name).inc(adapted.ignored)
    add_adapted_message(intake, origin, adapted)
    return adapted


def _decode_other(
    intake: DecodedBatch, origin: int, route: tuple[str, str] | None, clock: _Clock, *, is_retained: bool
) -> None:
    """Decode a message that is not plain telemetry, or that is retained."""
    rejection: InputRejection | None = None
    box: str | None = None
    if route is None:
        rejection = InputRejection(
            "topic",
            "This is not a topic of boxes. Use vigie/v1/{box}/telemetry, event, status or config/reported",
        )
    else:
        box, kind = route
        if is_retained and kind not in _RETAINED:
            rejection = InputRejection(
                "retained_message", "Publish telemetry and events without the retain flag"
            )
        elif kind in adapters.BY_NAME:
            adapted = add_foreign_message(intake, origin, adapters.BY_NAME[kind], clock.arrival(box))
            clock.inflated += adapted.inflated
        else:
            rejection = _decode_own_format(intake, origin, box, kind, clock)
    if rejection is not None:
        intake.refuse(origin, box, rejection)


def _decode_own_format(
    intake: DecodedBatch, origin: int, box: str, kind: str, clock: _Clock
) -> InputRejection | None:
    """Decode an event, a status or a configuration; returns the rejection if it is refused."""
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
        return InputRejection("topic", f"The format is unknown. Topics of other formats are: {names}")
    if isinstance(decoded, BoxStatus):
        intake.statuses.append((box, decoded, origin))
    elif isinstance(decoded, DeviceEvent):
        intake.events.append((box, decoded, origin))
    elif isinstance(decoded, dict):
        intake.configs.append((box, decoded, origin))
    else:
        return decoded
    return None
