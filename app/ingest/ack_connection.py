"""Publishes messages over one MQTT 5 connection, many at a time, without waiting for each of them.

It has the handshake, the window of messages without PUBACK, and keep-alive. It does not reconnect, and does
not subscribe.
"""

import asyncio
import math
from collections.abc import Sequence
from itertools import cycle
from typing import Final, cast

import mqtt5

SILENCE_S: Final = 5.0
"""Seconds without an answer after which the connection is closed, while messages wait for their PUBACK."""

KEEPALIVE_S: Final = 20
_TICK_S: Final = 1.0
_PACKET_IDS: Final = 65_535
# Bounds the memory of messages in flight. The broker may want fewer.
_WINDOW: Final = 5_000
_REFUSED: Final = 0x80


class AckConnection(asyncio.Protocol):
    """The asyncio protocol of one connection.

    Args:
        connect: The encoded CONNECT.

    Attributes:
        ready: Done when the broker has accepted the connection.
        ended: Done with the reason when the connection has ended.
        can_send: Set while messages may be sent.
        is_idle: Set while no message is in flight.
        in_flight: Messages without PUBACK.
        confirmed: Messages with PUBACK.
    """

    def __init__(self, connect: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.can_send = asyncio.Event()
        self.is_idle = asyncio.Event()
        self.is_idle.set()
        self.in_flight = 0
        self.confirmed = 0
        self._connect = connect
        self._window = _WINDOW
        self._keepalive_s = float(KEEPALIVE_S)
        self._packet_ids = cycle(range(1, _PACKET_IDS + 1))
        self._is_paused = False
        self._rest = b""
        self._answered_at = self._pinged_at = loop.time()
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._connect)

    def data_received(self, data: bytes) -> None:
        """Count PUBACKs."""
        view, position = memoryview(self._rest + data), 0
        try:
            while position < len(view) and not self.ended.done():
                packet, length = mqtt5.read(view[position:])
                position += length
                self._handle(packet)
        except IndexError:  # the rest is still to come
            pass
        except ValueError:
            self._end("unreadable")
        self._rest = bytes(view[position:])
        self._answered_at = self._loop.time()
        self._note_window()

    def pause_writing(self) -> None:
        """Send nothing while the broker does not read."""
        self._is_paused = True
        self._note_window()

    def resume_writing(self) -> None:
        """Send again."""
        self._is_paused = False
        self._note_window()

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the end of the connection."""
        self._end("connection lost" if exc is None else f"connection lost: {type(exc).__name__}")

    # -- for the owner

    @property
    def free_window(self) -> int:
        """How many messages may be sent now."""
        if self._is_paused or self.ended.done() or not self.ready.done():
            return 0
        return self._window - self.in_flight

    def send(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Send messages (topic, payload) at QoS 1, no more than `free_window`."""
        if self._transport is None:
            return
        if not self.in_flight:
            self._answered_at = self._loop.time()
        self.in_flight += len(messages)
        quality = mqtt5.QoS.AT_LEAST_ONCE
        self._transport.write(
            b"".join(
                mqtt5.PublishPacket(topic, payload, qos=quality, packet_id=next(self._packet_ids)).write()
                for topic, payload in messages
            )
        )
        self._note_window()

    def close(self) -> None:
        """Disconnect. Messages without PUBACK may be lost."""
        if self._transport is not None and not self.ended.done():
            self._transport.write(mqtt5.DisconnectPacket().write())
        self._end("closed")

    # -- packets

    def _handle(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.PubAckPacket():
                self.in_flight -= 1
                self.confirmed += 1
            case mqtt5.ConnAckPacket() if int(packet.reason_code) >= _REFUSED:
                self._end(f"refused: {packet.reason_code.name}")
            case mqtt5.ConnAckPacket():
                self._window = min(_WINDOW, packet.receive_max)
                if packet.server_keep_alive is not None:
                    # 0: the broker wants no pings.
                    self._keepalive_s = packet.server_keep_alive or math.inf
                self.ready.set_result(None)
                self._timer = self._loop.call_later(_TICK_S, self._tick)
            case mqtt5.DisconnectPacket():
                self._end(f"disconnected by the broker: {packet.reason_code.name}")
            case _:  # a response to a ping
                pass

    def _note_window(self) -> None:
        for event, holds in ((self.can_send, self.free_window > 0), (self.is_idle, self.in_flight <= 0)):
            if holds:
                event.set()
            else:
                event.clear()

    def _tick(self) -> None:
        now = self._loop.time()
        silent_s = now - self._answered_at
        if silent_s > self._keepalive_s or (self.in_flight and silent_s > SILENCE_S):
            self._end("the broker is silent")
            return
        if now - self._pinged_at >= self._keepalive_s / 2 - _TICK_S and self._transport is not None:
            self._pinged_at = now
            self._transport.write(mqtt5.PingReqPacket().write())
        self._timer = self._loop.call_later(_TICK_S, self._tick)

    def _end(self, reason: str) -> None:
        if self.ended.done():
            return
        self.ended.set_result(reason)
        self._note_window()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            # A broker that does not read would keep the socket open.
            self._transport.abort() if reason == "the broker is silent" else self._transport.close()
