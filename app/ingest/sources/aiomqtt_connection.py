"""One connection of the aiomqtt source: where aiomqtt and paho are bent to what a consumer needs.

Owns every use of their private parts, each with its reason. As they stand, they acknowledge on
arrival, copy each message into a queue of their own, read one packet per wake-up of the loop, write
each acknowledgement by itself and cannot pause. All of this runs on the event loop's thread (only
opening the socket does not), which is what makes it safe. It decides nothing about reconnecting.
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
from app.ingest.sources.mqtt_wire import PoisonLedger, publish_packet_id
from app.ingest.sources.reconnecting_session import SessionEndedError

REFUSED = 0x80  # reason codes from here on are refusals
_PROTOCOL_ERROR = 0x82
_CONNACK = 0x20
_PUBACK = 0x40
_DISCONNECT = bytes((0xE0, 0x00))
_DISCONNECT_MALFORMED = bytes((0xE0, 0x01, 0x81))
_READS_PER_WAKE = 200  # packets read until the other tasks of the loop have their turn
_OVERHEAD_BYTES = 8  # what a message has on the wire besides topic and payload
_FORGIVE_S = 1.0


class AiomqttConnection:
    """An aiomqtt client whose reading, writing and packets are handled here.

    Args:
        client: Not connected yet.
        inbox: Where messages go; pauses and resumes reading.
        counters: ``malformed`` is counted here.
        ledger: Memory of unreadable packets, shared by all connections of a source.

    Attributes:
        client: The same client.
        paho: The client inside it.
        ended: Done with the reason once the connection is of no more use.
    """

    def __init__(
        self, client: aiomqtt.Client, inbox: BatchQueue, counters: SourceCounters, ledger: PoisonLedger
    ) -> None:
        self.client = client
        self.paho: PahoClient = client._client  # noqa: SLF001 - the rest of the class needs it
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[SessionEndedError] = self._loop.create_future()
        self._inbox = inbox
        self._counters = counters
        self._ledger = ledger
        self._handled = 0
        self._taken_over = False
        self._forgiving: asyncio.TimerHandle | None = None
        # Before connecting: afterwards is a race in which messages are acknowledged on arrival.
        self.paho.manual_ack_set(True)
        self.paho.on_message = self._on_message
        self.paho.on_disconnect = self._on_disconnect
        self.paho.disable_logger()  # it would be asked for its level several times per packet
        # The one place that sees each packet whole, and so can keep an unreadable one from looping.
        self._paho_handle: Callable[[], MQTTErrorCode] = self.paho._packet_handle  # noqa: SLF001 - as said
        self.paho._packet_handle = self._handle  # type: ignore[method-assign] # noqa: SLF001 - as said

    # -- the owner's side

    def take_over(self) -> None:
        """Read many packets per wake-up of the loop; to be called once the socket is open.

        Writing is taken over too: aiomqtt registers the writer one turn of the loop late (it may be
        called from a thread), when the socket may be closed and its number be another one's.
        """
        self._taken_over = True
        self.paho.on_socket_register_write = self._register_write
        if not self._inbox.paused:
            self._start_reading()

    def write(self, data: bytes) -> None:
        """Send encoded PUBACKs, any number of them, as one packet of paho's and so in one write."""
        if not self.ended.done():
            self.paho._packet_queue(_PUBACK, data, 0, 1)  # noqa: SLF001 - ack() makes a write for each

    def disconnect(self) -> None:
        """Say DISCONNECT and let the broker close; ``ended`` tells when it did.

        paho's own would close the socket right behind the last acknowledgements, and Mosquitto would
        drop those that it had not read yet.
        """
        self.write(_DISCONNECT)
        if self._inbox.paused:
            self.resume_reading()

    def close(self) -> None:
        """Close the socket at once, whatever state the handshake is in."""
        if self._forgiving is not None:
            self._forgiving.cancel()
        self._end("closed")
        self.paho._sock_close()  # noqa: SLF001 - paho closes by itself only in an exchange with the peer

    # -- Flow

    def pause_reading(self) -> None:
        """Read nothing more for now."""
        descriptor = self._descriptor()
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            self._forgive_silence()

    def resume_reading(self) -> None:
        """Go on reading."""
        if self._forgiving is not None:
            self._forgiving.cancel()
            self._forgiving = None
        self.paho._ping_t = 0.0  # noqa: SLF001 - see _forgive_silence
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
            self._read_deciphered()

    def _register_write(self, _client: PahoClient, _userdata: object, _socket: object) -> None:
        descriptor = self._descriptor()
        if descriptor is not None:
            self._loop.add_writer(descriptor, self.paho.loop_write)

    def _forgive_silence(self) -> None:
        """Keep paho from taking our own pause for the broker's silence: its answer cannot be read now."""
        self.paho._ping_t = 0.0  # noqa: SLF001 - paho has no notion of a pause
        self._forgiving = self._loop.call_later(_FORGIVE_S, self._forgive_silence)

    def _read(self) -> None:
        """Read until nothing is there, reading pauses, or others should have their turn."""
        for _ in range(_READS_PER_WAKE):
            before = self._handled
            code = self.paho.loop_read()
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS or self._handled == before or self._inbox.paused:
                return
        self._read_deciphered()

    def _read_deciphered(self) -> None:
        """Come back for what TLS has deciphered already: of that the socket tells nothing."""
        socket = self.paho.socket()
        if isinstance(socket, ssl.SSLSocket) and socket.pending() and not self.ended.done():
            self._loop.call_soon(self._read)

    def _handle(self) -> MQTTErrorCode:
        """Let paho handle a packet; when it cannot, end the connection or skip the packet."""
        self._handled += 1
        packet = self.paho._in_packet  # noqa: SLF001 - paho hands a raw packet to nobody
        try:
            code = self._paho_handle()
        except Exception:  # noqa: BLE001 - struct, index, Unicode and paho's own errors all mean: unreadable
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
                self.paho._sock_send(_DISCONNECT_MALFORMED)  # noqa: SLF001 - paho closes without a word
        return code

    def _on_message(self, _client: PahoClient, _userdata: object, message: MQTTMessage) -> None:
        """Take a message, in place of aiomqtt's own callback."""
        inbox = self._inbox
        topic = message.topic  # decodes: an unreadable one raises before anything is appended
        payload = message.payload
        inbox.topics.append(topic)
        inbox.payloads.append(bytes(payload))  # paho may hand out its own bytearray
        inbox.packet_ids.append(message.mid if message.qos else None)
        if message.retain:
            inbox.retained.append(len(inbox.topics) - 1)
        correlation: bytes | None = getattr(message.properties, "CorrelationData", None)
        if correlation is not None:
            inbox.correlations[len(inbox.topics) - 1] = bytes(correlation)
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
            self._counters.malformed += 1  # a length that cannot be read: there was no packet to handle
        self._end(f"disconnected by the broker: {reason}" if by_broker else f"connection lost: {reason}")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(SessionEndedError(reason))
            self._inbox.detach()
