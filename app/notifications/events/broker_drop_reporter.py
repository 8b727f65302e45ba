"""Reports messages that a broker dropped: to the operators' endpoints, and to `/readyz` by a heartbeat."""

import time
from datetime import UTC, datetime
from typing import Final

import asyncpg

from app.notifications.events.operator_events import notify_dropped_messages, read_last_dropped
from app.platform.broker.dropped_message_monitor import RECENT_S, BrokerDropMonitor
from app.platform.runtime.heartbeat import BROKER_MONITOR, write_heartbeat

# Operators are notified of dropped messages at most once a minute.
_NOTIFY_EVERY_S: Final = 60.0


class BrokerDropReporter:
    """Reports messages that the broker dropped, to the operators' endpoints and `/readyz`.

    The monitor itself also runs while the database is unavailable, which is when the broker's queues fill.

    Args:
        monitor: Monitors the broker. The first report starts it.
        edge: The name of the broker's edge; None in an installation with one broker.
    """

    def __init__(self, monitor: BrokerDropMonitor, edge: str | None = None) -> None:
        self.monitor = monitor
        self._edge = edge
        self._notified_at = -_NOTIFY_EVERY_S

    async def report(self, connection: asyncpg.Connection) -> None:
        """Notify operators of dropped messages, and write the state of the broker to a heartbeat."""
        monitor = self.monitor
        if not monitor.running:
            monitor.start(await read_last_dropped(connection, self._edge))
        dropped, started_at = monitor.unannounced, monitor.counters.started_at
        if dropped and started_at and time.monotonic() - self._notified_at >= _NOTIFY_EVERY_S:
            total = monitor.counters.total
            now = datetime.now(UTC)
            if await notify_dropped_messages(
                connection, dropped=dropped, total=total, started_at=started_at, now=now, edge=self._edge
            ):
                monitor.unannounced -= dropped
                self._notified_at = time.monotonic()
        recent = monitor.recent()
        message = f"dropped {recent} messages in the last {RECENT_S / 60:g} minutes" if recent else ""
        await write_heartbeat(connection, BROKER_MONITOR, message)
