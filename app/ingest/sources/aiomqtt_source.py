"""Receives messages with aiomqtt, for brokers that only support MQTT 3.1.1.

It opens, watches and closes one connection. `aiomqtt_connection` adapts the libraries, and
`reconnecting_mqtt_source` reconnects.
"""

import asyncio
import math

import aiomqtt
from aiomqtt.client import ProtocolVersion
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from app.ingest.sources.aiomqtt_packet_io import REFUSED, AiomqttConnection
from app.ingest.sources.reconnecting_mqtt_source import (
    RETAINED_TOPICS,
    MqttOptions,
    MqttSource,
    SessionEndedError,
)

_CLOSE_TIMEOUT_S = 1.0


class AiomqttSource(MqttSource):
    """Messages of an MQTT 3.1.1 or 5 broker, at a third (3.1.1) to a tenth (5) of the speed of `Mqtt5Source`.

    MQTT 3.1.1 has no Receive Maximum: the in-flight limit of the broker bounds the number of messages, and
    the byte limit bounds memory. Retained messages are delivered again on each connection.

    Args:
        options: The broker and the limits.
        protocol: MQTT version, 5 or 3.1.1.
    """

    def __init__(self, options: MqttOptions, *, protocol: ProtocolVersion = ProtocolVersion.V5) -> None:
        super().__init__(options)
        self._protocol = protocol
        self._link: AiomqttConnection | None = None

    async def _session(self) -> None:
        link = AiomqttConnection(self._client(), self._inbox, self._counters, self._ledger)
        self._link = link
        self._inbox.attach(link)
        subscribing: asyncio.Future[None] | None = None
        try:
            await self._connect(link)
            link.take_over()
            subscribing = asyncio.ensure_future(self._subscribe(link))
            await self._wait_in_time(subscribing, link.ended)
            if subscribing.done():
                subscribing.result()
            if not link.ended.done():
                self._mark_connected()
            await asyncio.wait((link.ended,))
            raise link.ended.result()
        except TimeoutError:
            raise SessionEndedError("no answer in time") from None
        except OSError as error:
            raise SessionEndedError(f"unreachable: {type(error).__name__}") from None
        finally:
            self._link = None
            await self._take_down(link)
            if subscribing is not None:
                subscribing.cancel()

    def _client(self) -> aiomqtt.Client:
        """Make a client, not yet connected, whose session outlives it."""
        options = self._options
        properties: Properties | None = None
        if self._protocol is ProtocolVersion.V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's is untyped
            properties.SessionExpiryInterval = options.session_expiry_s
            properties.ReceiveMaximum = options.receive_maximum
            properties.MaximumPacketSize = options.max_packet_bytes
        client = aiomqtt.Client(
            options.host,
            options.port,
            username=options.username,
            password=options.password,
            identifier=options.client_id,
            protocol=self._protocol,
            clean_session=None if properties is not None else False,
            clean_start=MQTT_CLEAN_START_FIRST_ONLY
            if properties is None
            else False,  # paho requires it for MQTT 3.1.1
            keepalive=options.keepalive_s,
            properties=properties,
            timeout=options.connect_timeout_s,
            tls_context=options.tls,
        )
        client._client.connect_timeout = options.connect_timeout_s  # noqa: SLF001 - aiomqtt does not pass it on
        return client

    async def _connect(self, link: AiomqttConnection) -> None:
        """Open the socket in a thread (paho blocks there), then wait for CONNACK.

        aiomqtt's own context manager is not used: cancelling it would leak the socket that its thread is
        about to open.
        """
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(None, link.client._client_connect)  # noqa: SLF001 - see above
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait((opening,))
            raise
        connected = link.client._connected  # noqa: SLF001 - see above
        try:
            await self._wait_in_time(connected, link.ended)
            if connected.done():
                connected.result()
        except MqttConnectError as error:
            raise SessionEndedError(f"refused: {error.rc}") from None

    async def _subscribe(self, link: AiomqttConnection) -> None:
        if self._protocol is ProtocolVersion.V5:
            codes = await link.client.subscribe(
                [(topic, _make_options(topic)) for topic in self._options.topics], timeout=math.inf
            )
        else:
            codes = await link.client.subscribe(
                [(topic, 1) for topic in self._options.topics], timeout=math.inf
            )
        for code in codes:
            if (code if isinstance(code, int) else code.value) >= REFUSED:
                raise SessionEndedError(f"subscription refused: {code}")

    async def _take_down(self, link: AiomqttConnection) -> None:
        """Disconnect gracefully if the peer allows it, else close immediately."""
        if link.paho.is_connected() and not link.ended.done():
            link.disconnect()
            await asyncio.wait((link.ended,), timeout=_CLOSE_TIMEOUT_S)
        link.close()

    def _write(self, data: bytes) -> None:
        if self._link is not None:
            self._link.write(data)


def _make_options(topic: str) -> SubscribeOptions:
    """Return the options of a subscription; see `RETAINED_TOPICS`."""
    return SubscribeOptions(
        qos=1,
        retainAsPublished=topic not in RETAINED_TOPICS,
        retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB,
    )
