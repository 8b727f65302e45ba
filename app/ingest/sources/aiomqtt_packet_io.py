"""Changes how aiomqtt and paho read, acknowledge and write the packets of one connection.

Messages are acknowledged by hand, and reading can pause.

As they are, the libraries acknowledge on arrival, copy each message into their own queue, read one packet per
wake-up of the event loop, write each acknowledgement separately and cannot pause. This module has every use
of their private parts, each with its reason. Everything except opening the socket runs on the thread of the
event loop, which makes that safe. It does not reconnect.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from app.ingest.sources.batch_queue import BatchQueue
from app.ingest.sources.message_source import SourceCounters
from app.ingest.sources.pubacks_and_unreadable_packets import PoisonLedger, publish_packet_id
from app.ingest.sources.reconnecting_mqtt_source import SessionEndedError
from app.platform.observability.tracing import is_tracing

REFUSED = 0x80  # reason codes from here on are refusals
_PROTOCOL_ERROR = 0x82
_CONNACK = 0x20
_PUBACK = 0x40
_DISCONNECT = bytes((0xE0, 0x00))
_DISCONNECT_MALFORMED = bytes((0xE0, 0x01, 0x81))
_READS_PER_WAKE = 200  # packets read before other tasks of the loop run
_OVERHEAD_BYTES = 8  # bytes on the wire besides topic and payload
_PING_RESET_S = 1.0


class AiomqttConnection:
    """An aiomqtt client whose reading, writing and packets are handled here.

    Args:
        client: Not connected yet.
        inbox: The queue for messages; it pauses and resumes reading.
        counters: `malformed` is counted here.
        ledger: Remembers unreadable packets, for all connections of a source.

    Attributes:
        client: The same client.
        paho: The client inside it.
        ended: Done with the reason when the connection has ended.
    """

    def __init__(
        self, client: aiomqtt.Client, inbox: BatchQueue, counters: SourceCounters, ledger: PoisonLedger
    ) -> None:
        self.client = client
        self.paho: PahoClient = client._client  # noqa: SLF001 - no public access to paho
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[SessionEndedError] = self._loop.create_future()
        self._inbox = inbox
        self._counters = counters
        self._ledger = ledger
        self._handled = 0
        self._taken_over = False
        self._silence_timer: asyncio.TimerHandle | None = None
        # Before connecting: later, messages might already have been acknowledged on arrival.
        self.paho.manual_ack_set(True)
        self.paho.on_message = self._on_message
        self.paho.on_disconnect = self._on_disconnect
        self.paho.disable_logger()  # its level would be checked several times per packet
        # Only here each packet is complete, so that an unreadable one can be kept from looping.
        self._paho_handle: Callable[[], MQTTErrorCode] = self.paho._packet_handle  # noqa: SLF001 - as said
        self.paho._packet_handle = self._handle  # type: ignore[method-assign] # noqa: SLF001 - as said

    # -- for the owner

    def take_over(self) -> None:
        """Read many packets per wake-up of the event loop; to be called once the socket is open.

        Writing is taken over too. aiomqtt registers the writer one iteration of the loop later (it may be
        called from a thread), when the socket may be closed and its number reused.
        """
        self._taken_over = True
        self.paho.on_socket_register_write = self._register_write
        if not self._inbox.paused:
            self._start_reading()

    def write(self, data: bytes) -> None:
        """Send encoded PUBACKs, any number of them, as one packet of paho and so in one write."""
        if not self.ended.done():
            self.paho._packet_queue(_PUBACK, data, 0, 1)  # noqa: SLF001 - ack() makes a write for each

    def disconnect(self) -> None:
        """Send DISCONNECT and let the broker close; `ended` is done when it has.

        paho would close the socket immediately after the last acknowledgements, and Mosquitto would drop
        those that it had not read.
        """
        self.write(_DISCONNECT)
        if self._inbox.paused:
            self.resume_reading()

    def close(self) -> None:
        """Close the socket immediately, whatever state the handshake is in."""
        if self._silence_timer is not None:
            self._silence_timer.cancel()
        self._end("closed")
        self.paho._sock_close()  # noqa: SLF001 - paho closes by itself only in an exchange with the peer

    # -- Flow

    def pause_reading(self) -> None:
        """Stop reading."""
        descriptor = self._descriptor()
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            self._suppress_ping_timeout()

    def resume_reading(self) -> None:
        """Continue to read."""
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = None
        self.paho._ping_t = 0.0  # noqa: SLF001 - see _suppress_ping_timeout
        if self._taken_over:
            self._start_reading()

    # -- inside

    def _descriptor(self) -> int | None:
        socket = self.paho.socket()
        return None if socket is None else socket.fileno()

    def _start_reading(self) -> None:
        descriptor = self._descriptor()
        if descriptor is not None:
            self._loop.add_reader(descriptor, self._read)
            self._read_decrypted()

    def _register_write(self, _client: PahoClient, _userdata: object, _socket: object) -> None:
        descriptor = self._descriptor()
        if descriptor is not None:
            self._loop.add_writer(descriptor, self.paho.loop_write)

    def _suppress_ping_timeout(self) -> None:
        """Keep paho from treating our pause as silence of the broker, whose PINGRESP cannot be read now."""
        self.paho._ping_t = 0.0  # noqa: SLF001 - paho has no notion of a pause
        self._silence_timer = self._loop.call_later(_PING_RESET_S, self._suppress_ping_timeout)

    def _read(self) -> None:
        """Read until no data is left, reading pauses, or other tasks should run."""
        for _ in range(_READS_PER_WAKE):
            before = self._handled
            code = self.paho.loop_read()
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS or self._handled == before or self._inbox.paused:
                return
        self._read_decrypted()

    def _read_decrypted(self) -> None:
        """Read data that TLS has already decrypted, since the socket does not report it."""
        socket = self.paho.socket()
        if isinstance(socket, ssl.SSLSocket) and socket.pending() and not self.ended.done():
            self._loop.call_soon(self._read)

    def _handle(self) -> MQTTErrorCode:
        """Let paho handle a packet. If it cannot, end the connection or skip the packet."""
        self._handled += 1
        packet = self.paho._in_packet  # noqa: SLF001 - paho has no callback with the raw packet
        try:
            code = self._paho_handle()
        except Exception:  # noqa: BLE001 - struct, index, Unicode and paho errors all mean that it is unreadable
            code = MQTTErrorCode.MQTT_ERR_PROTOCOL
        if code != MQTTErrorCode.MQTT_ERR_PROTOCOL or packet["command"] & 0xF0 == _CONNACK:
            return code
        raw = bytes((packet["command"], *packet["remaining_count"])) + bytes(packet["packet"])
        self._counters.malformed += 1
        if self._ledger.skip(raw):
            self._inbox.add_poison(raw, publish_packet_id(raw))
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        self._end("unreadable: MALFORMED_PACKET")
        if self.paho.protocol == MQTTProtocolVersion.MQTTv5:
            with contextlib.suppress(OSError):
                self.paho._sock_send(_DISCONNECT_MALFORMED)  # noqa: SLF001 - paho closes without DISCONNECT
        return code

    def _on_message(self, _client: PahoClient, _userdata: object, message: MQTTMessage) -> None:
        """Queue a message; this replaces aiomqtt's own callback."""
        inbox = self._inbox
        topic = message.topic  # decodes it: an invalid topic raises before anything is appended
        payload = message.payload
        inbox.topics.append(topic)
        inbox.payloads.append(bytes(payload))  # paho may hand out its own bytearray
        inbox.packet_ids.append(message.mid if message.qos else None)
        if message.retain:
            inbox.retained.append(len(inbox.topics) - 1)
        correlation: bytes | None = getattr(message.properties, "CorrelationData", None)
        if correlation is not None:
            inbox.correlations[len(inbox.topics) - 1] = bytes(correlation)
        properties = getattr(message.properties, "UserProperty", None)
        if properties and is_tracing():
            inbox.add_properties(None, properties)
        inbox.settle(len(topic) + len(payload) + _OVERHEAD_BYTES)

    def _on_disconnect(
        self,
        _client: PahoClient,
        _userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None = None,
    ) -> None:
        by_broker = flags.is_disconnect_packet_from_server
        if not by_broker and reason.value == _PROTOCOL_ERROR and not self.ended.done():
            self._counters.malformed += 1  # the length is invalid, so there was no packet to handle
        self._end(f"disconnected by the broker: {reason}" if by_broker else f"connection lost: {reason}")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(SessionEndedError(reason))
            self._inbox.detach()
