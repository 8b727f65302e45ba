"""The way out to the broker: each delivery is one message, at QoS 1, under the organisation's own topics.

Owns the topics, and when a connection is made. All deliveries share one: it is made for the first message,
and anew for the first one after it was lost; while the broker is away, attempts fail at once with what the
last try came to. `delivered` means that the broker has the message: to whom it hands it on, and when, is a
matter between the broker and who subscribes. Must not know SQL.
"""

import asyncio
import time
from datetime import datetime
from typing import Final, Self
from uuid import UUID

from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome, LeasedDelivery
from app.notifications.formats import native
from app.notifications.mqtt.mqtt_connection import BrokerRefusal, PublisherConnection
from app.platform.config.settings import BrokerSettings
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.broker_password_file import make_account_username

TIMEOUT_S: Final = 5.0
"""The longest that an attempt takes, in seconds."""

BODY_LIMIT: Final = 2**20 - 1024
"""The largest body, in bytes. Over a packet of over a MiB the broker of `vigie up` ends the connection."""

_CONNECT_S: Final = 4.0
_NO_SITE: Final = "-"
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_MEDIA_TYPE: Final = "application/json"
_MEDIA_TYPES: Final = {"cloudevents": native.CONTENT_TYPE}
_log = get_logger(__name__)


def build_topic_root(organisation_id: UUID) -> str:
    """What the topics of an organisation's alerts begin with."""
    return f"vigie/v1/{make_account_username(organisation_id)}/alerts"


def build_delivery_topic(claimed: LeasedDelivery) -> str:
    """The topic that a delivery is published on."""
    return f"{build_topic_root(claimed.organisation_id)}/{claimed.site_id or _NO_SITE}/{claimed.type}"


class MqttTransport:
    """Publishes deliveries of MQTT channels. A context manager.

    Args:
        settings: The broker, and the roles' own account there, which may publish below `alerts`.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._link: PublisherConnection | None = None
        self._failure = BrokerRefusal("connect_failed")
        self._wait_s = _FIRST_WAIT_S
        self._rest_until = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close(TIMEOUT_S)

    async def send(self, claimed: LeasedDelivery, now: datetime) -> AttemptOutcome:  # noqa: ARG002 (other ways out need it)
        """Publish a delivery, and wait for the broker to take it."""
        began = time.perf_counter()
        answer = await self._publish(claimed)
        reason, told = answer if isinstance(answer, BrokerRefusal) else (DELIVERED, answer)
        return AttemptOutcome(reason, None, told, (time.perf_counter() - began) * 1000)

    async def _publish(self, claimed: LeasedDelivery) -> BrokerRefusal | str | None:
        if len(claimed.body) > BODY_LIMIT:
            _log.error("message_too_large", delivery_id=str(claimed.id), bytes=len(claimed.body))
            return BrokerRefusal("internal_error", f"{len(claimed.body)} bytes are more than a broker takes")
        link = self._current()
        if isinstance(link, BrokerRefusal):
            return link
        try:
            async with asyncio.timeout(TIMEOUT_S):
                media_type = _MEDIA_TYPES.get(claimed.format, _MEDIA_TYPE)
                return await link.publish(build_delivery_topic(claimed), claimed.body, media_type)
        except TimeoutError:
            if not link.opened:
                return BrokerRefusal("connect_timeout")
            # A connection that does not answer may be dead: what comes next gets another one.
            link.end(BrokerRefusal("response_broken", "the broker did not answer in time"))
            return BrokerRefusal("timeout")

    def _current(self) -> PublisherConnection | BrokerRefusal:
        """The connection there is, or a new one; why not, while the broker is left alone."""
        link = self._link
        if link is not None and link.refusal is None:
            return link
        if link is not None and link.refusal is not None:
            self._link, self._failure = None, link.refusal
            if link.opened:
                self._wait_s, self._rest_until = _FIRST_WAIT_S, 0.0
            else:
                self._rest_until = link.ended_at + self._wait_s
                self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
        if asyncio.get_running_loop().time() < self._rest_until:
            return self._failure
        self._link = PublisherConnection(self._settings, timeout_s=_CONNECT_S)
        return self._link
