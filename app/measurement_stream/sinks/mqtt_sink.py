"""Publishes items at Vigie's own broker, for the organisation's account there.

Each item is a message at QoS 1 on `vigie/v1/measurements/@{organisation}/{site}/{box}`. In the format
`sensorthings` each value is one, on `…/@{organisation}/v1.1/Datastreams('{id}')/Observations`. A batch is
confirmed when the broker has acknowledged all of its messages. A repeated message has the same id in its
payload. An attempt ends in time for the lease; the next one continues after the messages that were
acknowledged.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple, Protocol
from uuid import UUID

from app.measurement_stream.formats.format_registry import MeasurementFormat
from app.measurement_stream.items import Item, StreamPosition
from app.measurement_stream.measurement_batch import MeasurementBatch, locate_item
from app.measurement_stream.sinks.sink_types import AT_ONCE, SinkConfig
from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome
from app.notifications.mqtt.mqtt_transport import MqttTransport, SendByMqtt
from app.registry.broker_password_file import make_account_username


class MqttPublisher(Protocol):
    """Sends by the transport of each broker (`MqttTransport`, `EdgesTransport`)."""

    async def send_to_each(self, identifier: UUID, send: SendByMqtt) -> AttemptOutcome:
        """Send to each broker that does not have it yet."""
        ...


def build_measurement_topic_root(organisation_id: UUID) -> str:
    """Return the topic prefix of an organisation's measurements."""
    return f"vigie/v1/measurements/{make_account_username(organisation_id)}"


def build_measurement_topic(item: Item) -> str:
    """Return the topic of an item."""
    return f"{build_measurement_topic_root(item.organisation_id)}/{item.site_id}/{item.box}"


class TopicMessage(NamedTuple):
    """A message, and its place in the stream: its item's, and its number in the item."""

    place: tuple[StreamPosition, int]
    topic: str
    body: bytes


def list_messages(format_: MeasurementFormat, batch: MeasurementBatch) -> Iterator[TopicMessage]:
    """Yield the messages of a batch, in order; none if the format has no messages."""
    for item in batch.items:
        if format_.list_observations is not None:
            root = build_measurement_topic_root(item.organisation_id)
            for number, topic, body in format_.list_observations(item):
                yield TopicMessage((locate_item(item), number), f"{root}/{topic}", body)
        elif format_.encode_item is not None:
            yield TopicMessage(
                (locate_item(item), 0), build_measurement_topic(item), format_.encode_item(item)
            )


def _is_delivered(task: asyncio.Future[AttemptOutcome]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None and task.result().delivered


class MqttSink:
    """Publishes batches at the broker.

    Args:
        config: The format of the messages.
        publisher: The connections to the brokers, which all sinks share.
        timeout_s: The longest that an attempt takes.
    """

    def __init__(self, config: SinkConfig, publisher: MqttPublisher, timeout_s: float) -> None:
        self._config = config
        self._publisher = publisher
        self._timeout_s = timeout_s
        self._delivery_id: UUID | None = None
        # The last message of this delivery of a batch that each broker has acknowledged, with all before it.
        self._acknowledged: dict[MqttTransport, tuple[StreamPosition, int]] = {}

    async def send(self, batch: MeasurementBatch, now: datetime) -> AttemptOutcome:  # noqa: ARG002 (other sinks need it)
        """Publish each item, and wait for all acknowledgements."""
        chosen = self._config.chosen_format
        if chosen.encode_item is None and chosen.list_observations is None:
            return AttemptOutcome("not_configured", None, "the format has no messages of one item", 0.0)
        if batch.delivery_id != self._delivery_id:
            self._delivery_id = batch.delivery_id
            self._acknowledged.clear()
        messages = list(list_messages(chosen, batch))

        async def publish(transport: MqttTransport) -> AttemptOutcome:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(self._timeout_s):
                    failed = await self._publish(transport, messages, chosen.item_media_type)
            except TimeoutError:
                failed = AttemptOutcome("timeout", None, "the broker did not acknowledge all in time", 0.0)
            took_ms = (time.perf_counter() - began) * 1000
            outcome = failed or AttemptOutcome(DELIVERED, None, None, 0.0)
            return outcome._replace(duration_ms=took_ms)

        outcome = await self._publisher.send_to_each(batch.delivery_id, publish)
        if outcome.delivered:
            self._delivery_id = None
        return outcome

    async def _publish(
        self,
        transport: MqttTransport,
        messages: Sequence[TopicMessage],
        media_type: str,
    ) -> AttemptOutcome | None:
        """Publish the messages that a broker has not acknowledged; returns the first failure."""
        acknowledged = self._acknowledged.get(transport)
        left = [each for each in messages if acknowledged is None or each.place > acknowledged]
        for begin in range(0, len(left), AT_ONCE):
            chunk = left[begin : begin + AT_ONCE]
            tasks = [
                asyncio.ensure_future(transport.publish(each.topic, each.body, media_type)) for each in chunk
            ]
            try:
                outcomes = await asyncio.gather(*tasks)
            finally:
                # Where many subscriptions share a slow broker, an attempt may end within its first chunk.
                for each, _ in zip(chunk, takewhile(_is_delivered, tasks), strict=False):
                    self._acknowledged[transport] = each.place
            failed = next((outcome for outcome in outcomes if not outcome.delivered), None)
            if failed is not None:
                return failed
        return None

    async def close(self) -> None:
        """Do nothing: connections are shared."""
