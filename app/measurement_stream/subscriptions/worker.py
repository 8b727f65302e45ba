"""Serves the subscriptions to the measurement stream in `vigie deliver`.

Several processes may run: leases in the database keep them apart. Each leased subscription is served by a
task of its own, so a sink that hangs delays no other one.
"""

import asyncio
import time
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from app.measurement_stream.sinks.mqtt_sink import MqttPublisher
from app.measurement_stream.sinks.sink_factory import SinkConnections, make_sink
from app.measurement_stream.sinks.sink_types import MeasurementSink, UnusableSink
from app.measurement_stream.subscriptions import batch_repository, lease_repository
from app.measurement_stream.subscriptions.leased_subscription import LeasedSubscription
from app.measurement_stream.subscriptions.prometheus_metrics import (
    MEASUREMENT_SUBSCRIPTIONS,
    SUBSCRIPTION_NOTICES_SENT,
)
from app.measurement_stream.subscriptions.subscription_sender import SenderLimits, SubscriptionSender
from app.notifications.delivery.outcome_recorder import build_health_limits
from app.notifications.events.event_types import SUBSCRIPTION_NOTICES
from app.notifications.http.http_transport import HttpTransport
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from app.platform.db.notification_listener import LISTEN_ERRORS, listen_for_wakeups, wait_for_event
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealing import SealingError, SecretSealer
from app.timeseries.commit_log.stream_positions import CHANNEL, read_stream_head

CONCURRENCY: Final = 64
"""Subscriptions that a process serves at once."""

_POOL_SIZE: Final = 4
_POLL_S: Final = 0.5
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_IDLE_SINK_S: Final = 120.0
_UPKEEP_EVERY_S: Final = 60.0
# How long a round deletes old batches; what is left follows in the next one.
_LONGEST_UPKEEP_S: Final = 0.5
_DRAIN_S: Final = 4.0
_CLOSE_S: Final = 1.0
_STATES: Final = ("active", "paused", "disabled")
_log = get_logger(__name__)


class _OpenSink(NamedTuple):
    """A sink with its connection, of one version of a configuration."""

    sink: MeasurementSink
    version: datetime
    used_at: float


class SubscriptionWorker:
    """Leases due subscriptions and serves them.

    Args:
        settings: Timeouts, health and retention, as for webhooks.
        pool: Connections to the database.
        sealer: Opens the secrets of sinks.
        shared: What sinks share.
        concurrency: Subscriptions that are served at once.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        pool: asyncpg.Pool,
        sealer: SecretSealer,
        shared: SinkConnections,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._sealer = sealer
        self._shared = shared
        self._concurrency = concurrency
        self._limits = SenderLimits(settings.lease_s, build_health_limits(settings))
        self._wake = asyncio.Event()
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._sinks: dict[UUID, _OpenSink] = {}
        self._closing: set[asyncio.Task[None]] = set()
        # A counter that begins at one does not increase.
        for type_ in SUBSCRIPTION_NOTICES:
            SUBSCRIPTION_NOTICES_SENT.labels(type_)
        self._upkept_at = 0.0

    def wake(self) -> None:
        """Look for due subscriptions now."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then let running attempts end."""
        wait = _FIRST_WAIT_S
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    await self._round(stop)
                    wait = _FIRST_WAIT_S
                except LISTEN_ERRORS as error:
                    _log.warning("subscriptions_failed", error=str(error) or type(error).__name__)
                    await wait_for_event(stop, wait)
                    wait = min(wait * 2, _LONGEST_WAIT_S)
                    continue
                await wait_for_event(self._wake, _POLL_S)
        finally:
            await self._end()

    async def _round(self, stop: asyncio.Event) -> None:
        """Start a task for each subscription that can be leased."""
        free = self._concurrency - len(self._tasks)
        async with self._pool.acquire() as connection:
            if time.monotonic() - self._upkept_at >= _UPKEEP_EVERY_S:
                if await batch_repository.delete_old_batches(
                    connection, self._settings.keep_days, _LONGEST_UPKEEP_S
                ):
                    self._upkept_at = time.monotonic()
                counts = await lease_repository.count_subscriptions(connection)
                for state in _STATES:
                    MEASUREMENT_SUBSCRIPTIONS.labels(state).set(counts.get(state, 0))
            if free <= 0:
                return
            head = await read_stream_head(connection)
            rows = await lease_repository.lease_due_subscriptions(
                connection, head.position, self._limits.lease_s, free, self._tasks.keys()
            )
        for row in rows:
            subscription = LeasedSubscription.of(dict(row))
            task = asyncio.create_task(
                self._serve(subscription, stop), name=f"subscription {subscription.id}"
            )
            self._tasks[subscription.id] = task
        self._close_idle_sinks()

    async def _serve(self, subscription: LeasedSubscription, stop: asyncio.Event) -> None:
        """Serve one subscription; no failure of it reaches another one."""
        try:
            try:
                sink = await self._open_sink(subscription)
            except SealingError as error:
                _log.warning("secret_not_opened", subscription=str(subscription.id), error=str(error))
                sink = UnusableSink()
            await SubscriptionSender(self._pool, subscription, sink, self._limits).run(stop)
        except LISTEN_ERRORS as error:
            _log.warning("subscription_interrupted", subscription=str(subscription.id), error=repr(error))
        except Exception:  # noqa: BLE001 (logged; its lease expires, then it is tried again)
            _log.exception("subscription_failed", subscription=str(subscription.id))
        finally:
            self._tasks.pop(subscription.id, None)
            self._wake.set()

    async def _open_sink(self, subscription: LeasedSubscription) -> MeasurementSink:
        """Return the open sink of a subscription, or a new one after a change."""
        known = self._sinks.get(subscription.id)
        if known is not None and known.version != subscription.version:
            await known.sink.close()
            known = None
        sink = (
            make_sink(subscription.configure_sink(self._sealer), self._shared)
            if known is None
            else known.sink
        )
        self._sinks[subscription.id] = _OpenSink(sink, subscription.version, time.monotonic())
        return sink

    def _close_idle_sinks(self) -> None:
        """Close the connections of subscriptions that are paused, deleted, or served elsewhere."""
        limit = time.monotonic() - _IDLE_SINK_S
        for known in [key for key, each in self._sinks.items() if each.used_at < limit]:
            if known not in self._tasks:
                self._close_in_background(self._sinks.pop(known).sink)

    def _close_in_background(self, sink: MeasurementSink) -> None:
        """Close a sink without waiting: others are not delayed by its server."""
        closing = asyncio.create_task(_close_sink(sink), name="close sink")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _end(self) -> None:
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=_DRAIN_S)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CLOSE_S)
        for each in self._sinks.values():
            self._close_in_background(each.sink)
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_S)


async def _close_sink(sink: MeasurementSink) -> None:
    try:
        await sink.close()
    except Exception:  # noqa: BLE001 (logged)
        _log.exception("sink_not_closed")


async def run_subscriptions(
    settings: WebhookSettings,
    database: Database,
    sealer: SecretSealer,
    mqtt: MqttPublisher,
    stop: asyncio.Event,
) -> None:
    """Serve subscriptions until `stop` is set. If the database is down, retries with a back-off."""
    pool = await database.pool(size=_POOL_SIZE, name="subscriptions", eager=False, everything=False)
    try:
        async with HttpTransport(settings, sealer) as http:
            worker = SubscriptionWorker(settings, pool, sealer, SinkConnections(settings, http, mqtt))
            listening = asyncio.create_task(
                listen_for_wakeups(database, worker.wake, channel=CHANNEL), name="listen to measurements"
            )
            try:
                await worker.run(stop)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await pool.close()
        except LISTEN_ERRORS:
            pool.terminate()
