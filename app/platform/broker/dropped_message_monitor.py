"""Monitors the broker's `$SYS` metrics for dropped messages: sets gauges and logs each increase.

A broker drops a message when a client's queue is full. It only increments a counter: the box already got its
acknowledgement. The monitor has a separate connection with a few messages per `sys_interval`, sets gauges and
counters, and logs a warning for each increase. It does not use the database: its owner reads `unannounced`
and `recent` and notifies others.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import aiomqtt

from app.platform.broker.broker_client_factory import make_broker_client
from app.platform.broker.broker_counters import TOPICS, AnnouncedDrops, BrokerCounters
from app.platform.config.platform_settings import BrokerSettings
from app.platform.observability import metrics_and_logs as metrics
from app.platform.observability.metrics_and_logs import get_logger

RECENT_S: Final = 600.0
"""How long a drop counts as recent, in seconds."""

_SETTLE_S: Final = 0.5
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_log = get_logger(__name__)


class BrokerDropMonitor:
    """Monitors one broker. `start` and `stop` may be called repeatedly.

    Attributes:
        counters: the broker's metrics.
        unannounced: dropped messages that were not notified yet; the notifier subtracts those it notified.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self.counters = BrokerCounters()
        self.unannounced = 0
        self._settings = settings
        self._drops: deque[tuple[float, int]] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._task is not None

    def start(self, known: AnnouncedDrops | None) -> None:
        """Start monitoring; `known` are the drops that were already notified."""
        if self._task is None:
            self.counters = BrokerCounters(known)
            self._task = asyncio.create_task(self._run(), name="broker-watch")

    async def stop(self) -> None:
        """Stop monitoring."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def recent(self) -> int:
        """Return the number of messages dropped in the last RECENT_S seconds."""
        now = time.monotonic()
        while self._drops and now - self._drops[0][0] > RECENT_S:
            self._drops.popleft()
        return sum(number for _, number in self._drops)

    async def _run(self) -> None:
        wait = _FIRST_WAIT_S
        try:
            while True:
                try:
                    async with make_broker_client(self._settings, timeout_s=5) as client:
                        for topic in TOPICS:
                            await client.subscribe(topic)
                        self.counters.connected()
                        metrics.BROKER_WATCHED.set(1)
                        wait = _FIRST_WAIT_S
                        await self._listen(client)
                except (aiomqtt.MqttError, OSError) as error:
                    if wait == _FIRST_WAIT_S:  # once, not at each attempt
                        _log.warning("broker_watch_lost", error=str(error))
                metrics.BROKER_WATCHED.set(0)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_S)
        finally:
            metrics.BROKER_WATCHED.set(0)

    async def _listen(self, client: aiomqtt.Client) -> None:
        periodic = asyncio.create_task(self._settle_periodically())
        try:
            async for message in client.messages:
                if isinstance(message.payload, bytes):
                    self.counters.take(message.topic.value, message.payload)
        finally:
            periodic.cancel()
            self.settle()

    async def _settle_periodically(self) -> None:
        # Not with each message: metrics of one interval arrive one by one, the broker's uptime first.
        while True:
            await asyncio.sleep(_SETTLE_S)
            self.settle()

    def settle(self) -> None:
        """Count increases, set the gauges, and log drops."""
        dropped, expired = self.counters.settle(datetime.now(UTC))
        figures = self.counters.figures
        for name, gauge in (
            ("connected", metrics.BROKER_CLIENTS),
            ("away", metrics.BROKER_CLIENTS_AWAY),
            ("stored", metrics.BROKER_STORED),
            ("stored_bytes", metrics.BROKER_STORED_BYTES),
        ):
            if name in figures:
                gauge.set(figures[name])
        if dropped:
            metrics.BROKER_DROPPED.inc(dropped)
            self.unannounced += dropped
            self._drops.append((time.monotonic(), dropped))
            _log.warning("broker_dropped_messages", dropped=dropped, since_its_start=figures["dropped"])
        if expired:
            metrics.BROKER_EXPIRED.inc(expired)
            _log.warning("broker_expired_sessions", expired=expired)
