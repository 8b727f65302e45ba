"""Reads one MQTT 5 connection: parses packets, queues messages and sends acknowledgements.

It has the parsing loop (the hottest code of the product), the handshake, keep-alive and the handling of
unreadable packets. It does not reconnect, and does not publish.
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
from app.ingest.sources.pubacks_and_unreadable_packets import (
    PoisonLedger,
    packet_length,
    publish_packet_id,
)
from app.ingest.sources.reconnecting_mqtt_source import SessionEndedError
from app.platform.observability.tracing import is_tracing

_TICKS = 4  # per keep-alive interval
_PING_EVERY = 2  # ticks
_BURST_S = 0.0005  # faster chunks are small pieces of a stream
_PAUSE_S = 0.001  # far below the delay of a batch
_REFUSED = 0x80  # reason codes from here on are refusals; they convert to int but do not compare with one

# Only a PublishPacket has a topic. The loop below reads it and catches the AttributeError of other packets,
# so that the common case needs no type check. Hence the narrower type.
_read = cast("Callable[[memoryview], tuple[mqtt5.PublishPacket, int]]", mqtt5.read)


class _RunEnd(Enum):
    """Why a run of PUBLISH packets ended, other than at a packet of another kind."""

    FULL = auto()
    INCOMPLETE = auto()
    MALFORMED = auto()


def _is_panic(error: BaseException) -> bool:
    """Whether the codec panicked. The class of pyo3 derives from BaseException and cannot be imported."""
    kind = type(error)
    return kind.__name__ == "PanicException" and kind.__module__ == "pyo3_runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttHandshake:
    """The encoded CONNECT and SUBSCRIBE, and the limits of the connection."""

    connect: bytes
    subscribe: bytes
    keepalive_s: int
    max_packet_bytes: int


class Mqtt5Connection(asyncio.Protocol):
    """The asyncio protocol of one connection.

    Args:
        inbox: The queue for messages.
        counters: `malformed` is counted here.
        ledger: Remembers unreadable packets, for all connections of a source.
        handshake: CONNECT, SUBSCRIBE and limits.

    Attributes:
        ready: Done when the broker has granted the subscription.
        ended: Done with a `SessionEndedError` when the connection has ended.
        closed: Done when the transport is closed.
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
        self._parts: list[bytes] = []  # pieces of an incomplete packet
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
        """Parse received bytes. A packet in several pieces is joined when it is complete."""
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
            self._pause_briefly()
        self._read_at = now

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the end of the connection."""
        self._end("connection lost" if exc is None else f"connection lost: {type(exc).__name__}")
        if not self.closed.done():
            self.closed.set_result(None)

    # -- for the owner

    @property
    def attached(self) -> bool:
        """Whether there was a transport, which must be closed."""
        return self._transport is not None

    def write(self, data: bytes) -> None:
        """Send encoded packets, unless the connection has ended."""
        if self._transport is not None and not self.ended.done():
            self._transport.write(data)

    def disconnect(self) -> None:
        """Send DISCONNECT. The broker keeps the session and unacknowledged messages.

        The broker (or `abort`) closes the socket. If it were closed immediately after the last
        acknowledgements, Mosquitto would drop those that it had not read.
        """
        if self._transport is None or self.ended.done():
            return
        self._transport.write(mqtt5.DisconnectPacket().write())
        self._transport.resume_reading()  # to notice that the broker closes; further data is ignored
        self._end("stopped", close=False)

    def abort(self) -> None:
        """Close without waiting for a peer that does not read."""
        self._end("aborted")
        if self._transport is not None:
            self._transport.abort()

    # -- reading in larger chunks

    def _pause_briefly(self) -> None:
        """Pause reading for a millisecond when small chunks follow each other closely.

        A broker under load writes one message at a time, and a wake-up for each costs ten times its parsing.
        After the pause hundreds can be read together, and the broker and the database had the CPU.
        """
        if self._transport is None or self.ended.done() or self._inbox.paused:
            return
        self._transport.pause_reading()
        self._loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._transport is not None and not self.ended.done() and not self._inbox.paused:
            self._transport.resume_reading()

    # -- parsing

    def _parse(self, data: bytes) -> None:
        """Parse all complete packets, and buffer the rest."""
        view = memoryview(data)
        position = 0
        while not self.ended.done():
            begin = position
            position, length, met = self._read_publishes(view, begin)
            if position > begin:
                self._silent_ticks = 0
                self._inbox.settle(position - begin)
            if met is _RunEnd.MALFORMED:
                position, met = self._refuse(view, position)
            elif met is not _RunEnd.FULL and met is not _RunEnd.INCOMPLETE:
                position += length
                self._silent_ticks = 0
                self._handle(met)
            if met is _RunEnd.INCOMPLETE:
                self._buffer(data, position)
                return

    def _read_publishes(self, view: memoryview, position: int) -> "tuple[int, int, _RunEnd | mqtt5.Packet]":
        """Append PUBLISH packets to the open batch until it is full or another packet follows.

        The hot loop. Iterating over `repeat` bounds the batch without a check per message, and exceptions end
        a run without any test inside it.

        Returns:
            The position after the last message; the length of the packet there, if it is of another kind; and
                why the run ended.
        """
        inbox = self._inbox
        read = _read
        reads_traces = is_tracing()
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
                if packet.correlation_data is not None or (reads_traces and packet.user_properties):
                    inbox.add_properties(packet.correlation_data, packet.user_properties)
                position += length
                if position >= full_at:
                    break
        except IndexError:
            return position, 0, _RunEnd.INCOMPLETE
        except AttributeError:
            return position, length, cast("mqtt5.Packet", packet)
        except ValueError:
            return position, 0, _RunEnd.MALFORMED
        except BaseException as error:
            if not _is_panic(error):
                raise
            return position, 0, _RunEnd.MALFORMED
        return position, 0, _RunEnd.FULL

    def _buffer(self, data: bytes, position: int) -> None:
        """Buffer an incomplete packet and its total length, so that it is parsed and copied only once."""
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

    def _refuse(self, view: memoryview, position: int) -> "tuple[int, _RunEnd]":
        """Handle an unreadable packet: end the connection, or skip the packet after repeated deliveries.

        Returns:
            The position to continue from, and whether the packet is complete.
        """
        rest = view[position:]
        try:
            length = packet_length(rest)
        except ValueError:
            length = 0
        if length is None or len(rest) < length:
            return position, _RunEnd.INCOMPLETE
        raw = bytes(rest[:length])
        if raw and self._ledger.skip(raw):
            self._counters.malformed += 1
            self._inbox.add_poison(raw, publish_packet_id(raw))
            return position + length, _RunEnd.MALFORMED
        self._end_malformed(mqtt5.DisconnectReasonCode.MALFORMED_PACKET)
        return position, _RunEnd.MALFORMED

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
        """Ping twice per interval, and end the connection after an interval without a complete packet.

        Ticks are counted instead of seconds: a process that was suspended or busy must not treat its own
        silence as the broker's. The same holds while reading is paused.
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
        """End this connection once, with a DISCONNECT if a code is given."""
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
