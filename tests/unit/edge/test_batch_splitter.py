"""Splitting a batch: nothing is lost, the order in a partition holds, no record is too large."""

from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.edge.batch_splitter import (
    MessageColumns,
    RecordLimits,
    cut_records,
    group_by_partition,
    make_poison_record,
)
from app.message_log.log_records import LogRecord, decode_record, encode_record

PARTITIONS = 5
MAX_BYTES = 1000
encode_plain = msgspec.msgpack.Encoder().encode  # the limit holds for what does not compress, too
LIMITS = RecordLimits("edge-é", 1_800_000_000.25, MAX_BYTES)

topics = st.text("ab/é世", min_size=1, max_size=12)
messages = st.lists(st.tuples(topics, st.binary(max_size=300)), max_size=60)


@st.composite
def batches(draw: st.DrawFn) -> MessageColumns:
    found = draw(messages)
    indexes = st.sets(st.integers(0, len(found) - 1)) if found else st.just(set())
    return MessageColumns(
        [topic for topic, _ in found],
        [payload for _, payload in found],
        sorted(draw(indexes)),
        {index: draw(st.binary(max_size=40)) for index in draw(indexes)},
        {index: draw(st.text("0-é", max_size=40)) for index in draw(indexes)},
    )


def find_partition(topic: str) -> int:
    return crc32(topic.encode()) % PARTITIONS


type Flat = tuple[str, bytes, bool, bytes | None, str | None]


def flatten(columns: MessageColumns | LogRecord) -> list[Flat]:
    """Each message with all that belongs to it."""
    return [
        (
            topic,
            payload,
            index in columns.retained,
            columns.correlations.get(index),
            columns.traceparents.get(index),
        )
        for index, (topic, payload) in enumerate(zip(columns.topics, columns.payloads, strict=True))
    ]


@given(batches(), st.dictionaries(st.integers(0, 255), st.integers(1, 2**60), max_size=20))
def test_records_have_all_messages_in_order_within_the_limit(
    batch: MessageColumns, after: dict[int, int]
) -> None:
    parts = group_by_partition(batch, find_partition)
    whole = flatten(batch)
    assert sum(len(part.topics) for part in parts.values()) == len(whole)
    for partition, part in parts.items():
        records = cut_records(part, LIMITS, after).records
        assert max(map(len, map(encode_plain, records))) <= MAX_BYTES
        records = [decode_record(encode_record(record))[0] for record in records]
        assert [flat for record in records for flat in flatten(record)] == [
            flat for flat in whole if find_partition(flat[0]) == partition
        ]
        assert [record.after for record in records] == [after] + [{}] * (len(records) - 1)
        assert {(record.edge, record.received_at) for record in records} == {LIMITS[:2]}


def test_small_batches_are_one_record_and_large_ones_are_filled() -> None:
    part = MessageColumns(["t"] * 50, [b"x" * 89] * 50)  # 100 bytes each with both headers
    records = cut_records(part, LIMITS._replace(edge="e", max_bytes=1140)).records
    assert [len(record.topics) for record in records] == [10] * 5
    assert len(cut_records(part, LIMITS._replace(max_bytes=10_000)).records) == 1


@pytest.mark.parametrize("size", [MAX_BYTES, 10 * MAX_BYTES])
def test_a_message_that_fits_into_no_record_is_cut_and_its_neighbours_are_whole(size: int) -> None:
    part = MessageColumns(["a", "b", "c"], [b"1", b"x" * size, b"3"])
    records, truncated = cut_records(part, LIMITS)
    assert truncated == 1
    assert max(map(len, map(encode_plain, records))) <= MAX_BYTES
    flat = [(topic, payload) for record in records for topic, payload, *_ in flatten(record)]
    assert [topic for topic, _ in flat] == ["a", "b", "c"]
    assert [flat[0][1], flat[2][1]] == [b"1", b"3"]
    assert flat[1][1] == b"x" * len(flat[1][1])
    assert len(flat[1][1]) > MAX_BYTES * 0.8


def test_a_poison_packet_has_a_record_of_its_own_as_far_as_it_fits() -> None:
    assert make_poison_record(b"raw", LIMITS).poison == [b"raw"]
    assert len(encode_plain(make_poison_record(b"x" * 5000, LIMITS))) <= MAX_BYTES
