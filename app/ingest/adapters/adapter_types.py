"""Defines the interface of adapters: a pure function from the bytes of one message to samples and refusals.

It also has the helpers that several adapters share, and knows no format. Pure: no database, no HTTP, no
clock; `DecodeContext` has all that an adapter needs besides the bytes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from app.ingest.codec.batch_recovery import UNREADABLE, add_seq, recover_batch
from app.ingest.codec.reference_telemetry_decoder import DecodedTelemetry, Row, is_box_id, merge_units
from app.ingest.codec.telemetry_codec import decode_telemetry
from app.platform.content_policy.content_scanner import ScanBudget
from app.platform.kernel.rejection_codes import InputRejection, RejectedError, format_rejected_value

MOST_SCANNED: Final = 2**17
"""Values and characters that are scanned in the binary documents of a batch, or of a call: 0.6 s of work."""


def make_scan_budget() -> ScanBudget:
    """Return what the messages of one batch, or of one call, may have scanned together."""
    return ScanBudget(MOST_SCANNED)


@dataclass(frozen=True, slots=True)
class DecodeContext:
    """The context of a message besides its bytes.

    Attributes:
        box: the box that the topic or the account names; None if the message itself must name the box.
        now_us: the time of arrival (µs since the epoch).
        max_future_us: how far a sample's time may lie ahead of it.
        max_bytes: maximum size of a decompressed message.
        scan_budget: limits the scans of binary documents for forbidden content.
    """

    box: str | None
    now_us: int
    max_future_us: int
    max_bytes: int
    scan_budget: ScanBudget = field(default_factory=make_scan_budget, compare=False)


class AdapterRejection(NamedTuple):
    """The rejection of a message or of a part of it.

    Attributes:
        box: the box, if the message names it.
        rejection: the rejection code and detail.
        part: the refused part, itself a message of this format or of Vigie's JSON; None for the whole
            message.
    """

    box: str | None
    rejection: InputRejection
    part: bytes | None = None


@dataclass(slots=True)
class AdaptedMessage:
    """The decoded content of one message.

    Attributes:
        samples: (box id, sample), in the order of the message.
        refusals: the refused parts.
        ignored: number of values without a metric, which are usual in the format: counted, not refused.
        inflated: size of the decompressed message in bytes.
        is_examined: False: the refused parts were not scanned for forbidden content, and may not be stored.
    """

    samples: list[tuple[str, Row]] = field(default_factory=list)
    refusals: list[AdapterRejection] = field(default_factory=list)
    ignored: int = 0
    inflated: int = 0
    is_examined: bool = True


type MessageDecoder = Callable[[bytes, DecodeContext], AdaptedMessage]
"""Decodes one message. Raises RejectedError if the whole message is refused."""


@dataclass(frozen=True, slots=True)
class FormatAdapter:
    """One format, and how its messages are recognised.

    Attributes:
        name: its name in metrics and paths.
        title: its description in the documentation.
        decode: its decoder.
        topic: the MQTT topic, with `{box}` for the level that names the box and `+` for any other variable
            level; None without MQTT.
        media_type: the Content-Type at `POST /v1/telemetry`; None if it is not accepted there.
        pushes: whether devices push it to `POST /v1/adapters/{name}`, each with its own account.
        example: an example for the OpenAPI document; None if the format is not JSON.
    """

    name: str
    title: str
    decode: MessageDecoder
    topic: str | None = None
    media_type: str | None = None
    pushes: bool = False
    example: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None


def require_box_id(value: object, where: str) -> str:
    """Return the box id that a message names (`wrong_type`, `invalid_box_id`)."""
    if not isinstance(value, str):
        raise RejectedError("wrong_type", f"{where} is {format_rejected_value(value)}: a string is expected")
    if not is_box_id(value):
        raise RejectedError(
            "invalid_box_id",
            f"{where} {format_rejected_value(value)} is not 1 to 64 letters, digits, _ and -",
        )
    return value


class _RawBatch(msgspec.Struct):
    samples: list[msgspec.Raw]
    units: dict[str, str] | None = None


_raw_batch = msgspec.json.Decoder(_RawBatch)


def extract_rejected_parts(payload: bytes, rejections: list[InputRejection]) -> list[bytes | None]:
    """Return the sample in Vigie's JSON that each rejection concerns; None for the whole message.

    A sample gets the units of its batch, so that it means the same if it is sent again alone. The message is
    parsed, not searched, since its keys may be written with escapes.
    """
    if all(rejection.index is None for rejection in rejections):
        return [None] * len(rejections)
    batch = _raw_batch.decode(payload)
    return [
        None if each.index is None else _encode_sample_alone(bytes(batch.samples[each.index]), batch.units)
        for each in rejections
    ]


def _encode_sample_alone(sample: bytes, units: dict[str, str] | None) -> bytes:
    return json.dumps(merge_units(json.loads(sample), units)).encode() if units else sample


def adapt_json(payload: bytes, box: str, arrival: DecodeContext) -> AdaptedMessage:
    """Decode a message in Vigie's own JSON, with the valid samples of a batch that strict JSON refuses.

    Topics of other formats accept JSON too, because refused parts are quarantined and replayed as JSON.
    """
    decoded = decode_telemetry(payload, arrival.now_us, arrival.max_future_us)
    if len(decoded.rejections) != 1 or decoded.rejections[0].code not in UNREADABLE:
        return adapt_decoded(payload, box, decoded)
    rejection = decoded.rejections[0]
    if rejection.index is not None:
        return adapt_decoded(payload, box, decoded)
    recovered = recover_batch(payload, rejection, arrival.now_us, arrival.max_future_us)
    if recovered is None:
        return AdaptedMessage(refusals=[AdapterRejection(box, add_seq(rejection, payload))])
    return AdaptedMessage(
        [(box, row) for row in recovered.samples],
        [AdapterRejection(box, each, part) for each, part in recovered.refusals],
    )


def adapt_decoded(payload: bytes, box: str, decoded: DecodedTelemetry) -> AdaptedMessage:
    """Convert a decoded message in Vigie's own JSON to the result of an adapter."""
    parts = extract_rejected_parts(payload, decoded.rejections)
    return AdaptedMessage(
        [(box, row) for row in decoded.samples],
        [AdapterRejection(box, each, part) for each, part in zip(decoded.rejections, parts, strict=True)],
    )
