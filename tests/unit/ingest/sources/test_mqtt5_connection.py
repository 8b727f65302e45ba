import asyncio
import dataclasses
import itertools

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ingest.sources.batch_queue import BatchQueue
from app.ingest.sources.message_source import SourceCounters
from app.ingest.sources.mqtt5_connection import Mqtt5Connection, MqttHandshake
from app.ingest.sources.pubacks_and_unreadable_packets import PoisonLedger

HANDSHAKE = MqttHandshake(
    connect=b"connect", subscribe=b"subscribe", keepalive_s=60, max_packet_bytes=1_000_000
)
CONNACK = mqtt5.ConnAckPacket().write()
SUBACK = mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]).write()
BAD_TOPIC = b"\x32\x07\x00\x02\xff\xfe\x00\x09\x00"  # whole, QoS 1, packet id 9; its topic is not UTF-8

# A panic of the codec leaves an exception behind that nobody can catch; Python prints it.
panics = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Message = tuple[str, bytes, int | None, bool]


class Wire(asyncio.Transport):
    """Keeps what is written; the tests bring what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@dataclasses.dataclass
class Bench:
    inbox: BatchQueue
    counters: SourceCounters
    wire: Wire
    connection: Mqtt5Connection

    def reason(self) -> str:
        return str(self.connection.ended.result())


def bench(
    ledger: PoisonLedger | None = None, handshake: MqttHandshake = HANDSHAKE, messages: int = 10_000
) -> Bench:
    counters = SourceCounters()
    inbox = BatchQueue(
        counters,
        batch_messages=messages,
        batch_bytes=1 << 20,
        batch_delay_s=0,
        window=65_535,
        pending_limit_bytes=1 << 26,
    )
    connection = Mqtt5Connection(inbox, counters, ledger or PoisonLedger(), handshake)
    wire = Wire()
    connection.connection_made(wire)
    return Bench(inbox, counters, wire, connection)


def encode(message: Message) -> bytes:
    topic, payload, packet_id, retain = message
    qos = mqtt5.QoS.AT_MOST_ONCE if packet_id is None else mqtt5.QoS.AT_LEAST_ONCE
    return mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=packet_id, retain=retain).write()


async def drain(bench: Bench, count: int) -> list[Message]:
    out: list[Message] = []
    while len(out) < count:
        batch = await asyncio.wait_for(bench.inbox.next_batch(), 60)
        packet_ids = bench.inbox.acknowledge(batch)
        assert packet_ids is not None
        flags = [index in batch.retained for index in range(len(batch))]
        out += zip(batch.topics, batch.payloads, packet_ids, flags, strict=True)
    return out


MESSAGES = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=30),
        st.binary(max_size=400),
        st.none() | st.integers(1, 65_535),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 20_000), max_size=40), full=st.integers(1, 7))
@settings(deadline=None)
def test_any_split_of_the_stream_gives_the_same_messages(
    messages: list[Message], cuts: list[int], full: int
) -> None:
    async def run() -> None:
        here = bench(messages=full)
        pings = mqtt5.PingRespPacket().write()
        stream = CONNACK + SUBACK + pings.join(encode(message) for message in messages)
        edges = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
        for begin, end in itertools.pairwise(edges):
            here.connection.data_received(stream[begin:end])
        assert here.connection.ready.done()
        assert not here.connection.ended.done()
        assert await drain(here, len(messages)) == messages
        assert here.counters.messages == len(messages)
        assert here.inbox.pending_bytes == here.inbox.pending_messages == 0
        here.connection.disconnect()

    asyncio.run(run())


async def test_a_stream_byte_by_byte() -> None:
    here = bench()
    messages: list[Message] = [("a", b"x" * 50_000, 1, False), ("b", b"", 2, True)]
    for byte in CONNACK + SUBACK + b"".join(map(encode, messages)):
        here.connection.data_received(bytes((byte,)))
    assert await drain(here, 2) == messages


async def test_handshake() -> None:
    here = bench()
    assert here.wire.written == b"connect"
    here.connection.data_received(CONNACK)
    assert here.wire.written == b"connectsubscribe"
    assert not here.connection.ready.done()
    here.connection.data_received(SUBACK)
    assert here.connection.ready.done()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD).write(),
            "refused: BAD_USER_NAME_OR_PASSWORD",
        ),
        (
            CONNACK + mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]).write(),
            "subscription refused: NOT_AUTHORIZED",
        ),
        (
            mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER).write(),
            "disconnected by the broker: SESSION_TAKEN_OVER",
        ),
        (mqtt5.PubRelPacket(1).write(), "unexpected PubRelPacket"),
    ],
)
async def test_what_ends_a_connection(answer: bytes, reason: str) -> None:
    here = bench()
    here.connection.data_received(answer)
    assert here.reason() == reason
    assert here.wire.closed


@panics
@pytest.mark.parametrize(
    "rubbish",
    [
        BAD_TOPIC,  # the codec panics
        b"\x30\x03\x00\x10a",  # a topic longer than its packet
        b"\x36\x07\x00\x01a\x00\x07\x00x",  # QoS 3
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x00\x00",  # no such packet
    ],
)
async def test_an_unreadable_packet_is_counted_and_disconnected_with_its_code(rubbish: bytes) -> None:
    here = bench()
    here.connection.data_received(CONNACK + SUBACK + encode(("a", b"1", 1, False)) + rubbish)
    assert here.reason() == "unreadable: MALFORMED_PACKET"
    assert here.wire.written.endswith(b"\xe0\x01\x81")
    assert here.wire.closed
    assert here.counters.malformed == 1
    here.connection.data_received(encode(("a", b"2", 2, False)))
    assert here.counters.messages == 1, "nothing is read after the end"


@panics
async def test_an_unreadable_packet_is_skipped_at_its_third_sighting_wherever_it_is_cut() -> None:
    ledger = PoisonLedger()
    stream = encode(("a", b"1", 8, False)) + BAD_TOPIC + encode(("a", b"2", 10, False))
    for _ in range(2):
        here = bench(ledger)
        here.connection.data_received(stream)
        assert here.connection.ended.done()
    for cut in range(1, len(stream)):
        here = bench(ledger)
        here.connection.data_received(stream[:cut])
        here.connection.data_received(stream[cut:])
        await asyncio.sleep(0)
        topics: list[str] = []
        poison: list[bytes] = []
        acknowledged: list[int | None] = []
        while len(topics) < 2:
            batch = await here.inbox.next_batch()
            topics += batch.topics
            poison += batch.poison
            acknowledged += here.inbox.acknowledge(batch) or []
        assert (topics, poison, acknowledged) == (["a", "a"], [BAD_TOPIC], [8, 9, 10])
        assert not here.connection.ended.done()


async def test_a_packet_that_is_too_large_is_not_waited_for() -> None:
    here = bench(handshake=dataclasses.replace(HANDSHAKE, max_packet_bytes=1000))
    here.connection.data_received(CONNACK + encode(("a", b"x" * 2000, 1, False))[:20])
    assert here.reason() == "unreadable: PACKET_TOO_LARGE"
    assert here.wire.written.endswith(b"\xe0\x01\x95")


async def test_a_silent_broker_is_left_and_a_pause_is_not_silence() -> None:
    here = bench(handshake=dataclasses.replace(HANDSHAKE, keepalive_s=1))
    here.connection.data_received(CONNACK)
    here.inbox.paused = True
    async with asyncio.timeout(60):
        while here.wire.written.count(mqtt5.PingReqPacket().write()) < 2:  # noqa: ASYNC110 (the wire has no event)
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    assert not here.connection.ended.done()
    here.inbox.paused = False
    await asyncio.wait_for(asyncio.wait((here.connection.ended,)), 60)
    assert here.reason() == "the broker is silent"
    assert here.wire.closed


async def test_interrupts_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: memoryview) -> tuple[mqtt5.PublishPacket, int]:
        raise KeyboardInterrupt

    here = bench()
    monkeypatch.setattr("app.ingest.sources.mqtt5_connection._read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        here.connection.data_received(b"\xd0\x00")
    assert here.counters.malformed == 0
