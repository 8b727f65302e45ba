"""Recovers the samples of a batch that strict JSON refuses as a whole, such as one with a single NaN in it.

The strict reading decides what is valid. The reading here is lenient, and only finds where a sample begins
and ends, and whose `seq` a refusal is: the text of each sample then goes through the strict codec by itself.
So no sample is taken that would not have been taken as a message of its own, and none that differs from what
was sent: its text is a run of the message's own bytes. A sample whose closing brace did not arrive is not
taken: a number that was cut off reads as another number.

The work is bounded by the message: each byte is looked at a few times, by regular expressions that never go
back. Pure: no database, no HTTP, no clock.
"""

import re
from dataclasses import replace
from typing import Final, NamedTuple

from app.ingest.codec.exact_decoder import MAX_ITEMS, MAX_SAMPLES, Row, decode_sample
from app.ingest.codec.field_checks import extract_seq
from app.ingest.codec.telemetry_codec import decode_singles
from app.platform.kernel.instants import MAX_INTEGER
from app.platform.kernel.rejection_codes import InputRejection, RejectedError
from app.platform.kernel.strict_json import TEXT_OR_BRACKET, Json, parse_strict_json

MAX_RECOVERED: Final = 10_000
"""How many samples of one message are judged and named; a message with more is refused as a whole."""

UNREADABLE: Final = frozenset(
    {
        *("invalid_encoding", "invalid_json", "number_out_of_range", "nesting_too_deep", "lone_surrogate"),
        *("duplicate_key", "too_many_samples"),
    }
)
"""The codes under which a whole message is refused though its samples may be good."""

_HEAD: Final = re.compile(rb'[ \t\r\n]*+\{[ \t\r\n]*+"samples"[ \t\r\n]*+:[ \t\r\n]*+\[[ \t\r\n]*+')
_END: Final = re.compile(rb"[ \t\r\n]*+\][ \t\r\n]*+\}[ \t\r\n]*+\Z")
_COMMA: Final = re.compile(rb"[ \t\r\n]*+,[ \t\r\n]*+")
_SCALAR: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s,\[\]{}"]++', re.DOTALL)
_CLOSING: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_SEQ: Final = re.compile(rb'"seq"[ \t\r\n]*+:[ \t\r\n]*+(0|[1-9][0-9]{0,15})[ \t\r\n]*+[,}]')


class RecoveredBatch(NamedTuple):
    """The samples of a message that can be taken, and each refusal with the part of the message it concerns.

    A refusal without `index` is of what lies behind the last sample whose end was found.
    """

    samples: list[Row]
    refusals: list[tuple[InputRejection, bytes]]


def recover_batch(
    payload: bytes, rejection: InputRejection, now_us: int, max_future_us: int
) -> RecoveredBatch | None:
    """Judge the samples of a batch by themselves.

    Args:
        payload: The message.
        rejection: Why all of it is refused.
        now_us: Now, in microseconds since the epoch.
        max_future_us: How far in the future a sample may lie.

    Returns:
        None where the message is not such a batch, and stays refused as a whole.
    """
    if rejection.code not in UNREADABLE or payload.count(b",") >= MAX_ITEMS:
        return None
    texts, rest = split_batch(payload)
    if not texts or len(texts) > MAX_RECOVERED:
        return None
    # Units of the whole batch, which stand in a wrong place: no sample means what it says by itself.
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
        detail = f"From byte {begin} on the message is no batch, or is cut short; what is before it was read."
        recovered.refusals.append((InputRejection("invalid_json", detail), rest))
    return recovered


def explain_too_many_samples(count: int) -> str:
    """Say why a sample behind the first 1,000 of a message is refused."""
    return f"There are {count} samples: at most {MAX_SAMPLES} go in one message. Send this one in another."


def _decode_strict(text: bytes, index: int, now_us: int, max_future_us: int) -> Row | InputRejection:
    document: Json = None
    try:
        document = parse_strict_json(text)
        return decode_sample(document, now_us, max_future_us)
    except RejectedError as error:
        seq = find_seq(text) if document is None else extract_seq(document)
        return error.rejection(seq=seq, index=index)


def split_batch(payload: bytes) -> tuple[list[bytes], bytes | None]:
    """Split a batch into the texts of its items, and what follows the last item whose end was found.

    That is None where the batch ends as it should. A message that does not begin as a batch has no items.
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
    """Find the end of the item that begins at a place; None where there is none, or no item."""
    if payload[begin : begin + 1] not in {b"{", b"["}:
        scalar = _SCALAR.match(payload, begin)
        return None if scalar is None else scalar.end()
    awaited = bytearray()
    for token in TEXT_OR_BRACKET.finditer(payload, begin):
        first = payload[token.start()]
        if first in _CLOSING:
            awaited.append(_CLOSING[first])
        elif first in b"]}":
            if awaited.pop() != first:
                return None
            if not awaited:
                return token.end()
    return None


def find_seq(text: bytes) -> int | None:
    """Find the `seq` of a sample or event that strict JSON cannot read.

    Returns:
        None where there is any doubt: no such key, several, or one that is not the object's own. A box would
        forget a sample that was never judged.
    """
    found = _SEQ.search(text)
    if found is None or b'"samples"' in text or text.count(b"seq") != 1:
        return None
    depth = 0
    for token in TEXT_OR_BRACKET.finditer(text):
        if token.start() >= found.start():
            is_own = token.start() == found.start() and depth == 1
            return int(found[1]) if is_own and int(found[1]) <= MAX_INTEGER else None
        first = text[token.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth < 1:
            return None
    return None


def add_seq(rejection: InputRejection, text: bytes) -> InputRejection:
    """Return a refusal of something that strict JSON cannot read, with its `seq` where that is found."""
    return rejection if rejection.seq is not None else replace(rejection, seq=find_seq(text))
