"""Decodes the messages of a batch into samples, events, statuses and rejections, for MQTT and HTTP alike.

Box ids are as the sender wrote them; the pipeline checks whether the boxes exist. No database, no clock.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from app.ingest.adapters import adapter_registry as adapters
from app.ingest.adapters.adapter_types import (
    AdaptedMessage,
    DecodeContext,
    FormatAdapter,
    adapt_json,
    make_scan_budget,
)
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
from app.platform.content_policy.content_scanner import ScanBudget
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


# Most bytes of a decompressed message, as for an uncompressed one at the broker.
_INFLATED_BYTES: Final = 2**20
# Most bytes of a batch that are decoded off the fast path, when they are decompressed: a second of work if
# all of them are refused, and little memory. A batch with more is decoded and stored in parts.
_SLOW_BYTES: Final = 2**20
# A refused part costs as much as so many bytes: a message of 30 KB may have 10,000 of them.
_REFUSAL_BYTES: Final = 256
# Messages that are decoded together. A part of a batch ends within them, and the others are decoded again.
_CHUNK: Final = 512


@dataclass(slots=True)
class _BatchArrival:
    """The time of arrival of a batch, and what its decoding has cost so far."""

    now_us: int
    max_future_us: int
    slow_bytes: int = 0
    scan_budget: ScanBudget = field(default_factory=make_scan_budget)

    def of(self, box: str) -> DecodeContext:
        return DecodeContext(box, self.now_us, self.max_future_us, _INFLATED_BYTES, self.scan_budget)


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
    intake = DecodedBatch("mqtt", MessageColumns(topics, payloads), retained=frozenset(retained))
    arrival = _BatchArrival(now_us, max_future_us)
    for begin in range(0, len(topics), _CHUNK):
        end = begin + _CHUNK
        _decode_chunk(intake, begin, topics[begin:end], payloads[begin:end], arrival)
        if arrival.slow_bytes > _SLOW_BYTES:
            break
    for packet in poison if intake.message_count == len(topics) else ():
        origin = len(intake.messages)
        intake.messages = [*intake.messages, ReceivedMessage(None, packet)]
        detail = "An unreadable MQTT packet was received repeatedly"
        intake.refuse(origin, None, InputRejection("malformed_packet", detail))
    return intake


def _decode_chunk(
    intake: DecodedBatch,
    begin: int,
    topics: Sequence[str],
    payloads: Sequence[bytes],
    arrival: _BatchArrival,
) -> None:
    """Decode messages of a batch, in their order, until they have cost too much.

    Args:
        intake: the batch.
        begin: index of the first of the messages.
        topics: their topics.
        payloads: their payloads.
        arrival: the batch's time of arrival.
    """
    routes = [_ROUTES[topic] if topic in _ROUTES else _route(topic) for topic in topics]
    plain = [
        index
        for index, route in enumerate(routes)
        if route is not None and route[1] == "telemetry" and begin + index not in intake.retained
    ]
    rows: list[Row | None] = [None] * len(routes)
    with suppress(Exception):  # decoded one by one below, which finds the message at fault
        found = decode_singles([payloads[index] for index in plain], arrival.now_us, arrival.max_future_us)
        for index, row in zip(plain, found, strict=True):
            rows[index] = row
    for origin, (route, row) in enumerate(zip(routes, rows, strict=True), begin):
        if route is not None and row is not None:
            intake.boxes.append(route[0])
            intake.rows.append(row)
            intake.origins.append(origin)
            continue
        refused, size = len(intake.rejections), len(payloads[origin - begin])
        with _refuse_on_failure(intake, origin, None if route is None else route[0]):
            size = max(size, _decode_slowly(intake, origin, route, arrival))
        arrival.slow_bytes += size + _REFUSAL_BYTES * (len(intake.rejections) - refused)
        if arrival.slow_bytes > _SLOW_BYTES:
            intake.message_count = origin + 1
            return


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


def add_adapted_message(intake: DecodedBatch, origin: int, adapted: AdaptedMessage) -> None:
    """Add the samples and rejections of a decoded message."""
    intake.boxes.extend(box for box, _ in adapted.samples)
    intake.rows.extend(row for _, row in adapted.samples)
    intake.origins.extend([origin] * len(adapted.samples))
    for box, rejection, part in adapted.refusals:
        intake.refuse(origin, box, rejection, part, is_examined=adapted.is_examined)


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


def _decode_slowly(
    intake: DecodedBatch, origin: int, route: tuple[str, str] | None, arrival: _BatchArrival
) -> int:
    """Decode a message that the fast path does not take; return its size once decompressed, or 0.

    Such a message is not plain telemetry, is retained, has several samples, or is invalid or unusual.
    """
    inflated = 0
    rejection: InputRejection | None = None
    box: str | None = None
    if route is None:
        rejection = InputRejection(
            "topic",
            "This is not a topic of boxes. Use vigie/v1/{box}/telemetry, event, status or config/reported",
        )
    else:
        box, kind = route
        if origin in intake.retained and kind not in _RETAINED:
            rejection = InputRejection(
                "retained_message", "Publish telemetry and events without the retain flag"
            )
        elif kind in adapters.BY_NAME:
            inflated = add_foreign_message(intake, origin, adapters.BY_NAME[kind], arrival.of(box)).inflated
        elif kind == "telemetry":
            payload = intake.messages[origin].payload
            add_adapted_message(intake, origin, adapt_json(payload, box, arrival.of(box)))
        else:
            rejection = _decode_own_format(intake, origin, box, kind, arrival)
    if rejection is not None:
        intake.refuse(origin, box, rejection)
    return inflated


def _decode_own_format(
    intake: DecodedBatch, origin: int, box: str, kind: str, arrival: _BatchArrival
) -> InputRejection | None:
    """Decode an event, a status or a configuration; returns the rejection if it is refused."""
    payload = intake.messages[origin].payload
    decoded: BoxStatus | DeviceEvent | dict[str, Any] | InputRejection
    if kind == "status":
        decoded = decode_status(payload)
    elif kind == "config/reported":
        decoded = decode_reported_config(payload)
    elif kind == "event":
        decoded = decode_event(payload, arrival.now_us, arrival.max_future_us)
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
