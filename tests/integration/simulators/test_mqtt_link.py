"""The simulators' connection to a real broker: reconnecting, renewed passwords, nothing lost on the way."""

import asyncio
import json
import time
from collections.abc import Collection
from dataclasses import replace

import aiomqtt
import pytest

from app.standalone.private_mosquitto import PrivateMosquitto
from simulators import mqtt_link
from simulators.mqtt_link import MqttLink, box_topic, keep_connected
from simulators.target_stack import BrokerAddress
from tests.conftest import ACCOUNTS
from tests.scenarios.processes import until


@pytest.fixture
def broker(mosquitto: PrivateMosquitto) -> BrokerAddress:
    return BrokerAddress(mosquitto.host, mosquitto.port, "gateway", ACCOUNTS["gateway"])


class Proxy:
    """A TCP proxy whose connections can be cut."""

    def __init__(self, broker: BrokerAddress) -> None:
        self._broker = broker
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> BrokerAddress:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return replace(self._broker, port=self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._broker.host, self._broker.port)
        self._writers |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer), return_exceptions=True)
        self._writers -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(65_536):
                sink.write(chunk)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


async def _count(got: Collection[int], wanted: int) -> bool:
    return len(got) >= wanted


async def test_everything_arrives_although_the_connection_is_cut_again_and_again(
    broker: BrokerAddress,
) -> None:
    proxy = Proxy(broker)
    through = await proxy.start()
    got: set[int] = set()
    reading = replace(broker, username="ingest", password=ACCOUNTS["ingest"])
    reader = MqttLink(
        reading,
        subscribe=[box_topic("link-1", "telemetry")],
        receive=lambda _name, payload: got.add(int(payload)),
    )
    writer = MqttLink(through, window=10)
    async with keep_connected([reader, writer]):
        for number in range(600):
            await writer.submit(box_topic("link-1", "telemetry"), str(number).encode())
            if number % 150 == 75:
                proxy.cut()
        async with asyncio.timeout(60):
            await writer.drain()
        await until(lambda: _count(got, 600))
    await proxy.stop()
    assert got == set(range(600))
    assert writer.connections >= 4


async def test_messages_of_one_link_keep_their_order(broker: BrokerAddress) -> None:
    got: list[int] = []
    reading = replace(broker, username="ingest", password=ACCOUNTS["ingest"])
    reader = MqttLink(
        reading,
        subscribe=[box_topic("link-2", "telemetry")],
        receive=lambda _name, payload: got.append(int(payload)),
    )
    writer = MqttLink(broker, window=50)
    async with keep_connected([reader, writer]):
        for number in range(500):
            await writer.submit(box_topic("link-2", "telemetry"), str(number).encode())
        async with asyncio.timeout(60):
            await writer.drain()
        await until(lambda: _count(got, 500))
    assert got == list(range(500))


async def test_a_refused_password_is_renewed_after_a_few_tries(broker: BrokerAddress) -> None:
    asked: list[float] = []

    async def renew() -> str:
        asked.append(time.monotonic())
        return ACCOUNTS["gateway"]

    link = MqttLink(replace(broker, password="wrong"), renew=renew)
    async with keep_connected([link], wait_s=20):
        await link.publish(box_topic("link-3", "telemetry"), b"1")
    assert len(asked) == 1


async def test_a_renewal_that_fails_ends_the_link_with_its_reason(broker: BrokerAddress) -> None:
    async def renew() -> str:
        raise LookupError("the box is gone")

    link = MqttLink(replace(broker, password="wrong"), renew=renew)
    with pytest.raises(LookupError, match="gone"):
        async with keep_connected([link], wait_s=20):
            pass


async def test_the_status_is_retained_and_leaving_takes_no_time(
    broker: BrokerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_link, "_CLOSE_TIMEOUT_S", 60.0)
    link = MqttLink(broker, status_of="link-4")
    async with keep_connected([link]):
        assert await retained(broker, "link-4") == "online"
        started = time.monotonic()
    assert time.monotonic() - started < 30
    assert await retained(broker, "link-4") == "offline"
    # The broker is shared by the tests of a session: leave nothing retained.
    async with aiomqtt.Client(
        broker.host, broker.port, username="gateway", password=ACCOUNTS["gateway"]
    ) as client:
        await client.publish(box_topic("link-4", "status"), b"", qos=1, retain=True)


async def retained(broker: BrokerAddress, box: str) -> str:
    """The state in a box's retained status."""
    async with (
        asyncio.timeout(60),
        aiomqtt.Client(broker.host, broker.port, username="ingest", password=ACCOUNTS["ingest"]) as client,
    ):
        await client.subscribe(box_topic(box, "status"), qos=1)
        async for message in client.messages:
            assert message.retain
            assert isinstance(message.payload, bytes)
            state: str = json.loads(message.payload)["state"]
            return state
    raise AssertionError("no status")
