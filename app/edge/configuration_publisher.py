"""Keeps the retained configurations of boxes at the edge's own broker equal to those in the database.

After each connection to the broker it compares all of them: the broker may be a new one, may have lost the
last minute in a crash, and has messages of boxes that were deleted meanwhile. Mosquitto sends its retained
messages after a subscription, and then a marker that this module publishes itself. Only differences are
published.

Afterwards it reads the changes once a second. They are found by the number of their transaction, so none is
missed, in whatever order transactions commit. A change is published by box id with the current configuration
of that id: a deleted box and a new one may share the id.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import uuid4

import aiomqtt
import asyncpg

from app.edge.prometheus_metrics import EDGE_CONFIGS
from app.platform.broker.broker_client_factory import make_broker_client, wait_until_lost
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.observability.metrics_and_logs import get_logger, redact_error
from app.registry.box_configurations import (
    build_config_topic,
    list_unpublished_configs,
    mark_configs_published,
    read_all_desired,
    read_changed_configs,
    read_config_horizon,
    read_desired_of,
)

_EVERY_S: Final = 0.5
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 2.0
_TIMEOUT_S: Final = 10.0
# A million messages take a minute.
_READ_TIMEOUT_S: Final = 300.0
_SLICE: Final = 1000
_CONCURRENT: Final = 100
_ALL_CONFIGS: Final = build_config_topic("+")
# No box has this id.
_MARKER: Final = build_config_topic("$edge")
_log = get_logger(__name__)


class ConfigurationPublisher:
    """Publishes configurations to one broker.

    Args:
        database: The database.
        broker: The edge's own broker.
        edge: The name of the edge, for the client id.
    """

    def __init__(self, database: Database, broker: BrokerSettings, edge: str) -> None:
        self._database = database
        self._broker = broker
        self._edge = edge
        self._has_compared = False
        self._horizon = 0
        # Changes that the last look has seen too: box key → time of the change.
        self._seen: dict[int, datetime] = {}

    async def run(self) -> None:
        """Publish until cancelled. After a lost connection, reconnect and compare everything again."""
        wait = _FIRST_WAIT_S
        while True:
            self._has_compared = False
            try:
                connection = await self._database.connect()
                try:
                    await self._serve_connection(connection)
                finally:
                    connection.terminate()
            except (aiomqtt.MqttError, *DATABASE_ERRORS) as error:
                if self._has_compared:
                    wait = _FIRST_WAIT_S
                if wait == _FIRST_WAIT_S:  # once, not at each attempt
                    _log.warning("edge_configurations_interrupted", error=redact_error(error))
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _serve_connection(self, connection: asyncpg.Connection) -> None:
        """Compare everything, then follow changes, until one of the connections is lost."""
        identifier = f"vigie-configs-{self._edge}"
        async with make_broker_client(self._broker, timeout_s=_TIMEOUT_S, identifier=identifier) as client:
            held = await _read_retained(client)
            await self._publish_differences(client, connection, held)
            self._has_compared = True
            ended = asyncio.create_task(wait_until_lost(client))
            try:
                while not ended.done():
                    await self._publish_changes(client, connection)
                    await asyncio.wait((ended,), timeout=_EVERY_S)
                await ended
            finally:
                ended.cancel()
                with suppress(asyncio.CancelledError, aiomqtt.MqttError):
                    await ended

    async def _publish_differences(
        self, client: aiomqtt.Client, connection: asyncpg.Connection, held: dict[str, int]
    ) -> None:
        """Publish missing configurations, and remove those that no box has any more.

        Args:
            client: Connected to the broker.
            connection: To the database.
            held: box id → hash of its retained message.
        """
        self._horizon, self._seen = await read_config_horizon(connection), {}
        unpublished = await list_unpublished_configs(connection)
        key, desired = await read_all_desired(connection, 0, _SLICE)
        number = 0
        while desired:
            differing = {box: data for box, data in desired.items() if held.pop(box, None) != hash(data)}
            await _publish_retained(client, differing)
            number += len(differing)
            key, desired = await read_all_desired(connection, key, _SLICE)
        leftover = list(held)
        for begin in range(0, len(leftover), _SLICE):
            ids = leftover[begin : begin + _SLICE]
            now = await read_desired_of(connection, ids)
            await _publish_retained(client, {box: now.get(box, b"") for box in ids})
        await mark_configs_published(connection, unpublished)
        _log.info("edge_configurations_compared", published=number, removed=len(leftover))

    async def _publish_changes(self, client: aiomqtt.Client, connection: asyncpg.Connection) -> None:
        horizon = await read_config_horizon(connection)
        changes = await read_changed_configs(connection, self._horizon)
        fresh = [each for each in changes if self._seen.get(each.box_key) != each.desired_at]
        await _publish_retained(client, {each.box_id: each.payload for each in fresh})
        await mark_configs_published(connection, {each.box_key: each.desired_at for each in fresh})
        self._seen = {each.box_key: each.desired_at for each in changes}
        self._horizon = horizon


async def _read_retained(client: aiomqtt.Client) -> dict[str, int]:
    """Read the retained configurations of the broker: box id → hash of the message."""
    mark = uuid4().bytes
    held: dict[str, int] = {}
    await client.subscribe(_ALL_CONFIGS, qos=1)
    await client.publish(_MARKER, mark, qos=1)
    async with asyncio.timeout(_READ_TIMEOUT_S):
        async for message in client.messages:
            topic = message.topic.value
            if topic == _MARKER and message.payload == mark:
                break
            if message.retain and isinstance(message.payload, bytes):
                held[topic.split("/")[2]] = hash(message.payload)
    await client.unsubscribe(_ALL_CONFIGS)
    return held


async def _publish_retained(client: aiomqtt.Client, messages: Mapping[str, bytes]) -> None:
    """Publish retained messages by box id, several at a time (aiomqtt.MqttError)."""
    items = list(messages.items())
    for begin in range(0, len(items), _CONCURRENT):
        outcomes = await asyncio.gather(
            *(
                client.publish(build_config_topic(box), payload, qos=1, retain=True, timeout=_TIMEOUT_S)
                for box, payload in items[begin : begin + _CONCURRENT]
            ),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
    EDGE_CONFIGS.inc(len(items))
