import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.sources.pubacks_and_unreadable_packets import (
    PoisonLedger,
    encode_pubacks,
    packet_length,
    publish_packet_id,
)


def publish(packet_id: int, *, duplicate: bool = False, payload: bytes = b"x") -> bytes:
    return mqtt5.PublishPacket(
        "vigie/v1/b/telemetry",
        payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        packet_id=packet_id,
        duplicate=duplicate,
    ).write()


@given(st.lists(st.integers(1, 65_535) | st.none()))
def test_pubacks_are_those_of_the_codec(packet_ids: list[int | None]) -> None:
    expected = b"".join(mqtt5.PubAckPacket(number).write() for number in packet_ids if number is not None)
    assert encode_pubacks(packet_ids) == expected


@given(st.binary(max_size=40_000))
def test_length_is_the_whole_packet(payload: bytes) -> None:
    assert packet_length(publish(1, payload=payload)) == len(publish(1, payload=payload))


@pytest.mark.parametrize("head", [b"", b"\x30", b"\x30\x80", b"\x30\xff\xff\xff"])
def test_length_is_unknown_while_the_header_is_cut(head: bytes) -> None:
    assert packet_length(head) is None


def test_length_of_more_than_four_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="four bytes"):
        packet_length(b"\x30\xff\xff\xff\xff\x01")


def test_packet_id_is_found_in_a_raw_publish() -> None:
    assert publish_packet_id(publish(4711)) == 4711
    assert publish_packet_id(publish(4711, payload=b"x" * 20_000)) == 4711


@pytest.mark.parametrize(
    "raw",
    [
        b"\x30\x05\x00\x01a\x00x",  # QoS 0 has none
        b"\x34\x06\x00\x01a\x00\x07\x00",  # QoS 2 is not answered with PUBACK
        b"\x32\x04\x00\x09a\x00",  # the topic is longer than the packet
        b"\x32\x00",
        b"\xd0\x00",
    ],
)
def test_packet_id_is_none_where_there_is_none(raw: bytes) -> None:
    assert publish_packet_id(raw) is None


def test_ledger_skips_at_the_third_sighting_whatever_flag_and_id() -> None:
    ledger = PoisonLedger(sightings=3)
    assert not ledger.skip(publish(1))
    assert not ledger.skip(publish(2, duplicate=True))
    assert not ledger.skip(publish(1, payload=b"another"))
    assert ledger.skip(publish(3, duplicate=True))
    assert ledger.skip(publish(4))


def test_ledger_forgets_the_oldest() -> None:
    ledger = PoisonLedger(sightings=2, capacity=2)
    for payload in (b"a", b"b", b"c", b"a"):
        assert not ledger.skip(publish(1, payload=payload))
