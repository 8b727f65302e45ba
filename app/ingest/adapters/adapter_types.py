"""What an adapter is: a pure function from the bytes of one message to samples and refusals.

Owns the shapes between an adapter and the doors, and the helpers that several adapters share. Must not know
any format. Pure: no database, no HTTP, no clock; what an adapter needs of the world is in `DecodeContext`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from app.ingest.codec.batch_recovery import UNREADABLE, add_seq, recover_batch
from app.ingest.codec.exact_decoder import DecodedTelemetry, Row, is_box_id, merge_units
from app.ingest.codec.telemetry_codec import decode_telemetry
from app.platform.kernel.rejection_codes import InputRejection, RejectedError, format_rejected_value


@dataclass(frozen=True, slots=True)
class DecodeContext:
    """What is known of a message beside its bytes.

    Attributes:
        box: whose message the door has found it to be (the topic's, the account's); None where the message
            itself has to name the box.
        now_us: the time of arrival (µs since the epoch).
        max_future_us: how far a sample's time may lie ahead of it.
        max_bytes: how many bytes a compressed message may have once it is inflated.
    """

    box: str | None
    now_us: int
    max_future_us: int
    max_bytes: int


class AdapterRejection(NamedTuple):
    """One thing that was refused.

    Attributes:
        box: whose it is; None where the message does not tell.
        rejection: why.
        part: the part of the message that is concerned, itself a message of this format or of Vigie's JSON;
            None for all of it.
    """

    box: str | None
    rejection: InputRejection
    part: bytes | None = None


@dataclass(slots=True)
class AdaptedMessage:
    """What one message holds.

    Attributes:
        samples: (box id, sample), in the message's order.
        refusals: what cannot be taken, and why.
        ignored: how many values there were that Vigie has no metric for, and that the format is known to be
            full of: counted, not refused.
        inflated: how many bytes came out of compression.
    """

    samples: list[tuple[str, Row]] = field(default_factory=list)
    refusals: list[AdapterRejection] = field(default_factory=list)
    ignored: int = 0
    inflated: int = 0


type MessageDecoder = Callable[[bytes, DecodeContext], AdaptedMessage]
"""Decodes one message. Raises RejectedError where all of it is refused."""


@dataclass(frozen=True, slots=True)
class FormatAdapter:
    """One format, and how a message of it is recognised.

    Attributes:
        name: its name, in metrics and paths.
        title: what it is, for the documentation.
        decode: the format itself.
        topic: the MQTT topic, with `{box}` for the level that names the box and `+` for any other level that
            varies; None where it does not come by MQTT.
        media_type: the Content-Type at `POST /v1/telemetry`; None where it does not come there.
        pushes: whether devices push it to `POST /v1/adapters/{name}`, each with its own account.
        example: a message as a document, for the API's own description; None where it is no JSON.
    """

    name: str
    title: str
    decode: MessageDecoder
    topic: str | None = None
    media_type: str | None = None
    pushes: bool = False
    example: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None


def require_box_id(value: object, where: str) -> str:
    """Return a box's id that a message names (`wrong_type`, `invalid_box_id`)."""
    if not isinstance(value, str):
        raise RejectedError("wrong_type", f"{where} is {format_rejected_value(value)}: a text is due")
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
    """The part of a message in Vigie's JSON that each refusal concerns: its sample; None for all of it.

    A sample that is sent again alone means the same: it has the units of its batch.

    The batch's key may be written with escapes, so the message is read, not searched.
    """
    if all(rejection.index is None for rejection in rejections):
        return [None] * len(rejections)
    batch = _raw_batch.decode(payload)
    return [
        None if each.index is None else _alone(bytes(batch.samples[each.index]), batch.units)
        for each in rejections
    ]


def _alone(sample: bytes, units: dict[str, str] | None) -> bytes:
    return json.dumps(merge_units(json.loads(sample), units)).encode() if units else sample


def adapt_json(payload: bytes, box: str, arrival: DecodeContext) -> AdaptedMessage:
    """Decode a message in Vigie's own JSON; of a batch that strict JSON cannot read, each sample by itself.

    On the topics of other formats too, since a part of a message that was refused is kept as such, and is
    sent again so.
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
    """What a message in Vigie's own JSON was decoded to, as an adapter's answer."""
    parts = extract_rejected_parts(payload, decoded.rejections)
    return AdaptedMessage(
        [(box, row) for row in decoded.samples],
        [AdapterRejection(box, each, part) for each, part in zip(decoded.rejections, parts, strict=True)],
    )
