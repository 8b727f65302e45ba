"""Simulates a box by the guide: its own account, back-off with jitter, samples stored until acknowledged.

Owns the box's side of MQTT 5 and what it must remember. Knows no other box, and no clock but its loop's.
"""

import asyncio
import json
import random
import ssl
import time
from dataclasses import dataclass
from typing import Final, cast

import mqtt5

from bench.load import METRICS, RANGES, LoadSample, box_id, topic, vigie_message

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0
_ANSWER_WITHIN_S: Final = 20.0
_KEEP_ALIVE_S: Final = 150  # a sample a minute is sign of life enough
_PACKET_IDS: Final = 65_535
_SUBSCRIBE_ID: Final = 65_535


@dataclass(slots=True)
class FleetCounts:
    """The counters of the boxes of a process.

    Attributes:
        connected: boxes that may publish now.
        attempts: connections begun.
        refused: connections that the broker refused.
        made: samples measured.
        sent: samples written to a connection, repeats among them.
        named: samples that Vigie named as committed.
        rejected: samples that it named as refused.
        lost: connections of boxes that ended.
        returned: connections of boxes that had lost theirs before.
        configured: connected boxes that have received their retained configuration.
    """

    connected: int = 0
    attempts: int = 0
    refused: int = 0
    made: int = 0
    sent: int = 0
    named: int = 0
    rejected: int = 0
    lost: int = 0
    returned: int = 0
    configured: int = 0


@dataclass(frozen=True, slots=True)
class FleetBehaviour:
    """The behaviour of the boxes of a fleet, where it is not the default.

    Attributes:
        first_wait_s: the longest first pause before a connection; it doubles after each attempt.
        longest_wait_s: the longest pause.
        has_configuration: whether boxes subscribe to their configuration, too.
    """

    first_wait_s: float = FIRST_WAIT_S
    longest_wait_s: float = LONGEST_WAIT_S
    has_configuration: bool = False


_DEFAULT: Final = FleetBehaviour()


class _Connection(asyncio.Protocol):
    """A connection of a box, from CONNECT to its end."""

    def __init__(self, box: "FleetBox") -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._box = box
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._box.connect)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        del exc
        for future in (self.lost, self.ready):
            if not future.done():
                future.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take packets."""
        data = self._rest + data
        view, at = memoryview(data), 0
        while at < len(data):
            try:
                packet, length = mqtt5.read(view[at:])
            except IndexError:  # more of it is due
                break
            at += length
            self._take(packet)
        self._rest = data[at:]

    def write(self, data: bytes) -> None:
        """Send what is encoded."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.ConnAckPacket):
            if int(packet.reason_code):
                self._box.counts.refused += 1
                self.abort()
            else:
                self.write(self._box.subscribe)
        elif isinstance(packet, mqtt5.SubAckPacket) and not self.ready.done():
            self.ready.set_result(None)
        elif isinstance(packet, mqtt5.PublishPacket):
            if packet.topic.endswith("/config"):
                self._box.note_configuration()
            else:
                self._box.named(bytes(packet.payload))


class FleetBox:
    """A box that was registered with `ack`.

    Args:
        index: of the load.
        password: of its account.
        address: host and port of the broker.
        counts: to count in.
        chance: of the values and the jitter.
        tls: whom to trust, where it connects by TLS.
        behaviour: what is not as by default.
    """

    def __init__(
        self,
        index: int,
        password: str,
        address: tuple[str, int],
        counts: FleetCounts,
        chance: random.Random,
        *,
        tls: ssl.SSLContext | None = None,
        behaviour: FleetBehaviour = _DEFAULT,
    ) -> None:
        name = box_id(index)
        self.counts = counts
        self.connect = mqtt5.ConnectPacket(
            name, username=name, password=password.encode(), clean_start=True, keep_alive=_KEEP_ALIVE_S
        ).write()
        leaves = ("ack", "config") if behaviour.has_configuration else ("ack",)
        filters = [
            mqtt5.TopicFilter(f"vigie/v1/{name}/{leaf}", max_qos=mqtt5.QoS.AT_MOST_ONCE) for leaf in leaves
        ]
        self.subscribe = mqtt5.SubscribePacket(_SUBSCRIBE_ID, filters).write()
        self._behaviour = behaviour
        self._index = index
        self._topic = topic(index)
        self._address = address
        self._chance = chance
        self._tls = tls
        self._seq = 0
        self._kept: dict[int, bytes] = {}
        self._connection: _Connection | None = None
        self._has_lost = False
        self._is_configured = False

    async def live(self, within_s: float = 0.0) -> None:
        """Connect at a random moment, and again whenever the connection ends, until cancelled.

        Args:
            within_s: when it first connects at the latest.
        """
        await asyncio.sleep(self._chance.uniform(0, within_s))
        tries = 0
        while True:
            longest = min(self._behaviour.longest_wait_s, self._behaviour.first_wait_s * 2**tries)
            await asyncio.sleep(self._chance.uniform(0, longest))
            tries += 1
            self.counts.attempts += 1
            self._forget_configuration()
            connection = _Connection(self)
            if await self._begin(connection):
                tries = 0
                self._connection = connection
                self.counts.connected += 1
                self.counts.returned += self._has_lost
                try:
                    self.repeat()
                    await connection.lost
                finally:
                    self._connection = None
                    self._has_lost = True
                    self.counts.lost += 1
                    self.counts.connected -= 1
                    self._forget_configuration()

    async def _begin(self, connection: _Connection) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, *self._address, ssl=self._tls
                )
                await connection.ready
        except (OSError, TimeoutError):
            connection.abort()
            return False
        return not connection.lost.done()

    def measure(self) -> None:
        """Make a sample, keep it, and send it where there is a connection."""
        self._seq += 1
        values = tuple(round(self._chance.uniform(*RANGES[name]), 1) for name in METRICS)
        sample = LoadSample(self._index, self._seq, round(time.time() * 1000), values)
        self._kept[self._seq] = vigie_message(sample)
        self.counts.made += 1
        self._send(self._seq)

    def repeat(self) -> None:
        """Send again what was not named yet."""
        for seq in self._kept:
            self._send(seq)

    def _send(self, seq: int) -> None:
        if self._connection is None:
            return
        packet = mqtt5.PublishPacket(
            self._topic, self._kept[seq], qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=seq % (_PACKET_IDS - 1) + 1
        )
        self._connection.write(packet.write())
        self.counts.sent += 1

    def note_configuration(self) -> None:
        """Note that the configuration has arrived on this connection."""
        if not self._is_configured:
            self._is_configured = True
            self.counts.configured += 1

    def _forget_configuration(self) -> None:
        self.counts.configured -= self._is_configured
        self._is_configured = False

    def named(self, payload: bytes) -> None:
        """Forget what Vigie has committed, or refused."""
        message = json.loads(payload)
        for seq in message.get("seqs", ()):
            self.counts.named += self._kept.pop(seq, None) is not None
        for refused in message.get("rejected", ()):
            self.counts.rejected += self._kept.pop(refused["seq"], None) is not None
