"""Opens the transports, selects one by endpoint kind, and limits the concurrent attempts of each kind."""

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from app.notifications.delivery.transport_types import AttemptOutcome, DeliveryTransport, LeasedDelivery
from app.notifications.email.email_transport import CONNECTIONS, EmailTransport
from app.notifications.http.http_transport import HttpTransport
from app.notifications.http.service_channel_requests import HTTP_CHANNELS
from app.notifications.mqtt.edges_transport import EdgesTransport
from app.notifications.mqtt.mqtt_transport import MqttTransport
from app.notifications.settings import WebhookSettings
from app.platform.config.platform_settings import PlatformSettings
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.sealing import SecretSealer

CAPACITY: Final = {"email": CONNECTIONS, "mqtt": 32}
"""By kind, the most concurrent attempts of a process, all of which go to one server. Endpoints of other kinds
have their own servers. (MQTT uses one connection, on which paho has 20 messages in flight.)"""

_CLOSE_S: Final = 1.0
_log = get_logger(__name__)


class TransportRegistry:
    """The transports of all kinds. Open with `async with`.

    Args:
        settings: The mail server, the broker and the encryption keys.
        webhooks: Timeouts and limits of HTTP.
        installation: The settings that administrators change by the API.
        edges: Publishes to several brokers; None: there is one, that of the settings.
    """

    def __init__(
        self,
        settings: PlatformSettings,
        webhooks: WebhookSettings,
        installation: InstallationSettings,
        edges: EdgesTransport | None = None,
    ) -> None:
        self._settings = settings
        self._webhooks = webhooks
        self._installation = installation
        self._mqtt = MqttTransport(settings.broker) if edges is None else edges
        self._opened = AsyncExitStack()
        self._by_kind: dict[str, DeliveryTransport] = {}

    async def __aenter__(self) -> Self:
        settings, opened = self._settings, self._opened
        sealer = SecretSealer.of(settings.encryption)
        if not sealer.ready:
            _log.warning("no_encryption_key", setting="VIGIE_ENCRYPTION__KEYS")
        sender = await opened.enter_async_context(HttpTransport(self._webhooks, sealer))
        self._by_kind |= dict.fromkeys(("webhook", *HTTP_CHANNELS), sender)
        self._by_kind["email"] = await opened.enter_async_context(
            EmailTransport(settings.smtp, self._installation)
        )
        self._by_kind["mqtt"] = await opened.enter_async_context(self._mqtt)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # With a timeout: a broker that hangs must not delay the stop for a DISCONNECT.
        closing = asyncio.create_task(self._opened.aclose(), name="close")
        await asyncio.wait((closing,), timeout=_CLOSE_S)
        if closing.done():
            closing.result()
        else:
            _log.warning("close_given_up", after_s=_CLOSE_S)
            closing.cancel()

    async def send(self, claimed: LeasedDelivery, now: datetime) -> AttemptOutcome:
        """Attempt a delivery with the transport of its endpoint's kind."""
        transport = self._by_kind.get(claimed.kind)
        if transport is None:
            return AttemptOutcome("not_configured", None, None, 0.0)
        return await transport.send(claimed, now)
