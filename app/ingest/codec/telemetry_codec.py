"""Decodes telemetry messages to rows, many at a time, as fast as Python can.

On the fast path msgspec checks types, bounds and unknown names in C. Its struct is made from the catalogue,
and the fields are the columns. Messages that the fast path does not accept go to `exact_telemetry_decoder`,
which accepts them with the same result or refuses them with a code. The fast path must not accept anything
that the exact decoder refuses. msgspec accepts two things that the contract does not:

- A duplicate key. The number of quotation marks shows it: each key and text adds two.
- Times beyond RFC 3339 (a space, `+0100`) and fractions rounded up. Times are decoded as texts and parsed
here.

Pure: no database, no HTTP, no clock; `now` is an argument.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from app.catalogue.metrics import CATALOGUE, COLUMNS
from app.ingest.codec.reference_telemetry_decoder import (
    MAX_SAMPLES,
    DecodedTelemetry,
    Row,
    decode_exact,
    decode_http_exact,
    is_box_id,
)
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, MAX_INTEGER, US_PER_MS, US_PER_S, format_us

__all__ = [
    "MAX_FUTURE_US",
    "DecodedTelemetry",
    "Kind",
    "Row",
    "decode_http_telemetry",
    "decode_singles",
    "decode_telemetry",
    "encode_sample",
    "parse_topic",
]

MAX_FUTURE_US: Final = 600 * US_PER_S
"""How far a sample may lie in the future by default: ten minutes, for inaccurate clocks."""

Kind = Literal["telemetry", "event", "status", "config/reported"]
"""The kinds of message that a box sends."""

_KINDS: Final[dict[str, Kind]] = {
    "telemetry": "telemetry",
    "event": "event",
    "status": "status",
    "config/reported": "config/reported",
}
_TOPIC: Final = re.compile(rf"vigie/v1/([A-Za-z0-9_-]{{1,64}})/({'|'.join(_KINDS)})")

# Types without None refuse null; defaults are not validated. gc=False: a struct of floats cannot be part of a
# cycle, so the garbage collector need not track it.
if TYPE_CHECKING:
    _Seq = int | None

    class _Values(msgspec.Struct):
        """The values of a sample, one optional field for each metric, in the order of the columns."""

else:
    _Seq = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
    _Values = msgspec.defstruct(
        "_Values",
        [
            (metric.name, Annotated[float, msgspec.Meta(ge=metric.minimum, le=metric.maximum)], None)
            for metric in CATALOGUE
        ],
        forbid_unknown_fields=True,
        gc=False,
    )


class _Sample(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    time: str | int
    values: _Values
    seq: _Seq = None


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    samples: Annotated[list[_Sample], msgspec.Meta(min_length=1, max_length=MAX_SAMPLES)]


class _HttpBatch(msgspec.Struct, forbid_unknown_fields=True):
    box: str
    samples: Annotated[list[_Sample], msgspec.Meta(min_length=1, max_length=MAX_SAMPLES)]


_sample_decoder: Final = msgspec.json.Decoder(_Sample)
_batch_decoder: Final = msgspec.json.Decoder(_Batch)
_http_decoder: Final = msgspec.json.Decoder(_HttpBatch)
_columns_of: Final = msgspec.structs.astuple
_COLUMN_COUNT: Final = len(CATALOGUE)
# The key `samples`; that, the key `box` and its text.
_QUOTES_OF_BATCH: Final = 2
_QUOTES_OF_HTTP: Final = 6

# Errors after which the exact decoder takes over. ValueError: more digits than Python's limit.
_NOT_FAST: Final = (msgspec.MsgspecError, ValueError, RecursionError)

_FAST_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Many boxes measure in the same second: a cached text costs a tenth of a parsed one. Bounded.
_KNOWN_TIMES: Final[dict[str, int]] = {}
_KNOWN_LIMIT: Final = 32_768


def _read_time(text: str) -> int:
    """Parse and cache a common RFC 3339 text as microseconds; -1 if the exact decoder must parse it."""
    if _FAST_TIME.fullmatch(text) is None:
        return -1
    try:
        since = datetime.fromisoformat(text) - _EPOCH
    except ValueError:  # No such day.
        return -1
    if len(_KNOWN_TIMES) >= _KNOWN_LIMIT:
        _KNOWN_TIMES.clear()
    time_us = _KNOWN_TIMES[text] = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return time_us


def decode_singles(
    payloads: Iterable[bytes], now_us: int, max_future_us: int = MAX_FUTURE_US
) -> list[Row | None]:
    """Decode many messages of one sample each: the hot path.

    Args:
        payloads: One message each.
        now_us: Now, in microseconds since the epoch.
        max_future_us: How far in the future a sample may lie.

    Returns:
        For each message its row, or None if `decode_telemetry` must decode it: a batch, an invalid message,
            or a valid one in an unusual form.
    """
    rows: list[Row | None] = []
    append, decode, columns_of, known = rows.append, _sample_decoder.decode, _columns_of, _KNOWN_TIMES.get
    earliest_us, latest_us = EARLIEST_US, min(now_us + max_future_us, LATEST_US - 1)
    # Two for each of the keys `time` and `values`, and two for each column, less those that are absent.
    column_count, most_quotes, quote = _COLUMN_COUNT, 4 + 2 * _COLUMN_COUNT, b'"'
    for payload in payloads:
        try:
            sample = decode(payload)
        except _NOT_FAST:
            append(None)
            continue
        time, seq, columns = sample.time, sample.seq, columns_of(sample.values)
        absent = columns.count(None)
        quotes = most_quotes - 2 * absent
        if isinstance(time, str):
            quotes += 2
            time_us = known(time) or _read_time(time)
        else:
            time_us = time * US_PER_MS
        if seq is not None:
            quotes += 2
        if earliest_us <= time_us <= latest_us and payload.count(quote) == quotes and absent != column_count:
            append((time_us, seq, columns))
        else:
            append(None)
    return rows


def decode_telemetry(payload: bytes, now_us: int, max_future_us: int = MAX_FUTURE_US) -> DecodedTelemetry:
    """Decode a telemetry message: a sample, or a batch of at most 1,000.

    Args:
        payload: The message.
        now_us: Now, in microseconds since the epoch.
        max_future_us: How far in the future a sample may lie.

    Returns:
        The valid samples, and the rejections of the others with their index in the batch. A rejection without
            an index concerns the whole message.
    """
    row = decode_singles((payload,), now_us, max_future_us)[0]
    if row is not None:
        return DecodedTelemetry([row], [])
    if b'"samples"' in payload:
        try:
            batch = _batch_decoder.decode(payload)
        except _NOT_FAST:
            return decode_exact(payload, now_us, max_future_us)
        rows = _fast_rows(batch.samples, payload.count(b'"') - _QUOTES_OF_BATCH, now_us, max_future_us)
        if rows is not None:
            return DecodedTelemetry(rows, [])
    return decode_exact(payload, now_us, max_future_us)


def decode_http_telemetry(
    body: bytes, now_us: int, max_future_us: int = MAX_FUTURE_US
) -> tuple[str, DecodedTelemetry]:
    """Decode the body of HTTP ingest: `{"box": "box-0001", "samples": [...]}`.

    Returns:
        The box's id, which may be unknown, and its samples as `decode_telemetry` returns them.

    Raises:
        RejectedError: The body as a whole is refused.
    """
    try:
        batch = _http_decoder.decode(body)
    except _NOT_FAST:
        return decode_http_exact(body, now_us, max_future_us)
    rows = _fast_rows(batch.samples, body.count(b'"') - _QUOTES_OF_HTTP, now_us, max_future_us)
    if rows is None or not is_box_id(batch.box):
        return decode_http_exact(body, now_us, max_future_us)
    return batch.box, DecodedTelemetry(rows, [])


def _fast_rows(
    samples: list[_Sample], quotes_found: int, now_us: int, max_future_us: int
) -> list[Row] | None:
    """Convert the samples of one message into rows; None if the exact decoder must decode the message.

    `decode_singles` repeats these steps inline, since a call per message costs a fifth more.
    """
    rows: list[Row] = []
    latest_us = min(now_us + max_future_us, LATEST_US - 1)
    quotes = 0
    for sample in samples:
        time, seq, columns = sample.time, sample.seq, _columns_of(sample.values)
        absent = columns.count(None)
        if isinstance(time, str):
            quotes += 2
            time_us = _KNOWN_TIMES.get(time) or _read_time(time)
        else:
            time_us = time * US_PER_MS
        if absent == _COLUMN_COUNT or not EARLIEST_US <= time_us <= latest_us:
            return None
        quotes += 4 + 2 * (_COLUMN_COUNT - absent) + (0 if seq is None else 2)
        rows.append((time_us, seq, columns))
    return rows if quotes == quotes_found else None


def encode_sample(row: Row) -> bytes:
    """Encode a sample as a message that `decode_telemetry` accepts."""
    time_us, seq, columns = row
    values = {name: value for name, value in zip(COLUMNS, columns, strict=True) if value is not None}
    sample = {"time": format_us(time_us), "values": values}
    return msgspec.json.encode(sample if seq is None else {"seq": seq, **sample})


def parse_topic(topic: str) -> tuple[str, Kind] | None:
    """Return the box and the kind of message of a topic; None for any other topic. Callers may cache it."""
    match = _TOPIC.fullmatch(topic)
    return None if match is None else (match[1], _KINDS[match[2]])
