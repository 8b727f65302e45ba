"""Decodes telemetry in CBOR (RFC 8949), with the same fields as the JSON format.

A message is a sample, `{"samples": [...]}`, or by HTTP `{"box": ..., "samples": [...]}`. `time` is a text
(also with tag 0), an integer of milliseconds, or with tag 1 seconds since the epoch. Maps and arrays of
indefinite length are accepted.

Bytes, undefined and unknown tags refuse their sample. NaN, infinities, big numbers and keys that are not
texts refuse the message, as in JSON; the samples of a box's batch are then decoded one by one.
"""

import io
import json
import math
from typing import Any, Final

import cbor2

from app.ingest.adapters.adapter_types import (
    AdaptedMessage,
    AdapterRejection,
    DecodeContext,
    FormatAdapter,
    adapt_json,
)
from app.ingest.codec.batch_recovery import MAX_RECOVERED, explain_too_many_samples
from app.ingest.codec.field_checks import extract_seq
from app.ingest.codec.reference_telemetry_decoder import (
    MAX_ITEMS,
    MAX_SAMPLES,
    decode_document,
    decode_http_document,
    decode_sample,
    merge_units,
)
from app.platform.content_policy.content_scanner import ScanBudget, examine_document
from app.platform.kernel.bounded_gzip import GZIP_MAGIC
from app.platform.kernel.instants import US_PER_S, format_us
from app.platform.kernel.rejection_codes import InputRejection, RejectedError, format_rejected_value
from app.platform.kernel.strict_json import MAX_DEPTH

_TIME_TEXT, _TIME_EPOCH, _BIG, _BIG_NEGATIVE, _SELF_DESCRIBED = 0, 1, 2, 3, 55_799
# All tags that cbor2 would decode itself. Shared references make cycles, regular expressions and addresses
# cost time, and none of them is a measurement.
_KNOWN_TAGS: Final = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100)
_MORE_TAGS: Final = (256, 258, 260, 261, 1004, 43_000, _SELF_DESCRIBED)
# 1 MiB is more than 1,000 samples with every metric need. More tags would cost more to refuse than to decode.
_MAX_BYTES: Final = 2**20
_MAX_TAGS: Final = 2_000
_SMALL: Final = 2**16
# Codes that refuse a whole message although its other samples may be valid.
_UNREADABLE: Final = frozenset({"invalid_cbor", "number_out_of_range", "too_many_samples"})
# Seconds whose year an RFC 3339 text can express.
_EPOCH_LIMIT_S: Final = 200_000_000_000


class _ForeignValue:
    """A value that JSON cannot express. Every field check refuses it."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __repr__(self) -> str:
        return self._what


def _make_tag_decoder(tag: int) -> Any:  # noqa: ANN401 (one of several types in cbor2's own annotation)
    return lambda value, _immutable: cbor2.CBORTag(tag, value)


_TAGS: Final = {tag: _make_tag_decoder(tag) for tag in (*_KNOWN_TAGS, *_MORE_TAGS)}


def _counted_tags() -> dict[int, Any]:
    """Return tag decoders with a limit, for large messages: each tag costs a call."""
    left = iter(range(_MAX_TAGS))

    def make_decoder(tag: int) -> Any:  # noqa: ANN401 (as above)
        def decode(value: Any, _immutable: bool) -> Any:  # noqa: ANN401, FBT001 (cbor2's own signature)
            if next(left, None) is None:
                raise RejectedError(
                    "too_many_samples", f"there are more than {_MAX_TAGS} tags in one message"
                )
            return cbor2.CBORTag(tag, value)

        return decode

    return {tag: make_decoder(tag) for tag in _TAGS}


def read_cbor(payload: bytes) -> Any:  # noqa: ANN401 (a document of any type)
    """Parse a CBOR document to the values of strict JSON, with `_ForeignValue` for others.

    Raises:
        RejectedError: `empty_body`, `invalid_cbor`, `invalid_encoding`, `duplicate_key`, `nesting_too_deep`,
            `number_out_of_range` or `too_many_samples`.
    """
    return _JsonConverter().of(_parse_cbor(payload))


def _parse_cbor(payload: bytes) -> Any:  # noqa: ANN401 (a tree of any of CBOR's types)
    if not payload:
        raise RejectedError("empty_body", "there is no CBOR document: the body is empty")
    if len(payload) > _MAX_BYTES:
        raise RejectedError("body_too_large", f"the message is larger than {_MAX_BYTES} bytes")
    if payload.startswith(GZIP_MAGIC):
        raise RejectedError("unsupported_encoding", "this is gzip: declare Content-Encoding: gzip")
    stream = io.BytesIO(payload)
    try:
        document = cbor2.CBORDecoder(
            stream,
            semantic_decoders=_TAGS if len(payload) <= _SMALL else _counted_tags(),
            max_depth=MAX_DEPTH,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        ).decode()
    except (cbor2.CBORError, ValueError, RecursionError) as error:
        raise _to_rejection(error) from None
    if stream.tell() != len(payload):
        raise RejectedError(
            "invalid_cbor", f"data follows the document at byte {stream.tell()}: one document is expected"
        )
    return document.value if _is_tag(document, _SELF_DESCRIBED) else document


def _is_tag(value: object, tag: int) -> bool:
    return isinstance(value, cbor2.CBORTag) and value.tag == tag


def _to_rejection(error: Exception) -> RejectedError:
    """Return the rejection code of an error of cbor2."""
    text, cause = str(error), error.__cause__
    if isinstance(cause, RejectedError):
        return cause
    if isinstance(cause, UnicodeDecodeError):
        return RejectedError("invalid_encoding", "a text is not UTF-8")
    if "Duplicate map key" in text:
        return RejectedError(
            "duplicate_key", f"a key occurs twice in one map: {format_rejected_value(text[-40:])}"
        )
    if "nesting depth" in text or isinstance(error, RecursionError):
        return RejectedError("nesting_too_deep", f"the nesting is deeper than {MAX_DEPTH}")
    return RejectedError("invalid_cbor", f"this is not one CBOR document: {ascii(text)[1:200]}")


class _JsonConverter:
    """Converts a tree of cbor2 to JSON values, and counts the items."""

    def __init__(self) -> None:
        self._seen = 0

    def of(self, value: Any) -> Any:  # noqa: ANN401 (a tree of any of CBOR's types)
        self._seen += 1
        if self._seen > MAX_ITEMS:
            raise RejectedError("too_many_samples", f"there are more than {MAX_ITEMS} items in one message")
        if isinstance(value, float) and not math.isfinite(value):
            raise RejectedError(
                "invalid_cbor", f"{value} is not a number: omit values that were not measured"
            )
        if value is None or isinstance(value, str | int | float):
            return value
        return self._other(value)

    def _other(self, value: Any) -> Any:  # noqa: ANN401 (as above)
        if isinstance(value, dict):
            return self._map(value)
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if isinstance(value, cbor2.CBORTag):
            return self._tagged(value.tag, value.value)
        if isinstance(value, bytes):
            return _ForeignValue(f"{len(value)} bytes")
        return _ForeignValue("undefined" if value is cbor2.undefined else "a simple value")

    def _map(self, found: dict[Any, Any]) -> dict[str, Any]:
        for key in found:
            if not isinstance(key, str):
                raise RejectedError("invalid_cbor", "a key is not a text")
        return {key: self.of(value) for key, value in found.items()}

    def _tagged(self, tag: int, value: Any) -> Any:  # noqa: ANN401 (as above)
        if tag in {_BIG, _BIG_NEGATIVE}:
            raise RejectedError("number_out_of_range", "a big number (tag 2 or 3) is not accepted")
        if tag == _TIME_TEXT and isinstance(value, str):
            return value
        if tag == _TIME_EPOCH and isinstance(value, int | float) and not isinstance(value, bool):
            return _instant(value)
        return _ForeignValue(f"a value with tag {tag}")


def _instant(seconds: float) -> object:
    """Return an instant of tag 1 as the equivalent text."""
    if not -_EPOCH_LIMIT_S < seconds < _EPOCH_LIMIT_S:  # NaN too
        return _ForeignValue("a time of tag 1 out of range")
    try:
        return format_us(round(seconds * US_PER_S))
    except OverflowError:
        return _ForeignValue("a time of tag 1 out of range")


def decode_cbor(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """Decode a message. It must name its box unless the topic does."""
    if arrival.box is not None and payload.startswith(b"{"):
        return adapt_json(payload, arrival.box, arrival)
    raw = _parse_cbor(payload)
    try:
        adapted = _adapt_document(raw, arrival)
    except RejectedError as error:
        if _refuse_forbidden_content(raw, arrival.scan_budget):
            raise
        rejection = AdapterRejection(arrival.box, error.rejection())
        return AdaptedMessage(refusals=[rejection], is_examined=False)
    if adapted.refusals:
        adapted.is_examined = _refuse_forbidden_content(raw, arrival.scan_budget)
    return adapted


def _refuse_forbidden_content(raw: Any, budget: ScanBudget) -> bool:  # noqa: ANN401 (a tree of any of CBOR's types)
    """Refuse forbidden content: bytes that are media, arrays of numbers, names (RejectedError).

    Returns:
        False if the budget did not suffice to examine all of it.
    """
    finding = examine_document(raw, budget=budget)
    if finding is not None and finding.kind != "not_examined":
        raise RejectedError(finding.code, finding.detail)
    return finding is None


def _adapt_document(raw: Any, arrival: DecodeContext) -> AdaptedMessage:  # noqa: ANN401 (as above)
    try:
        document = _JsonConverter().of(raw)
        if arrival.box is None:
            box, decoded = decode_http_document(document, arrival.now_us, arrival.max_future_us)
        else:
            box, decoded = arrival.box, decode_document(document, arrival.now_us, arrival.max_future_us)
    except RejectedError as error:
        if arrival.box is None:
            raise
        if error.code in _UNREADABLE and _is_batch(raw):
            return _decode_each_sample(raw["samples"], arrival.box, arrival)
        return AdaptedMessage(refusals=[AdapterRejection(arrival.box, error.rejection(seq=extract_seq(raw)))])
    return AdaptedMessage(
        [(box, row) for row in decoded.samples],
        [
            AdapterRejection(box, each, _encode_refused_sample(document, raw, each))
            for each in decoded.rejections
        ],
    )


def _is_batch(raw: Any) -> bool:  # noqa: ANN401 (as above)
    if not isinstance(raw, dict) or raw.keys() != {"samples"}:
        return False
    return isinstance(raw["samples"], list) and 0 < len(raw["samples"]) <= MAX_RECOVERED


def _decode_each_sample(samples: list[Any], box: str, arrival: DecodeContext) -> AdaptedMessage:
    """Decode each sample of a batch separately, after one of them refused the whole batch."""
    adapted, plain = AdaptedMessage(), _JsonConverter()
    for index, sample in enumerate(samples):
        rejection = InputRejection(
            "too_many_samples", explain_too_many_samples(len(samples)), extract_seq(sample), index
        )
        try:
            if index < MAX_SAMPLES:
                row = decode_sample(plain.of(sample), arrival.now_us, arrival.max_future_us)
                adapted.samples.append((box, row))
                continue
        except RejectedError as error:
            rejection = error.rejection(seq=rejection.seq, index=index)
        adapted.refusals.append(AdapterRejection(box, rejection, cbor2.dumps(sample)))
    return adapted


def _encode_refused_sample(document: Any, raw: Any, rejection: InputRejection) -> bytes | None:  # noqa: ANN401 (documents)
    """Return the refused sample: in Vigie's JSON if possible, else in CBOR."""
    if rejection.index is None:
        return None
    try:
        return json.dumps(_extract_sample(document, rejection.index), allow_nan=False).encode()
    except TypeError:
        return cbor2.dumps(_extract_sample(raw, rejection.index))


def _extract_sample(batch: dict[str, Any], index: int) -> Any:  # noqa: ANN401 (a part of a document)
    sample = batch["samples"][index]
    return merge_units(sample, batch["units"]) if "units" in batch else sample


ADAPTER: Final = FormatAdapter(
    "cbor",
    "Telemetry in CBOR (RFC 8949)",
    decode_cbor,
    topic="vigie/v1/{box}/telemetry/cbor",
    media_type="application/cbor",
)
