"""The benchmark's publisher: its packets, read back by Vigie's codec, and that it sends all of them, once."""

import asyncio
from collections import Counter

import mqtt5
import pytest

from bench.publisher import CONNECTIONS, BrokerAccount, encode_connect, encode_publish, publish


def test_a_publish_is_one_that_the_codec_reads() -> None:
    for size in (0, 1, 100, 20_000):
        raw = encode_publish("vigie/v1/bench-00001/telemetry", b"x" * size, 65_535)
        packet, length = mqtt5.read(memoryview(raw))
        assert isinstance(packet, mqtt5.PublishPacket)
        assert length == len(raw)
        assert packet.topic == "vigie/v1/bench-00001/telemetry"
        assert packet.payload == b"x" * size
        assert packet.packet_id == 65_535


def test_a_connect_is_one_that_the_codec_reads() -> None:
    raw = encode_connect("bench-load-0", BrokerAccount("127.0.0.1", 1, "gateway", "secret"))
    packet, length = mqtt5.read(memoryview(raw))
    assert isinstance(packet, mqtt5.ConnectPacket)
    assert length == len(raw)
    assert (packet.client_id, packet.username, packet.password) == ("bench-load-0", "gateway", b"secret")


class _Broker(asyncio.Protocol):
    """Accepts and acknowledges everything; notes what came."""

    def __init__(self, came: list[bytes]) -> None:
        self._came = came
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        position, answers = 0, [b""]
        while position < len(data):
            try:
                packet, length = mqtt5.read(memoryview(data)[position:])
            except IndexError:
                break
            position += length
            if isinstance(packet, mqtt5.ConnectPacket):
                answers.append(b"\x20\x03\x00\x00\x00")
            elif isinstance(packet, mqtt5.PublishPacket):
                assert packet.payload is not None
                assert packet.packet_id is not None
                self._came.append(bytes(packet.payload))
                answers.append(b"\x40\x02" + packet.packet_id.to_bytes(2, "big"))
        self._rest = data[position:]
        self._transport.write(b"".join(answers))


@pytest.mark.parametrize("count", [1, CONNECTIONS, 4_000, 20_001])
async def test_every_message_is_sent_once(count: int) -> None:
    came: list[bytes] = []
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: _Broker(came), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        messages = [("vigie/v1/x/telemetry", str(number).encode()) for number in range(count)]
        assert await publish(messages, BrokerAccount("127.0.0.1", port, "gateway", "secret")) == count
    assert Counter(came) == Counter(payload for _, payload in messages)


async def test_a_refusal_is_an_error() -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x20\x03\x00\x87\x00")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionError, match="20030087"):
            await publish([("topic", b"")], BrokerAccount("127.0.0.1", port, "gateway", "wrong"))
