"""One MQTT 5 connection of a consumer: bytes in, messages into the inbox, acknowledgements out.

Owns the parsing loop (the hottest of the product), the handshake, keep-alive and the treatment of
unreadable packets. It lives for one connection; reconnecting is its owner's task. It publishes nothing.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import repeat
from typing import cast

import mqtt5

from app.ingest.sources.batch_queue import BatchQueue
from app.ingest.sources.message_source import SourceCounters
from app.ingest.sources.mqtt_wire import PoisonLedger, packet_length, publish_packet_id
from app.ingest.sources.reconnecting_session import SessionEndedError

_TICKS = 4  # per keep-alive interval
_PING_EVERY = 2  # ticks
_BURST_S = 0.0005  # pieces that follow each other faster are small ones of a stream
_NAP_S = 0.001  # far below the delay after which a batch is handed out
_REFUSED = 0x80  # reason codes from here on are refusals; they convert to int but do not compare with one

# Only a PublishPacket has a topic: the loop below asks for it and takes the AttributeError of the
# others, so that the common case pays for no type check. Hence the narrower type.
_read = cast("Callable[[memoryview], tuple[mqtt5.PublishPacket, int]]", mqtt5.read)


class _Met(Enum):
    """What ended a run of PUBLISH packets, other than a packet of another kind."""

    FULL = auto()
    INCOMPLETE = auto()
    MALFORMED = auto()


def _is_panic(error: BaseException) -> bool:
    """Whether the codec panicked: pyo3's class derives from BaseException and cannot be imported."""
    kind = type(error)
    return kind.__name__ == "PanicException" and kind.__module__ == "pyo3_runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttHandshake:
    """What is said first, encoded, and the bounds of the connection."""

    connect: bytes
    subscribe: bytes
    keepalive_s: int
    max_packet_bytes: int


class Mqtt5Connection(asyncio.Protocol):
    """The protocol of one connection.

    Args:
        inbox: Where messages go.
        counters: ``malformed`` is counted here.
        ledger: Memory of unreadable packets, shared by all connections of a source.
        handshake: CONNECT, SUBSCRIBE and bounds.

    Attributes:
        ready: Done once the broker granted the subscription.
        ended: Done with a ``SessionEndedError`` once the connection is of no more use.
        closed: Done once the transport is closed.
    """

    def __init__(
        self, inbox: BatchQueue, counters: SourceCounters, ledger: PoisonLedger, handshake: MqttHandshake
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[SessionEndedError] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._inbox = inbox
        self._counters = counters
        self._ledger = ledger
        self._handshake = handshake
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []  # of a packet that was cut
        self._have = 0
        self._need = 0
        self._read_at = 0.0
        self._tick_s = handshake.keepalive_s / _TICKS
        self._ticks = 0
        self._silent_ticks = 0
        self._timer: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT."""
        self._transport = cast("asyncio.Transport", transport)
        self._inbox.attach(self._transport)
        self._transport.write(self._handshake.connect)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a packet that was cut is put together only once all of it is there."""
        if self.ended.done():
            return
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        self._parse(data)
        now = time.monotonic()
        if now - self._read_at < _BURST_S:
            self._nap()
        self._read_at = now

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end, whoever caused it."""
        self._end("connection lost" if exc is None else f"connection lost: {type(exc).__name__}")
        if not self.closed.done():
            self.closed.set_result(None)

    # -- the owner's side

    @property
    def attached(self) -> bool:
        """Whether there ever was a transport, hence something to close."""
        return self._transport is not None

    def write(self, data: bytes) -> None:
        """Send encoded packets, unless the connection has ended."""
        if self._transport is not None and not self.ended.done():
            self._transport.write(data)

    def disconnect(self) -> None:
        """Say DISCONNECT; the session and what was not acknowledged stay with the broker.

        Closing is left to the broker (or to ``abort``): were the socket closed right behind the last
        acknowledgements, Mosquitto would drop those that it had not read yet.
        """
        if self._transport is None or self.ended.done():
            return
        self._transport.write(mqtt5.DisconnectPacket().write())
        self._transport.resume_reading()  # to see the broker close; what still comes is ignored
        self._end("stopped", close=False)

    def abort(self) -> None:
        """Close without waiting for a peer that does not read."""
        self._end("aborted")
        if self._transport is not None:
            self._transport.abort()

    # -- reading in larger pieces

    def _nap(self) -> None:
        """Stop reading for a moment when pieces follow each other closely.

        A broker under load writes message by message; waking up for each costs ten times its parsing.
        After a nap there are hundreds to read at once, and the broker and the database had the core.
        """
        if self._transport is None or self.ended.done() or self._inbox.paused:
            return
        self._transport.pause_reading()
        self._loop.call_later(_NAP_S, self._wake_up)

    def _wake_up(self) -> None:
        if self._transport is not None and not self.ended.done() and not self._inbox.paused:
            self._transport.resume_reading()

    # -- parsing

    def _parse(self, data: bytes) -> None:
        """Read every whole packet of data; keep the rest."""
        view = memoryview(data)
        position = 0
        while not self.ended.done():
            begin = position
            position, length, met = self._read_publishes(view, begin)
            if position > begin:
                self._silent_ticks = 0
                self._inbox.settle(position - begin)
            if met is _Met.MALFORMED:
                position, met = self._refuse(view, position)
            elif met is not _Met.FULL and met is not _Met.INCOMPLETE:
                position += length
                self._silent_ticks = 0
                self._handle(met)
            if met is _Met.INCOMPLETE:
                self._keep(data, position)
                return

    def _read_publishes(self, view: memoryview, position: int) -> "tuple[int, int, _Met | mqtt5.Packet]":
        """Append PUBLISH packets to the open batch until it is full or something else is met.

        The hot loop. Running over ``repeat`` bounds the batch at no cost per message, and each
        exception ends a run without any test inside it.

        Returns:
            The position after the last message, the length of the packet met there, and what was met.
        """
        inbox = self._inbox
        read = _read
        full_at = position + inbox.room_bytes
        add_topic = inbox.topics.append
        add_payload = inbox.payloads.append
        add_packet_id = inbox.packet_ids.append
        length = 0
        try:
            for _ in repeat(None, inbox.room):
                packet, length = read(view[position:])
                add_topic(packet.topic)
                add_payload(packet.payload)
                add_packet_id(packet.packet_id)
                if packet.retain:
                    inbox.retained.append(len(inbox.topics) - 1)
                if packet.correlation_data is not None:
                    inbox.correlations[len(inbox.topics) - 1] = packet.correlation_data
                position += length
                if position >= full_at:
                    break
        except IndexError:
            return position, 0, _Met.INCOMPLETE
        except AttributeError:
            return position, length, cast("mqtt5.Packet", packet)
        except ValueError:
            return position, 0, _Met.MALFORMED
        except BaseException as error:
            if not _is_panic(error):
                raise
            return position, 0, _Met.MALFORMED
        return position, 0, _Met.FULL

    def _keep(self, data: bytes, position: int) -> None:
        """Keep an incomplete packet, and know how many bytes make it whole: it is parsed and copied once."""
        self._have = len(data) - position
        if not self._have:
            return
        rest = data[position:]
        try:
            length = packet_length(rest)
        except ValueError:
            self._end_malformed(mqtt5.DisconnectReasonCode.MALFORMED_PACKET)
            return
        if length is not None and length > self._handshake.max_packet_bytes:
            self._end_malformed(mqtt5.DisconnectReasonCode.PACKET_TOO_LARGE)
            return
        self._need = self._have + 1 if length is None else length
        self._parts.append(rest)

    def _refuse(self, view: memoryview, position: int) -> "tuple[int, _Met]":
        """Treat an unreadable packet: end the connection, or skip it when it came too often.

        Returns:
            The position to go on from, and whether the packet is all there.
        """
        rest = view[position:]
        try:
            length = packet_length(rest)
        except ValueError:
            length = 0
        if length is None or len(rest) < length:
            return position, _Met.INCOMPLETE
        raw = bytes(rest[:length])
        if raw and self._ledger.skip(raw):
            self._counters.malformed += 1
            self._inbox.add_poison(raw, publish_packet_id(raw))
            return position + length, _Met.MALFORMED
        self._end_malformed(mqtt5.DisconnectReasonCode.MALFORMED_PACKET)
        return position, _Met.MALFORMED

    # -- control packets

    def _handle(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.PingRespPacket():
                pass
            case mqtt5.ConnAckPacket():
                self._on_connack(packet)
            case mqtt5.SubAckPacket():
                refused = [code.name for code in packet.reason_codes if int(code) >= _REFUSED]
                if refused:
                    self._end(f"subscription refused: {refused[0]}")
                elif not self.ready.done():
                    self.ready.set_result(None)
            case mqtt5.DisconnectPacket():
                self._end(f"disconnected by the broker: {packet.reason_code.name}")
            case _:
                self._end(f"unexpected {type(packet).__name__}", mqtt5.DisconnectReasonCode.PROTOCOL_ERROR)

    def _on_connack(self, packet: mqtt5.ConnAckPacket) -> None:
        if int(packet.reason_code) >= _REFUSED:
            self._end(f"refused: {packet.reason_code.name}")
            return
        if packet.server_keep_alive is not None:
            self._tick_s = packet.server_keep_alive / _TICKS
        self.write(self._handshake.subscribe)
        if self._tick_s:
            self._timer = self._loop.call_later(self._tick_s, self._tick)

    # -- keep-alive

    def _tick(self) -> None:
        """Ping twice per interval, and give up after an interval without a single whole packet.

        Ticks are counted, not seconds: a process that was suspended, or whose loop was busy, must not
        take its own silence for the broker's. Nor the silence that comes of its own pause.
        """
        self._silent_ticks = 0 if self._inbox.paused else self._silent_ticks + 1
        if self._silent_ticks > _TICKS:
            self._end("the broker is silent")
            self.abort()
            return
        self._ticks += 1
        if self._ticks % _PING_EVERY == 0:
            self.write(mqtt5.PingReqPacket().write())
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    # -- the end

    def _end_malformed(self, code: mqtt5.DisconnectReasonCode) -> None:
        self._counters.malformed += 1
        self._end(f"unreadable: {code.name}", code)

    def _end(
        self, reason: str, code: mqtt5.DisconnectReasonCode | None = None, *, close: bool = True
    ) -> None:
        """End this connection once, with a DISCONNECT where a code is given."""
        if self.ended.done():
            return
        if code is not None:
            self.write(mqtt5.DisconnectPacket(reason_code=code).write())
        self.ended.set_result(SessionEndedError(reason))
        self._inbox.detach()
        if self._timer is not None:
            self._timer.cancel()
        if close and self._transport is not None:
            self._transport.close()
