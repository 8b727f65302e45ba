"""Messages wait for their turn before their time begins: one that is overdue ends the connection of all."""

import asyncio
from typing import cast

import pytest

from app.notifications.delivery.transport_types import DELIVERED
from app.notifications.mqtt import mqtt_transport
from app.notifications.mqtt.mqtt_connection import BrokerRefusal, PublisherConnection
from app.notifications.mqtt.mqtt_transport import MOST_IN_FLIGHT, MqttTransport
from app.platform.config.platform_settings import BrokerSettings


class SlowConnection:
    """Acknowledges one message after the other."""

    refusal: BrokerRefusal | None = None
    opened = True

    def __init__(self) -> None:
        self.in_flight = self.most_in_flight = 0
        self._one = asyncio.Lock()

    async def publish(self, topic: str, payload: bytes, media_type: str) -> None:
        del topic, payload, media_type
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with self._one:
                await asyncio.sleep(0)
        finally:
            self.in_flight -= 1


async def test_messages_of_many_subscriptions_are_sent_some_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_transport, "TIMEOUT_S", 60.0)
    connection = SlowConnection()
    transport = MqttTransport(BrokerSettings())
    transport._connection = cast("PublisherConnection", connection)
    outcomes = await asyncio.gather(
        *(transport.publish("t", b"{}", "application/json") for _ in range(10 * MOST_IN_FLIGHT))
    )
    assert {outcome.reason for outcome in outcomes} == {DELIVERED}
    assert connection.most_in_flight == MOST_IN_FLIGHT
