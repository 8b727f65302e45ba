"""Publishes a backlog quickly, at QoS 1, over a few connections with many messages under way on each.

Owns the wire format of what it sends and the window of unacknowledged messages. Knows nothing of samples.
Bounded in time by its caller.
"""

import asyncio
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import batched, cycle, islice
from typing import Final, cast

import aiomqtt
from aiomqtt.client import ProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CONNECTIONS: Final = 4
"""Messages are dealt out to so many connections in turn."""

_WINDOW: Final = 4_000  # unacknowledged messages of a connection; packet ids repeat after 65,535
_CHUNK: Final = 1_000
_CONNACK: Final = 2
_PUBACK: Final = 4
_HEADER: Final = 2
_DISCONNECT: Final = b"\xe0\x00"
_PACKET_IDS: Final = 65_535
_SEVEN_BITS: Final = 0x7F
_MORE: Final = 0x80
_REFUSED_AT: Final = 3
_SESSION_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """The address of the broker, and an account."""

    host: str
    port: int
    username: str
    password: str


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("!H", len(data)) + data


def _packet(header: int, body: bytes) -> bytes:
    length, size = len(body), bytearray()
    while length > _SEVEN_BITS:
        size.append(length & _SEVEN_BITS | _MORE)
        length >>= 7
    size.append(length)
    return bytes((header, *size)) + body


def encode_connect(client_id: str, account: BrokerAccount) -> bytes:
    """CONNECT of MQTT 5: a clean start, no keep-alive, an account."""
    variable = _text("MQTT") + bytes((5, 0b1100_0010, 0, 0, 0))
    return _packet(0x10, variable + _text(client_id) + _text(account.username) + _text(account.password))


def encode_publish(topic: str, payload: bytes, packet_id: int) -> bytes:
    """PUBLISH of MQTT 5 at QoS 1, without properties."""
    return _packet(0x32, _text(topic) + struct.pack("!HB", packet_id, 0) + payload)


class _Connection(asyncio.Protocol):
    """Sends its messages as its window allows, and counts the answers."""

    def __init__(self, messages: Iterator[tuple[str, bytes]], client_id: str, account: BrokerAccount) -> None:
        self._messages = messages
        self._connect = encode_connect(client_id, account)
        self._ids = cycle(range(1, _PACKET_IDS + 1))
        self._sent = 0
        self._acked = 0
        self._exhausted = False
        self._rest = b""
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._connect)

    def data_received(self, data: bytes) -> None:
        """Count what is acknowledged and send what that makes room for."""
        data = self._rest + data
        position, size = 0, len(data)
        while size - position >= _HEADER and size - position >= _HEADER + data[position + 1]:
            kind = data[position] >> 4
            if kind == _PUBACK:
                self._acked += 1
            elif kind != _CONNACK or data[position + _REFUSED_AT]:
                self._fail(ConnectionError(f"the broker answers {data[position:size].hex()[:40]}"))
                return
            position += _HEADER + data[position + 1]
        self._rest = data[position:]
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail, unless all was acknowledged."""
        self._fail(exc or ConnectionError("the broker closed the connection"))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self._transport.abort()

    def _send(self) -> None:
        while not self._exhausted and self._sent - self._acked <= _WINDOW - _CHUNK:
            chunk = [
                encode_publish(topic, payload, next(self._ids))
                for topic, payload in islice(self._messages, _CHUNK)
            ]
            self._exhausted = len(chunk) < _CHUNK
            self._sent += len(chunk)
            self._transport.write(b"".join(chunk))
        if self._exhausted and self._acked == self._sent and not self.done.done():
            self.done.set_result(self._sent)
            self._transport.write(_DISCONNECT)
            self._transport.close()


async def publish(messages: Iterable[tuple[str, bytes]], account: BrokerAccount) -> int:
    """Publish (topic, payload) messages; returns how many, once the broker has acknowledged all of them.

    Raises:
        ConnectionError: the broker refused, or went away.
    """
    loop = asyncio.get_running_loop()
    lanes: list[list[tuple[str, bytes]]] = [[] for _ in range(CONNECTIONS)]
    for row in batched(messages, CONNECTIONS):
        for lane, message in zip(lanes, row, strict=False):
            lane.append(message)
    connections = []
    for number, lane in enumerate(lanes):
        _, connection = await loop.create_connection(
            lambda lane=lane, number=number: _Connection(iter(lane), f"bench-load-{number}", account),  # type: ignore[misc] # mypy infers no type for bound defaults
            account.host,
            account.port,
        )
        connections.append(connection)
    return sum(await asyncio.gather(*(connection.done for connection in connections)))


def client(
    account: BrokerAccount, client_id: str, *, session_s: int = _SESSION_S, clean: bool = False
) -> aiomqtt.Client:
    """An aiomqtt client of MQTT 5 whose session outlives its connection by `session_s`."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's is untyped
    properties.SessionExpiryInterval = session_s
    properties.ReceiveMaximum = 20_000
    return aiomqtt.Client(
        account.host,
        account.port,
        username=account.username,
        password=account.password,
        identifier=client_id,
        protocol=ProtocolVersion.V5,
        clean_start=clean,
        properties=properties,
        max_inflight_messages=1_000,
        timeout=30,
    )


async def make_session(account: BrokerAccount, client_id: str, filters: Iterable[str]) -> None:
    """Leave a fresh, empty session under this client id, for the broker to queue in."""
    await drop_session(account, client_id)
    async with client(account, client_id) as connection:
        for name in filters:
            await connection.subscribe(name, qos=1)


async def drop_session(account: BrokerAccount, client_id: str) -> None:
    """Have the broker forget a session and what it holds."""
    async with client(account, client_id, session_s=0, clean=True):
        pass
