"""Lets the one ingest consumer of an installation read its one broker."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from app.ingest.ack_publisher import AckPublisher
from app.ingest.pipeline.batch_context import Finish
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BoxAck
from app.ingest.settings import IngestSettings
from app.ingest.sources.message_source import MessageBatch, MessageSource
from app.ingest.sources.reconnecting_mqtt_source import MqttSource
from app.ingest.sources.source_factory import make_source
from app.message_log.log_ownership import check_log_settings
from app.message_log.settings import MessageLogSettings
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.advisory_lock_keys import CONSUMER
from app.platform.db.database import RawConnection

_JOIN: Final = f"SELECT pg_try_advisory_lock({CONSUMER})"
# After a reconnect the broker delivers its backlog for this long before timers are processed.
_SETTLE_S: Final = 5.0
_TIMERS_EVERY_S: Final = 1.0


class BrokerInput:
    """A `ConsumerInput` of one broker.

    Args:
        settings: The source and its batches.
        broker: The broker.
    """

    owned = None

    def __init__(self, settings: IngestSettings, broker: BrokerSettings) -> None:
        self._settings = settings
        self._broker = broker
        self._acks = AckPublisher(broker, client_id=f"{settings.client_id}-acks")
        self._source: MqttSource | None = None
        self._connected_since: float | None = None
        self._timers_at = 0.0

    @property
    def waiting_for(self) -> str | None:
        """`the broker` while it is not connected."""
        return None if self._source is not None and self._source.connected else "the broker"

    async def join(self, connection: RawConnection) -> bool:
        """Take the consumer's lock (LogSettingsError: a message log is in use)."""
        await check_log_settings(connection, MessageLogSettings())
        joined: bool = await connection.fetchval(_JOIN)
        return joined

    async def open(self) -> MessageSource:
        """Start to connect to the broker."""
        self._connected_since = None
        self._acks.start()
        self._source = make_source(self._settings, self._broker)
        await self._source.start()
        return self._source

    async def tend(self, _connection: RawConnection, _pipeline: IngestPipeline, /) -> None:
        """Note since when the broker is connected."""
        if self._source is None or not self._source.connected:
            self._connected_since = None
        elif self._connected_since is None:
            self._connected_since = time.monotonic()

    def finish(self, _batch: MessageBatch, /) -> Finish | None:
        """Return None: messages are acknowledged to the broker after the commit."""

    def may_have_more(self, batch: MessageBatch, /) -> bool:
        """Whether the broker may have more messages."""
        return self._source is not None and self._source.may_have_more(batch)

    async def find_timer_time(self, _connection: RawConnection, /) -> datetime | None:
        """Return the present once a second, while the broker is connected and has delivered its backlog."""
        clock, since = time.monotonic(), self._connected_since
        if since is None or clock < max(since + _SETTLE_S, self._timers_at + _TIMERS_EVERY_S):
            return None
        self._timers_at = clock
        return datetime.now(UTC)

    def publish_acks(self, acks: Mapping[str, BoxAck]) -> None:
        """Publish acknowledgements to the broker."""
        self._acks.publish(acks)

    async def close(self) -> None:
        """Disconnect."""
        if self._source is not None:
            await self._source.stop()
        await self._acks.stop()
