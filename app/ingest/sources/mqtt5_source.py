"""Receives messages with our own small MQTT 5 consumer on the `mqtt5` codec (the default source).

It opens, watches and closes one connection. `mqtt5_connection` parses, and `reconnecting_mqtt_source`
reconnects.
"""

import asyncio

import mqtt5

from app.ingest.sources.mqtt5_connection import Mqtt5Connection, MqttHandshake
from app.ingest.sources.reconnecting_mqtt_source import (
    RETAINED_TOPICS,
    MqttOptions,
    MqttSource,
    SessionEndedError,
)

_CLOSE_TIMEOUT_S = 1.0
_SUBSCRIBE_ID = 1


def _handshake(options: MqttOptions) -> MqttHandshake:
    """Encode CONNECT and SUBSCRIBE, with a session that outlives the connection and a Receive Maximum."""
    connect = mqtt5.ConnectPacket(
        options.client_id,
        username=options.username,
        password=None if options.password is None else options.password.encode(),
        clean_start=False,
        keep_alive=options.keepalive_s,
        session_expiry_interval=options.session_expiry_s,
        receive_max=options.receive_maximum,
        topic_alias_max=0,
        max_packet_size=options.max_packet_bytes,
    )
    subscribe = mqtt5.SubscribePacket(
        _SUBSCRIBE_ID,
        [
            mqtt5.TopicFilter(
                topic,
                max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                retain_as_published=topic not in RETAINED_TOPICS,
                retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
            )
            for topic in options.topics
        ],
    )
    return MqttHandshake(
        connect=connect.write(),
        subscribe=subscribe.write(),
        keepalive_s=options.keepalive_s,
        max_packet_bytes=options.max_packet_bytes,
    )


class Mqtt5Source(MqttSource):
    """Messages of an MQTT 5 broker, at the full speed of one process.

    Args:
        options: The broker and the limits.
    """

    def __init__(self, options: MqttOptions) -> None:
        super().__init__(options)
        self._handshake = _handshake(options)
        self._connection: Mqtt5Connection | None = None

    async def _session(self) -> None:
        options = self._options
        loop = asyncio.get_running_loop()
        connection = Mqtt5Connection(self._inbox, self._counters, self._ledger, self._handshake)
        self._connection = connection
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                await loop.create_connection(
                    lambda: connection,
                    options.host,
                    options.port,
                    ssl=options.tls,
                    server_hostname=None if options.tls is None else options.host,
                )
            await self._wait_in_time(connection.ready, connection.ended)
            if not connection.ended.done():
                self._mark_connected()
            await asyncio.wait((connection.ended,))
            raise connection.ended.result()
        except TimeoutError:
            raise SessionEndedError("no answer in time") from None
        except OSError as error:
            raise SessionEndedError(f"unreachable: {type(error).__name__}") from None
        finally:
            self._connection = None
            await self._take_down(connection)

    async def _take_down(self, connection: Mqtt5Connection) -> None:
        """Disconnect gracefully if the peer allows it, else close immediately."""
        if not connection.attached:
            return
        connection.disconnect()
        await asyncio.wait((connection.closed,), timeout=_CLOSE_TIMEOUT_S)
        connection.abort()

    def _write(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.write(data)
