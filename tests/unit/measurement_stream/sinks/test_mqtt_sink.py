"""A batch that a broker acknowledges slowly ends in time, and the next attempt continues it."""

import asyncio
from dataclasses import replace
from typing import cast
from uuid import UUID

from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.mqtt_sink import MqttSink
from app.measurement_stream.sinks.sink_types import SinkConfig
from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome
from app.notifications.mqtt.mqtt_transport import MqttTransport, SendByMqtt
from app.platform.kernel.instants import to_datetime

ORGANISATION, SITE = UUID(int=1), UUID(int=2)


class Broker:
    """Counts what it acknowledges; after `limit` messages in one attempt the attempt's time is over.

    The time ends at a count and not by the clock, so that a busy machine changes nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_attempt = 0
        self.got: list[bytes] = []
        self.identifiers: list[UUID] = []

    async def publish(self, topic: str, body: bytes, media_type: str) -> AttemptOutcome:
        del topic, media_type
        if self.in_attempt == self.limit:
            raise TimeoutError
        self.in_attempt += 1
        self.got.append(body)
        return AttemptOutcome(DELIVERED, None, None, 1.0)

    async def send_to_each(self, identifier: UUID, send: SendByMqtt) -> AttemptOutcome:
        self.identifiers.append(identifier)
        self.in_attempt = 0
        return await send(cast("MqttTransport", self))


class SilentBroker(Broker):
    """Acknowledges nothing."""

    async def publish(self, topic: str, body: bytes, media_type: str) -> AttemptOutcome:
        del topic, body, media_type
        await asyncio.Event().wait()
        raise AssertionError


def batch_of(count: int) -> MeasurementBatch:
    items = [
        Item(5, index, "sample", ORGANISATION, SITE, "box-0001", index * 1_000_000, None, {"pm2_5": 1.0})
        for index in range(count)
    ]
    return MeasurementBatch.of(UUID(int=3), ORGANISATION, items)


CONFIG = SinkConfig(UUID(int=3), ORGANISATION, "mqtt", "json", False, None, {}, {})


async def test_the_next_attempt_continues_after_what_was_acknowledged() -> None:
    broker, batch = Broker(400), batch_of(900)
    sink = MqttSink(CONFIG, broker, 30)
    first = await sink.send(batch, to_datetime(0))
    assert (first.reason, len(broker.got)) == ("timeout", 400)
    reasons = [(await sink.send(batch, to_datetime(0))).reason for _ in range(2)]
    assert reasons == ["timeout", DELIVERED]
    assert len(broker.got) == len(set(broker.got)) == 900
    # A replay sends everything.
    broker.limit = 900
    assert (await sink.send(batch, to_datetime(0))).delivered
    assert len(broker.got) == 1800


async def test_an_attempt_that_ends_within_messages_sent_together_is_continued_there() -> None:
    broker, batch = Broker(150), batch_of(300)
    sink = MqttSink(CONFIG, broker, 30)
    assert not (await sink.send(batch, to_datetime(0))).delivered
    assert (await sink.send(batch, to_datetime(0))).delivered
    assert len(broker.got) == len(set(broker.got)) == 300


async def test_a_rewind_or_a_replay_reaches_brokers_that_have_the_batch() -> None:
    """Brokers of several edges are remembered by identifier, for all sinks of a process."""
    broker, first = Broker(400), replace(batch_of(900), delivery="1")
    sink = MqttSink(CONFIG, broker, 30)
    for _ in range(2):
        assert not (await sink.send(first, to_datetime(0))).delivered
    broker.limit, broker.got = 900, []
    assert (await sink.send(replace(first, delivery="2"), to_datetime(0))).delivered
    assert len(set(broker.got)) == 900
    assert broker.identifiers[0] == broker.identifiers[1] != broker.identifiers[2]


async def test_the_next_attempt_continues_within_an_item() -> None:
    values = {"pm2_5": 1.0, "no2": 2.0, "laeq": 3.0}
    items = [
        Item(5, index, "sample", ORGANISATION, SITE, "b", index * 1_000_000, None, values, box_number="2a")
        for index in range(100)
    ]
    batch = MeasurementBatch.of(UUID(int=3), ORGANISATION, items)
    broker = Broker(200)
    sink = MqttSink(replace(CONFIG, format="sensorthings"), broker, 30)
    assert not (await sink.send(batch, to_datetime(0))).delivered
    assert (await sink.send(batch, to_datetime(0))).delivered
    # The first 200 messages end within the 67th item.
    assert len(broker.got) == len(set(broker.got)) == 300


async def test_an_attempt_ends_at_a_broker_that_does_not_answer() -> None:
    async with asyncio.timeout(60):
        outcome = await MqttSink(CONFIG, SilentBroker(0), 0.05).send(batch_of(1), to_datetime(0))
    assert outcome.reason == "timeout"
