"""The same promises, kept by each source: ours on MQTT 5, and aiomqtt on 5 and on 3.1.1."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import structlog
import uvloop
from aiomqtt.client import ProtocolVersion

from app.ingest.sources.aiomqtt_source import AiomqttSource
from app.ingest.sources.message_source import MessageBatch
from app.ingest.sources.mqtt5_source import Mqtt5Source
from app.ingest.sources.reconnecting_mqtt_source import TOPICS, MqttOptions, MqttSource
from app.ingest.sources.source_factory import build_mqtt_options, make_source
from app.platform.broker.mosquitto_password_hash import format_password_line
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.integration.ingest.source_peers import Proxy, ScriptedBroker

ACCOUNTS = {"gateway": "gateway-password", "ingest": "ingest-password"}
KINDS = ("mqtt5", "aiomqtt-5", "aiomqtt-3.1.1")
VERSION_5 = ("mqtt5", "aiomqtt-5")

each_kind = pytest.mark.parametrize("kind", KINDS)
# A panic of the codec leaves an exception behind that nobody can catch; Python prints it.
panics = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateMosquitto]:
    async with PrivateMosquitto(tmp_path_factory.mktemp("broker"), accounts=ACCOUNTS) as running:
        yield running


@pytest.fixture
def box() -> str:
    return f"box-{uuid.uuid4().hex[:12]}"


def make(kind: str, port: int, box: str, **changes: Any) -> MqttSource:  # noqa: ANN401 - any option
    options = MqttOptions(
        **{
            "host": "127.0.0.1",
            "port": port,
            "client_id": f"consumer-{box}",
            "username": "ingest",
            "password": ACCOUNTS["ingest"],
            "topics": (f"vigie/v1/{box}/telemetry", f"vigie/v1/{box}/status"),
            "reconnect_min_s": 0.05,
            "reconnect_max_s": 0.4,
            "connect_timeout_s": 3.0,
            **changes,
        }
    )
    if kind == "mqtt5":
        return Mqtt5Source(options)
    return AiomqttSource(
        options, protocol=ProtocolVersion.V5 if kind == "aiomqtt-5" else ProtocolVersion.V311
    )


@asynccontextmanager
async def running(source: MqttSource, *, up: bool = True) -> AsyncIterator[MqttSource]:
    await source.start()
    try:
        if up:
            await until(lambda: source.connected)
        yield source
    finally:
        await source.stop()


async def until(condition: Callable[[], bool], within: float = 60.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - counters have no event, and need none
            await asyncio.sleep(0.01)


async def publish(port: int, topic: str, *payloads: bytes, qos: int = 1, retain: bool = False) -> None:
    async with aiomqtt.Client(
        "127.0.0.1", port, username="gateway", password=ACCOUNTS["gateway"], timeout=10
    ) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=qos, retain=retain)


async def take(source: MqttSource, count: int, *, acknowledge: bool = True) -> list[MessageBatch]:
    """Batches with that many messages together, and nothing more within a moment."""
    batches: list[MessageBatch] = []
    async with asyncio.timeout(60):
        while sum(map(len, batches)) < count:
            batches.append(await source.next_batch())
            if acknowledge:
                source.acknowledge(batches[-1])
    assert sum(map(len, batches)) == count
    return batches


async def nothing_comes(source: MqttSource, within: float = 0.3) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(source.next_batch(), within)


def payloads(batches: list[MessageBatch]) -> list[bytes]:
    return [payload for batch in batches for payload in batch.payloads]


def numbered(count: int, size: int = 0) -> list[bytes]:
    return [str(number).encode().ljust(size) for number in range(count)]


# -- delivery


@each_kind
async def test_delivered_in_order_and_acknowledged_once(
    broker: PrivateMosquitto, box: str, kind: str
) -> None:
    topic = f"vigie/v1/{box}/telemetry"
    async with running(make(kind, broker.port, box)) as source:
        before = time.time()
        await publish(broker.port, topic, *numbered(500))
        batches = await take(source, 500)
        assert payloads(batches) == numbered(500)
        assert {name for batch in batches for name in batch.topics} == {topic}
        assert before <= batches[0].received_at <= time.time()
        assert source.counters.messages == 500
        assert source.counters.bytes > 500
        assert source.pending_bytes == 0
    async with running(make(kind, broker.port, box)) as source:
        await nothing_comes(source)


@each_kind
async def test_what_was_not_acknowledged_comes_again_to_the_next_process(
    broker: PrivateMosquitto, box: str, kind: str
) -> None:
    async with running(make(kind, broker.port, box, batch_messages=4)) as source:
        await publish(broker.port, f"vigie/v1/{box}/telemetry", *numbered(10))
        first = await source.next_batch()
        source.acknowledge(first)
        await source.next_batch()  # never acknowledged
    async with running(make(kind, broker.port, box), up=False) as source:
        assert payloads(await take(source, 10 - len(first))) == numbered(10)[len(first) :]


@each_kind
async def test_a_cut_connection_drops_what_waits_and_a_stale_acknowledgement_is_harmless(
    broker: PrivateMosquitto, box: str, kind: str
) -> None:
    async with (
        Proxy(broker.port) as proxy,
        running(make(kind, proxy.port, box, batch_messages=5, batch_delay_s=0.2)) as source,
    ):
        await publish(broker.port, f"vigie/v1/{box}/telemetry", *numbered(20))
        held = await source.next_batch()
        await until(lambda: source.counters.messages == 20)
        proxy.cut()
        await until(lambda: source.counters.reconnects == 1)
        source.acknowledge(held)
        source.acknowledge(held)
        assert source.counters.stale_acks == 2
        assert payloads(await take(source, 20)) == numbered(20)
        await nothing_comes(source)


@each_kind
async def test_batches_close_by_number_bytes_and_age(broker: PrivateMosquitto, box: str, kind: str) -> None:
    topic = f"vigie/v1/{box}/telemetry"
    async with running(make(kind, broker.port, box, batch_messages=10, batch_delay_s=60)) as source:
        await publish(broker.port, topic, *numbered(35))
        assert [len(batch) for batch in await take(source, 30)] == [10, 10, 10]
        await nothing_comes(source)
        await publish(broker.port, topic, *numbered(5))
        assert [len(batch) for batch in await take(source, 10)] == [10]
    async with running(make(kind, broker.port, box, batch_bytes=2000, batch_delay_s=60)) as source:
        await publish(broker.port, topic, *numbered(20, size=600))
        assert [len(batch) for batch in await take(source, 20)] == [4, 4, 4, 4, 4] or kind != "mqtt5"
    async with running(make(kind, broker.port, box, batch_delay_s=0.3)) as source:
        began = time.monotonic()
        await publish(broker.port, topic, b"alone")
        await take(source, 1)
        assert time.monotonic() - began >= 0.3


@each_kind
async def test_quality_0_is_delivered_too(broker: PrivateMosquitto, box: str, kind: str) -> None:
    async with running(make(kind, broker.port, box)) as source:
        await publish(broker.port, f"vigie/v1/{box}/telemetry", *numbered(5), qos=0)
        await publish(broker.port, f"vigie/v1/{box}/telemetry", b"one", qos=1)
        await publish(broker.port, f"vigie/v1/{box}/telemetry", b"two", qos=2)
        assert sorted(payloads(await take(source, 7))) == sorted([*numbered(5), b"one", b"two"])
        assert source.pending_bytes == 0
    async with running(make(kind, broker.port, box)) as source:
        await nothing_comes(source)


@each_kind
async def test_the_retained_flag_is_seen(broker: PrivateMosquitto, box: str, kind: str) -> None:
    await publish(broker.port, f"vigie/v1/{box}/status", b"online", retain=True)
    async with running(make(kind, broker.port, box)) as source:
        (batch,) = await take(source, 1)
        assert (batch.payloads, batch.retained) == ([b"online"], [0])
        await publish(broker.port, f"vigie/v1/{box}/telemetry", b"live")
        (batch,) = await take(source, 1)
        assert batch.retained == []
        await publish(broker.port, f"vigie/v1/{box}/telemetry", b"kept", retain=True)
        (batch,) = await take(source, 1)
        assert batch.retained == ([0] if kind in VERSION_5 else [])  # 3.1.1 does not tell
    if kind in VERSION_5:
        async with running(make(kind, broker.port, box)) as source:
            await nothing_comes(source)  # the subscription is not new


# -- bounds


@pytest.mark.parametrize("kind", VERSION_5)
async def test_no_more_than_the_receive_maximum_is_sent_ahead(
    broker: PrivateMosquitto, box: str, kind: str
) -> None:
    source = make(kind, broker.port, box, receive_maximum=10, batch_delay_s=60)
    async with running(source):
        await publish(broker.port, f"vigie/v1/{box}/telemetry", *numbered(35))
        await until(lambda: source.counters.messages == 10)
        began = time.monotonic()
        first = await source.next_batch()
        assert (len(first), time.monotonic() - began < 30) == (10, True)
        await nothing_comes(source)
        assert source.counters.messages == 10
        source.acknowledge(first)
        assert payloads(await take(source, 20)) == numbered(35)[10:30]


@each_kind
async def test_reading_pauses_above_the_byte_limit(broker: PrivateMosquitto, box: str, kind: str) -> None:
    source = make(kind, broker.port, box, pending_limit_bytes=50_000, batch_messages=50)
    async with running(source):
        await publish(broker.port, f"vigie/v1/{box}/telemetry", *numbered(600, size=5000))
        await until(lambda: source.counters.pauses == 1)
        assert source.pending_bytes < 50_000 + 300_000  # the limit and one read
        held = await source.next_batch()
        assert payloads([held, *await take(source, 600 - len(held))]) == numbered(600, size=5000)
        source.acknowledge(held)
        assert source.pending_bytes == 0
        assert source.counters.reconnects == 0


async def test_a_pause_longer_than_the_keep_alive_is_no_silence(broker: PrivateMosquitto, box: str) -> None:
    async def pause(kind: str) -> None:
        name = f"{box}-{kind.replace('.', '-')}"
        source = make(kind, broker.port, name, pending_limit_bytes=1000, keepalive_s=2)
        async with running(source):
            await publish(broker.port, f"vigie/v1/{name}/telemetry", *numbered(200, size=5000))
            await asyncio.sleep(7)
            assert source.counters.pauses == 1
            assert source.connected
            assert source.counters.reconnects == 0
            assert payloads(await take(source, 200)) == numbered(200, size=5000)
            assert source.counters.reconnects == 0

    await asyncio.gather(*map(pause, KINDS))


# -- faults


@each_kind
async def test_broker_stopped_and_started(tmp_path: Path, box: str, kind: str) -> None:
    async with PrivateMosquitto(tmp_path, accounts=ACCOUNTS) as broker:
        topic = f"vigie/v1/{box}/telemetry"
        async with running(make(kind, broker.port, box)) as source:
            await publish(broker.port, topic, *numbered(30))
            held = await take(source, 30, acknowledge=False)
            await broker.stop()
            await until(lambda: not source.connected)
            await asyncio.sleep(0.3)
            await broker.start()
            assert payloads(await take(source, 30)) == payloads(held)
            broker.kill()
            await until(lambda: not source.connected)
            await broker.stop()
            await broker.start()
            await until(lambda: source.connected)
            await publish(broker.port, topic, b"after the crash")
            last = b""
            while last != b"after the crash":  # what the crash made the broker forget may come again before
                batch = await source.next_batch()
                source.acknowledge(batch)
                last = batch.payloads[-1]
            assert source.counters.reconnects == 2


@each_kind
async def test_a_refused_password_is_tried_again_until_it_is_mended(
    broker: PrivateMosquitto, box: str, kind: str
) -> None:
    topic = f"vigie/v1/{box}/config"
    with structlog.testing.capture_logs() as logs:
        source = make(kind, broker.port, box, username=box, password="late", topics=(topic,))
        async with running(source, up=False):
            await until(lambda: len(logs) > 0)
            await asyncio.sleep(1.0)
            assert not source.connected
    assert ["refused" in entry["reason"] for entry in logs] == [True], "logged once, not at each attempt"
    async with running(
        make(kind, broker.port, box, username=box, password="late", topics=(topic,)), up=False
    ) as source:
        await asyncio.sleep(1.0)
        assert not source.connected
        with broker.password_file.open("a") as file:
            file.write(f"{format_password_line(box, 'late')}\n")
        os.kill(broker.pid, signal.SIGHUP)
        await until(lambda: source.connected)
        async with aiomqtt.Client(
            "127.0.0.1", broker.port, username="ingest", password=ACCOUNTS["ingest"]
        ) as client:
            await client.publish(topic, b"{}", qos=1)
        assert payloads(await take(source, 1)) == [b"{}"]
        assert source.counters.reconnects == 0


@each_kind
async def test_nobody_listening_is_tried_again(broker: PrivateMosquitto, box: str, kind: str) -> None:
    async with Proxy(broker.port) as proxy:
        port = proxy.port
    async with running(make(kind, port, box), up=False) as source:
        await asyncio.sleep(0.3)
        assert not source.connected


@each_kind
async def test_a_half_open_connection_is_noticed(broker: PrivateMosquitto, box: str, kind: str) -> None:
    async with (
        Proxy(broker.port) as proxy,
        running(make(kind, proxy.port, box, keepalive_s=1)) as source,
    ):
        proxy.swallow()
        await publish(broker.port, f"vigie/v1/{box}/telemetry", *numbered(3))
        await until(lambda: source.counters.reconnects == 1)
        assert payloads(await take(source, 3)) == numbered(3)


@each_kind
async def test_a_broker_that_never_answers_is_left(box: str, kind: str) -> None:
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = make(kind, port, box, connect_timeout_s=0.2)
    async with running(source, up=False):
        await until(lambda: len(accepted) >= 2)
        began = time.monotonic()
    assert time.monotonic() - began < 10, "stopping does not wait for such a broker"
    server.close()
    for writer in accepted:
        writer.transport.abort()


@panics
@each_kind
async def test_an_unreadable_packet_is_skipped_after_three_sightings(box: str, kind: str) -> None:
    version = 5 if kind in VERSION_5 else 3

    async def script(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(peer.publish(b"a", b"before", 10 + number))
        writer.write(peer.publish(b"\xff\xfe", b"poison", 20 + number))
        writer.write(peer.publish(b"a", b"after", 30 + number))

    peer = ScriptedBroker(script, version)
    async with peer.serve(), running(make(kind, peer.port, box, topics=("a",)), up=False) as source:
        poison: list[bytes] = []
        good: list[bytes] = []
        async with asyncio.timeout(60):
            while not poison or good[-1] != b"after":
                batch = await source.next_batch()
                poison += batch.poison
                good += batch.payloads
                if batch.poison or batch.payloads == [b"after"]:
                    source.acknowledge(batch)
        assert poison == [peer.publish(b"\xff\xfe", b"poison", 23)]
        await until(lambda: {23, 33} <= set(peer.acknowledged))
        assert peer.acknowledged == sorted(peer.acknowledged)
        assert source.counters.malformed == 3
        assert source.counters.poison == 1
        assert peer.connections == 3
        assert peer.disconnects == ([b"\x81", b"\x81"] if version == 5 else [])


@each_kind
async def test_rubbish_is_counted_and_never_read_twice_in_a_hurry(box: str, kind: str) -> None:
    async def script(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x30" + b"\xff" * 20)

    peer = ScriptedBroker(script, 5 if kind in VERSION_5 else 3)
    async with peer.serve(), running(make(kind, peer.port, box, topics=("a",)), up=False) as source:
        await asyncio.sleep(1.0)
        assert source.counters.malformed <= 8
        await until(lambda: source.counters.malformed >= 2)
        assert peer.connections - source.counters.malformed in {0, 1}


@pytest.mark.parametrize("kind", VERSION_5)
async def test_a_disconnect_of_the_broker_is_followed_by_a_connection(box: str, kind: str) -> None:
    async def script(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.write(b"\xe0\x01\x8b")  # shutting down
        else:
            writer.write(peer.publish(b"a", b"again", 1))

    peer = ScriptedBroker(script, 5)
    async with peer.serve(), running(make(kind, peer.port, box, topics=("a",)), up=False) as source:
        assert payloads(await take(source, 1)) == [b"again"]


async def test_mosquitto_refuses_a_topic_that_is_not_utf_8(broker: PrivateMosquitto) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    account = b"\x00\x07gateway\x00\x10gateway-password"
    body = b"\x00\x04MQTT\x05\xc2\x00\x3c\x00\x00\x03bad" + account
    writer.write(bytes((0x10, len(body))) + body)
    connack = await reader.readexactly(4)
    assert connack[:1] + connack[3:] == b"\x20\x00"
    writer.write(b"\x32\x09\x00\x02\xff\xfe\x00\x01\x00{}")
    rest = await asyncio.wait_for(reader.read(), 60)
    assert rest.endswith(b"\xe0\x01\x81")  # DISCONNECT, malformed packet
    writer.close()
    await writer.wait_closed()


# -- on the event loop that the roles use


@each_kind
def test_the_same_on_uvloop(broker: PrivateMosquitto, box: str, kind: str) -> None:
    async def scenario() -> None:
        async with (
            Proxy(broker.port) as proxy,
            running(make(kind, proxy.port, box, pending_limit_bytes=50_000, keepalive_s=1)) as source,
        ):
            await publish(broker.port, f"vigie/v1/{box}/telemetry", *numbered(200, size=5000))
            await until(lambda: source.counters.pauses > 0)
            held = await source.next_batch()
            proxy.cut()
            await until(lambda: not source.connected)
            source.acknowledge(held)
            assert source.counters.stale_acks == 1
            assert payloads(await take(source, 200)) == numbered(200, size=5000)
            await nothing_comes(source)  # and the acknowledgements have passed the proxy
            proxy.swallow()
            await until(lambda: source.counters.reconnects >= 2)
            await nothing_comes(source)
        async with running(make(kind, broker.port, box)) as source:
            await nothing_comes(source)

    uvloop.run(scenario())


# -- from the settings


@pytest.mark.parametrize(
    ("ingest", "expected"),
    [
        ({"source": "mqtt5"}, Mqtt5Source),
        ({"source": "aiomqtt"}, AiomqttSource),
        ({"source": "aiomqtt", "protocol": "3.1.1"}, AiomqttSource),
    ],
)
async def test_the_settings_choose(
    broker: PrivateMosquitto, box: str, ingest: dict[str, str], expected: type[MqttSource]
) -> None:
    settings = VigieSettings.model_validate(
        {
            "broker": {"port": broker.port, "password": ACCOUNTS["ingest"]},
            "ingest": {"client_id": f"consumer-{box}", **ingest},
        }
    )
    assert build_mqtt_options(settings.ingest, settings.broker).topics == TOPICS
    source = make_source(settings.ingest, settings.broker)
    assert isinstance(source, expected)
    async with running(source):
        await publish(broker.port, f"vigie/v1/{box}/telemetry", b"t")
        await publish(broker.port, f"vigie/v1/{box}/event", b"e")
        await publish(broker.port, f"vigie/v1/{box}/config/reported", b"c")
        wanted = {b"t", b"e", b"c"}
        async with asyncio.timeout(60):
            while wanted:
                batch = await source.next_batch()
                source.acknowledge(batch)
                wanted -= set(batch.payloads)
