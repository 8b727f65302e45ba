"""A healthy installation of three machines, to be changed by tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from app.cluster_status.database_hosts import DatabaseHost
from app.cluster_status.snapshot import ClusterSnapshot, HeldLock, InstallationRows
from app.message_log.log_ownership import LogInUse
from app.message_log.message_log import PartitionStatus
from app.message_log.positions import PartitionPosition
from app.message_log.settings import MessageLogSettings
from app.platform.broker.edges import RegisteredEdge
from app.platform.db.standby_reads import StandbyReadsState
from app.platform.runtime.heartbeat import HeartbeatRow

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
NODES = ("n1", "n2", "n3")
NO_READS = StandbyReadsState(
    enabled=False, host=None, max_lag_s=0.25, standby_count=0, fallbacks={}, fault=None
)


def edge(name: str = "a", *, silent_s: float = 0.5, problem: str | None = None) -> RegisteredEdge:
    at = NOW - timedelta(seconds=silent_s)
    return RegisteredEdge(name, "10.0.0.1", 1883, NOW, at, silent_s, problem is None, at, 100, 0, problem)


def position(number: int, **changes: Any) -> PartitionPosition:  # noqa: ANN401 (the fields)
    return PartitionPosition(number, 100, "m-1", NOW, NOW, 0, None, True)._replace(**changes)


def status(number: int, **changes: Any) -> PartitionStatus:  # noqa: ANN401 (the fields)
    return PartitionStatus(number, "n1", NODES, NODES, 1, 103, 4096)._replace(**changes)


def rows(**changes: Any) -> InstallationRows:  # noqa: ANN401 (the fields)
    return InstallationRows(
        [edge("a"), edge("b")],
        [position(0), position(1, worker="m-2")],
        [
            HeartbeatRow("ingest", "m:1", "consuming", 0.5),
            HeartbeatRow("ingest", "m:2", "consuming", 0.5),
            HeartbeatRow("ingest", "m:3", "consuming", 0.5),
            HeartbeatRow("maintain", "m:4", "working", 0.5),
            HeartbeatRow("maintain", "m:5", "standby", 0.5),
        ],
        [HeldLock("maintainer", 1), HeldLock("consumer", 2), HeldLock("configuration_publisher", 0)],
        LogInUse(2, "jetstream/vigie"),
    )._replace(**changes)


def snapshot(**changes: Any) -> ClusterSnapshot:  # noqa: ANN401 (the fields)
    return ClusterSnapshot(
        MessageLogSettings(engine="jetstream", partitions=2),
        rows(),
        [status(0), status(1)],
        None,
        [
            DatabaseHost("db-a:5432", "primary"),
            DatabaseHost("db-b:5432", "standby", 0, 0.0, True),
            DatabaseHost("db-c:5432", "standby", 0, 0.0, False),
        ],
    )._replace(**changes)
