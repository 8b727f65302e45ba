"""Recovers the valid samples of a batch that strict JSON refuses as a whole, for example for one NaN.

Strict JSON decides what is valid. This module only finds where each sample begins and ends, and the `seq` of
a refused one. Each sample's text, an unchanged part of the message, is then decoded by the strict codec
alone. A sample without its closing brace is refused, because a truncated number reads as another number.

The work is linear in the size of the message: the regular expressions do not backtrack. Pure: no database, no
HTTP, no clock.
"""

import re
from dataclasses import replace
from typing import Final, NamedTuple

from app.ingest.codec.field_checks import extract_seq
from app.ingest.codec.reference_telemetry_decoder import MAX_ITEMS, MAX_SAMPLES, Row, decode_sample
from app.ingest.codec.telemetry_codec import decode_singles
from app.platform.kernel.instants import MAX_INTEGER
from app.platform.kernel.rejection_codes import InputRejection, RejectedError
from app.platform.kernel.strict_json import TEXT_OR_BRACKET, Json, parse_strict_json

MAX_RECOVERED: Final = 10_000
"""Most samples of a message that are decoded one by one; a message with more is refused as a whole."""

UNREADABLE: Final = frozenset(
    {
        *("invalid_encoding", "invalid_json", "number_out_of_range", "nesting_too_deep", "lone_surrogate"),
        *("duplicate_key", "too_many_samples"),
    }
)
"""Rejection codes of whole messages whose samples may be valid."""

_HEAD: Final = re.compile(rb'[ \t\r\n]*+\{[ \t\r\n]*+"samples"[ \t\r\n]*+:[ \t\r\n]*+\[[ \t\r\n]*+')
_END: Final = re.compile(rb"[ \t\r\n]*+\][ \t\r\n]*+\}[ \t\r\n]*+\Z")
_COMMA: Final = re.compile(rb"[ \t\r\n]*+,[ \t\r\n]*+")
_SCALAR: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s,\[\]{}"]++', re.DOTALL)
_CLOSING: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_SEQ: Final = re.compile(rb'"seq"[ \t\r\n]*+:[ \t\r\n]*+(0|[1-9][0-9]{0,15})[ \t\r\n]*+[,}]')


class RecoveredBatch(NamedTuple):
    """The valid samples of a message, and each refusal with its part of the message.

    A refusal without `index` concerns the rest after the last complete sample.
    """

    samples: list[Row]
    refusals: list[tuple[InputRejection, bytes]]


def recover_batch(
    payload: bytes, rejection: InputRejection, now_us: int, max_future_us: int
) -> RecoveredBatch | None:
    """Decode the samples of a batch one by one.

    Args:
        payload: The message.
        rejection: Why the whole message is refused.
        now_us: Now, in microseconds since the epoch.
        max_future_us: How far in the future a sample may lie.

    Returns:
        None if the message is not such a batch and stays refused as a whole.
    """
    if rejection.code not in UNREADABLE or payload.count(b",") >= MAX_ITEMS:
        return None
    texts, rest = split_batch(payload)
    if not texts or len(texts) > MAX_RECOVERED:
        return None
    # Units of the whole batch follow the samples: no sample can be interpreted without them.
    if rest is not None and b'"units"' in rest:
        return None
    recovered = RecoveredBatch([], [])
    rows = decode_singles(texts[:MAX_SAMPLES], now_us, max_future_us)
    for index, (text, row) in enumerate(zip(texts, rows, strict=False)):
        decoded = _decode_strict(text, index, now_us, max_future_us) if row is None else row
        if isinstance(decoded, InputRejection):
            recovered.refusals.append((decoded, text))
        else:
            recovered.samples.append(decoded)
    recovered.refusals.extend(
        (
            InputRejection("too_many_samples", explain_too_many_samples(len(texts)), find_seq(text), index),
            text,
        )
        for index, text in enumerate(texts[MAX_SAMPLES:], MAX_SAMPLES)
    )
    if rest is not None:
        begin = len(payload) - len(rest)
        detail = (
            f"The message is invalid or truncated from byte {begin} on. The samples before it were decoded."
        )
        recovered.refusals.append((InputRejection("invalid_json", detail), rest))
    return recovered


def explain_too_many_samples(count: int) -> str:
    """Return the rejection detail of a sample after the first 1,000 of a message."""
    return (
        f"The message has {count} samples; the limit is {MAX_SAMPLES}. Send this sample in another message."
    )


def _decode_strict(text: bytes, index: int, now_us: int, max_future_us: int) -> Row | InputRejection:
    document: Json = None
    try:
        document = parse_strict_json(text)
        return decode_sample(document, now_us, max_future_us)
    except RejectedError as error:
        seq = find_seq(text) if document is None else extract_seq(document)
        return error.rejection(seq=seq, index=index)


def split_batch(payload: bytes) -> tuple[list[bytes], bytes | None]:
    """Split a batch into the texts of its items, and the rest after the last complete item.

    The rest is None if the batch ends correctly. A message that does not begin as a batch has no items.
    """
    texts: list[bytes] = []
    head = _HEAD.match(payload)
    if head is None:
        return texts, payload
    at = head.end()
    while (end := _find_end(payload, at)) is not None:
        texts.append(payload[at:end])
        comma = _COMMA.match(payload, end)
        if comma is None:
            return texts, None if _END.match(payload, end) else payload[end:]
        at = comma.end()
    return texts, payload[at:]


def _find_end(payload: bytes, begin: int) -> int | None:
    """Find the end of the item that begins at a position; None if there is no complete item."""
    if payload[begin : begin + 1] not in {b"{", b"["}:
        scalar = _SCALAR.match(payload, begin)
        return None if scalar is None else scalar.end()
    expected_closings = bytearray()
    for token in TEXT_OR_BRACKET.finditer(payload, begin):
        first = payload[token.start()]
        if first in _CLOSING:
            expected_closings.append(_CLOSING[first])
        elif first in b"]}":
            if expected_closings.pop() != first:
                return None
            if not expected_closings:
                return token.end()
    return None


def find_seq(text: bytes) -> int | None:
    """Find the `seq` of a sample or event that strict JSON cannot read.

    Returns:
        None in case of any doubt: no such key, several, or one of a nested object. With a wrong `seq` a box
            would discard a sample that was never decoded.
    """
    found = _SEQ.search(text)
    if found is None or b'"samples"' in text or text.count(b"seq") != 1:
        return None
    depth = 0
    for token in TEXT_OR_BRACKET.finditer(text):
        if token.start() >= found.start():
            is_at_top_level = token.start() == found.start() and depth == 1
            return int(found[1]) if is_at_top_level and int(found[1]) <= MAX_INTEGER else None
        first = text[token.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth < 1:
            return None
    return None


def add_seq(rejection: InputRejection, text: bytes) -> InputRejection:
    """Return the rejection with the `seq` from the undecodable text, if it has one."""
    return rejection if rejection.seq is not None else replace(rejection, seq=find_seq(text))
