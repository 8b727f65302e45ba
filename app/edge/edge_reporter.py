"""Reports the state of the edge once a second: to the database for other processes, and as metrics."""

import time
from datetime import UTC, datetime
from typing import Final, get_args

import asyncpg

from app.edge import prometheus_metrics as metrics
from app.edge.broker_drain import BrokerDrain
from app.edge.drained_times import CONNECTED_FOR_S, FULL_BATCH_PAUSE_S, DrainedTimes
from app.edge.log_appender import LogAppender, LogProblem
from app.ingest.sources.reconnecting_mqtt_source import MqttSource
from app.platform.broker.dropped_message_monitor import BrokerDropMonitor
from app.platform.broker.edges import EdgeReport, report_edge
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.process_runner import ProcessContext

EVERY_S: Final = 1.0
"""Seconds between two reports."""

_log = get_logger(__name__)
_NOW: Final = "SELECT clock_timestamp()"
_PROBLEMS: Final = ("broker_unreachable", "name_in_use", *get_args(LogProblem.__value__))


class EdgeReporter:
    """Reports one edge.

    Args:
        process: The process, whose state it sets.
        source: The messages of the broker.
        drain: Drains the source.
        appender: Appends to the log.
        monitor: Has the number of clients of the broker.
        name: The name of the edge.
        address: Where other machines reach its broker: host and port.
    """

    def __init__(
        self,
        process: ProcessContext,
        source: MqttSource,
        drain: BrokerDrain,
        appender: LogAppender,
        monitor: BrokerDropMonitor,
        *,
        name: str,
        address: tuple[str, int],
    ) -> None:
        self._process = process
        self._source = source
        self._drain = drain
        self._appender = appender
        self._monitor = monitor
        self._name = name
        self._address = address
        self._started_at = datetime.now(UTC)
        self._times = DrainedTimes()
        self._connections = -1
        # Another edge may have it; one that has just restarted gets its own again after some seconds.
        self._has_name = True
        self._connected_since: float | None = None

    @property
    def problem(self) -> str | None:
        """Why the edge cannot work now, as a stable code; None if it can."""
        if not self._source.connected:
            return "broker_unreachable"
        return self._appender.problem if self._has_name else "name_in_use"

    def observe(self) -> None:
        """Set the state of the process and the gauges. Needs no database."""
        problem = self.problem
        self._process.state = "draining" if problem is None else _STATES[problem]
        metrics.EDGE_UNSENT.set(self._source.pending_messages)
        for each in _PROBLEMS:
            metrics.EDGE_PROBLEM.labels(each).set(int(each == problem))

    async def report(self, connection: asyncpg.Connection) -> None:
        """Write a report, and note a time up to which the broker may be drained at the next one."""
        counters = self._source.counters
        is_drained = self._is_drained()
        settled = counters.bytes - self._source.pending_bytes
        report = EdgeReport(
            name=self._name,
            host=self._address[0],
            port=self._address[1],
            started_at=self._started_at,
            connected=self._source.connected,
            drained_at=self._times.take(settled) if is_drained else None,
            boxes=self._monitor.counters.figures.get("connected"),
            unsent_messages=self._source.pending_messages,
            problem=self.problem,
        )
        self._has_name = await report_edge(connection, report)
        if not self._has_name:
            _log.warning("edge_name_in_use", name=self._name)
        now = await connection.fetchval(_NOW)
        # Read after the answer: everything received up to that time is counted.
        if self._is_drained():
            self._times.note(now, counters.bytes)

    def _is_drained(self) -> bool:
        """Whether the broker has no backlog, as far as the last batches show."""
        clock = time.monotonic()
        connections = self._source.counters.reconnects if self._source.connected else -1
        if connections != self._connections:
            self._connections = connections
            self._connected_since = clock if self._source.connected else None
            self._times.clear()
        return (
            self._connected_since is not None
            and clock - self._connected_since >= CONNECTED_FOR_S
            and clock - self._drain.was_full_at >= FULL_BATCH_PAUSE_S
        )


_STATES: Final = {
    "broker_unreachable": "waiting for the broker",
    "name_in_use": "waiting for its name, under which another edge reports",
    "log_unavailable": "waiting for the message log",
    "log_full": "waiting for room in the message log",
}
