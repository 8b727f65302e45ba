"""The window, packet ids and end of a connection for acknowledgements, without a network."""

import asyncio
from collections.abc import Callable
from typing import cast
from unittest.mock import Mock

import mqtt5
import pytest

from app.ingest import ack_connection
from app.ingest.ack_connection import AckConnection


class MemoryTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[mqtt5.Packet] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view, position = memoryview(data), 0
        while position < len(view):
            packet, length = mqtt5.read(view[position:])
            self.packets.append(packet)
            position += length

    def close(self) -> None:
        self.is_closed = True

    abort = close


class SteppedLoop:
    """A loop's time, which goes on only while `run` waits for the connection's end."""

    def __init__(self) -> None:
        self.now = 0.0
        self._next: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Mock:
        self._next.append((self.now + delay, callback))
        return Mock(spec=asyncio.TimerHandle)

    def run(self, connection: AckConnection) -> str:
        while not connection.ended.done():
            self.now, callback = self._next.pop()
            callback()
        return connection.ended.result()


def connect_at(loop: SteppedLoop, answer: mqtt5.ConnAckPacket) -> tuple[AckConnection, MemoryTransport]:
    connection, transport = AckConnection(mqtt5.ConnectPacket("acks").write()), MemoryTransport()
    connection._loop = cast("asyncio.AbstractEventLoop", loop)
    connection._answered_at = connection._pinged_at = loop.now
    connection.connection_made(transport)
    connection.data_received(answer.write())
    return connection, transport


def connect(receive_max: int = 65_535) -> tuple[AckConnection, MemoryTransport]:
    connection, transport = AckConnection(mqtt5.ConnectPacket("acks").write()), MemoryTransport()
    connection.connection_made(transport)
    connection.data_received(mqtt5.ConnAckPacket(receive_max=receive_max).write())
    transport.packets.clear()
    return connection, transport


def confirm(connection: AckConnection, count: int, first: int = 1) -> None:
    connection.data_received(b"".join(mqtt5.PubAckPacket(first + index).write() for index in range(count)))


MESSAGE = ("vigie/v1/box/ack", b"{}")


async def test_the_broker_decides_how_many_messages_are_in_flight() -> None:
    connection, transport = connect(receive_max=20)
    assert connection.free_window == 20
    connection.send([MESSAGE] * 20)
    assert (connection.free_window, connection.can_send.is_set(), connection.is_idle.is_set()) == (
        0,
        False,
        False,
    )
    confirm(connection, 5)
    assert (connection.free_window, connection.can_send.is_set(), connection.confirmed) == (5, True, 5)
    confirm(connection, 15, first=6)
    assert connection.is_idle.is_set()
    published = [packet for packet in transport.packets if isinstance(packet, mqtt5.PublishPacket)]
    assert [packet.packet_id for packet in published] == list(range(1, 21))
    assert all(packet.qos == mqtt5.QoS.AT_LEAST_ONCE for packet in published)


async def test_answers_may_come_in_pieces() -> None:
    connection, _ = connect()
    connection.send([MESSAGE] * 3)
    for byte in b"".join(mqtt5.PubAckPacket(number).write() for number in (1, 2, 3)):
        connection.data_received(bytes([byte]))
    assert (connection.in_flight, connection.confirmed) == (0, 3)


async def test_packet_ids_begin_again_and_are_never_zero() -> None:
    connection, transport = connect()
    for _ in range(14):
        connection.send([MESSAGE] * 5_000)
        confirm(connection, 5_000)
    ids = [packet.packet_id for packet in transport.packets if isinstance(packet, mqtt5.PublishPacket)]
    assert (min(ids[:65_535]), max(ids), ids[65_535]) == (1, 65_535, 1)  # type: ignore[type-var]


async def test_nothing_is_sent_while_the_broker_does_not_read() -> None:
    connection, _ = connect()
    connection.pause_writing()
    assert (connection.free_window, connection.can_send.is_set()) == (0, False)
    connection.resume_writing()
    assert connection.can_send.is_set()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.NOT_AUTHORIZED).write(),
            "refused: NOT_AUTHORIZED",
        ),
        (b"\xff\xff\xff\xff\xff\xff", "unreadable"),
        (
            mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN).write(),
            "disconnected by the broker: SERVER_SHUTTING_DOWN",
        ),
    ],
)
async def test_a_connection_ends_with_its_reason(answer: bytes, reason: str) -> None:
    connection, transport = AckConnection(b"\xc0\x00"), MemoryTransport()
    connection.connection_made(transport)
    connection.data_received(answer)
    assert connection.ended.result() == reason
    assert transport.is_closed
    assert connection.free_window == 0


async def test_a_connection_without_messages_asks_whether_the_broker_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, seconds in (("_TICK_S", 0.01), ("KEEPALIVE_S", 0.1), ("SILENCE_S", 0.02)):
        monkeypatch.setattr(ack_connection, name, seconds)
    loop = SteppedLoop()
    connection, transport = connect_at(loop, mqtt5.ConnAckPacket())
    # Without any answer, also to pings, it ends.
    assert loop.run(connection) == "the broker is silent"
    assert loop.now == pytest.approx(0.1, abs=0.011)
    assert any(isinstance(packet, mqtt5.PingReqPacket) for packet in transport.packets)


async def test_the_broker_may_want_other_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ack_connection, "_TICK_S", 0.01)
    loop = SteppedLoop()
    connection, transport = connect_at(loop, mqtt5.ConnAckPacket(server_keep_alive=1))
    assert loop.run(connection) == "the broker is silent"
    pings = [packet for packet in transport.packets if isinstance(packet, mqtt5.PingReqPacket)]
    assert 1 <= len(pings) <= 2
