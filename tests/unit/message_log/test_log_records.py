"""Records of the log: what is encoded is decoded, and what no edge has encoded is refused."""

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.message_log.log_records import MOST_DECODED_BYTES, LogRecord, decode_record, encode_record

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

encode_plain = msgspec.msgpack.Encoder().encode
TELEMETRY = b'{"ts":"2026-11-30T03:29:58Z","seq":1,"metrics":{"pm25":12.5,"laeq":61.2,"temperature":4.5}}'

texts = st.text(max_size=20)
indexes = st.integers(0, 400)
records = st.builds(
    LogRecord,
    edge=texts,
    received_at=st.floats(0, 2e9),
    topics=st.lists(texts, max_size=30),
    payloads=st.lists(st.binary(max_size=200), max_size=30),
    retained=st.lists(indexes, max_size=3),
    correlations=st.dictionaries(indexes, st.binary(max_size=20), max_size=3),
    traceparents=st.dictionaries(indexes, texts, max_size=3),
    poison=st.lists(st.binary(max_size=30), max_size=3),
    after=st.dictionaries(indexes, indexes, max_size=3),
)


@given(records)
def test_a_record_is_decoded_as_it_was_and_is_not_larger(record: LogRecord) -> None:
    data, plain = encode_record(record), encode_plain(record)
    assert decode_record(data) == (record, len(plain))
    assert len(data) <= len(plain)


def test_messages_that_resemble_each_other_are_compressed() -> None:
    record = LogRecord("e", 1.0, [f"vigie/v1/box-{n}/telemetry" for n in range(200)], [TELEMETRY] * 200)
    assert len(encode_record(record)) < len(encode_plain(record)) / 5


def test_a_record_that_was_not_compressed_is_decoded() -> None:
    record = LogRecord("e", 1.0, ["t"] * 100, [TELEMETRY] * 100)
    assert decode_record(encode_plain(record))[0] == record


def break_record(kind: str) -> bytes:
    """A record that no edge has encoded."""
    data = encode_record(LogRecord("e", 1.0, ["t"] * 100, [TELEMETRY] * 100))
    return {
        "truncated": data[:-5],
        "changed": data[:40] + bytes([data[40] ^ 1]) + data[41:],
        "followed": data + b"x",
        "two frames": data + data,
        "no record": zstd.compress(encode_plain({"edge": "e"})),
        "too large": zstd.compress(encode_plain(LogRecord("e", 1.0, ["t"], [bytes(MOST_DECODED_BYTES)]))),
        "text": b"no record",
    }[kind]


@pytest.mark.parametrize(
    "kind", ["truncated", "changed", "followed", "two frames", "no record", "too large", "text"]
)
def test_other_data_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="record"):
        decode_record(break_record(kind))
