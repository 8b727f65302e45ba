"""Publishes deliveries to the MQTT broker, each as one message at QoS 1 on a topic of the organisation.

All deliveries share a connection, which opens for the first message, and again for the first message after it
was lost. During the back-off after a failed connection, attempts fail immediately with its error. `delivered`
means that the broker has acknowledged the message, not that a subscriber has got it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Self
from uuid import UUID

from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome, LeasedDelivery
from app.notifications.formats import native_and_cloudevents
from app.notifications.mqtt.mqtt_connection import BrokerRefusal, PublisherConnection
from app.platform.config.platform_settings import BrokerSettings
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.broker_password_file import make_account_username

TIMEOUT_S: Final = 5.0
"""The longest that a message is in flight, in seconds."""

MOST_IN_FLIGHT: Final = 200
"""Messages that wait for the broker's acknowledgement at once.

One that is overdue ends the connection of all. Others wait before their time begins, so a broker that
acknowledges 40 messages a second keeps its connection, however many are to be sent.
"""

BODY_LIMIT: Final = 2**20 - 1024
"""The largest body, in bytes. The broker of `vigie up` closes the connection at a packet over 1 MiB."""

_CONNECT_S: Final = 4.0
_NO_SITE: Final = "-"
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_MEDIA_TYPE: Final = "application/json"
_MEDIA_TYPES: Final = {"cloudevents": native_and_cloudevents.CONTENT_TYPE}
_log = get_logger(__name__)

type SendByMqtt = Callable[["MqttTransport"], Awaitable[AttemptOutcome]]
"""Sends messages by the transport of one broker."""


def build_topic_root(organisation_id: UUID) -> str:
    """Return the topic prefix of an organisation's alerts."""
    return f"vigie/v1/{make_account_username(organisation_id)}/alerts"


def build_delivery_topic(claimed: LeasedDelivery) -> str:
    """Return the topic of a delivery."""
    return f"{build_topic_root(claimed.organisation_id)}/{claimed.site_id or _NO_SITE}/{claimed.type}"


class MqttTransport:
    """Publishes deliveries of MQTT channels. A context manager.

    Args:
        settings: The broker, and Vigie's own account there, which may publish below `alerts`.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._connection: PublisherConnection | None = None
        self._failure = BrokerRefusal("connect_failed")
        self._wait_s = _FIRST_WAIT_S
        self._retry_at = 0.0
        self._in_flight = asyncio.Semaphore(MOST_IN_FLIGHT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(TIMEOUT_S)

    async def send(self, claimed: LeasedDelivery, now: datetime) -> AttemptOutcome:  # noqa: ARG002 (other transports need it)
        """Publish a delivery, and wait for the broker's acknowledgement."""
        media_type = _MEDIA_TYPES.get(claimed.format, _MEDIA_TYPE)
        return await self.publish(build_delivery_topic(claimed), claimed.body, media_type)

    async def publish(self, topic: str, body: bytes, media_type: str) -> AttemptOutcome:
        """Publish a message, and wait for the broker's acknowledgement."""
        began = time.perf_counter()
        answer = await self._publish(topic, body, media_type)
        reason, detail = answer if isinstance(answer, BrokerRefusal) else (DELIVERED, answer)
        return AttemptOutcome(reason, None, detail, (time.perf_counter() - began) * 1000)

    async def send_to_each(self, _: UUID, send: SendByMqtt) -> AttemptOutcome:
        """Send by this transport; `EdgesTransport` sends by that of each broker."""
        return await send(self)

    async def _publish(self, topic: str, body: bytes, media_type: str) -> BrokerRefusal | str | None:
        if len(body) > BODY_LIMIT:
            _log.error("message_too_large", topic=topic, bytes=len(body))
            return BrokerRefusal("internal_error", f"{len(body)} bytes are more than a broker accepts")
        async with self._in_flight:
            return await self._publish_now(topic, body, media_type)

    async def _publish_now(self, topic: str, body: bytes, media_type: str) -> BrokerRefusal | str | None:
        connection = self._current()
        if isinstance(connection, BrokerRefusal):
            return connection
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await connection.publish(topic, body, media_type)
        except TimeoutError:
            if not connection.opened:
                return BrokerRefusal("connect_timeout")
            # A connection without responses may be dead: the next message opens another one.
            connection.end(BrokerRefusal("response_broken", "the broker did not answer in time"))
            return BrokerRefusal("timeout")

    def _current(self) -> PublisherConnection | BrokerRefusal:
        """Return the current or a new connection; during the back-off, the last refusal."""
        connection = self._connection
        if connection is not None and connection.refusal is None:
            return connection
        if connection is not None and connection.refusal is not None:
            self._connection, self._failure = None, connection.refusal
            if connection.opened:
                self._wait_s, self._retry_at = _FIRST_WAIT_S, 0.0
            else:
                self._retry_at = connection.ended_at + self._wait_s
                self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
        if asyncio.get_running_loop().time() < self._retry_at:
            return self._failure
        self._connection = PublisherConnection(self._settings, timeout_s=_CONNECT_S)
        return self._connection
