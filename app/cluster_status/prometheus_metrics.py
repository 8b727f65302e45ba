"""Declares the Prometheus metrics of all machines, which the maintainer sets.

A process that is not the maintainer exports 0: a figure that should be large has a counterpart that should
be 0, on which the alerting rules stand.
"""

from app.platform.observability.metric_types import Gauge

EDGES_ALIVE = Gauge(
    "vigie_edges_alive", "Edges that reported within ten seconds", multiprocess_mode="livemax"
)
EDGES_SILENT = Gauge(
    "vigie_edges_silent", "Edges that have not reported for ten seconds", multiprocess_mode="livemax"
)
PARTITIONS_UNOWNED = Gauge(
    "vigie_log_partitions_unowned",
    "Partitions of the message log that no worker reads",
    multiprocess_mode="livemax",
)
PARTITIONS_STOPPED = Gauge(
    "vigie_log_partitions_without_majority",
    "Partitions of the message log to which nothing can be appended",
    multiprocess_mode="livemax",
)
REPLICAS_IN_SYNC = Gauge(
    "vigie_log_replicas_in_sync",
    "Replicas of all partitions of the message log that are up to date",
    multiprocess_mode="livemax",
)
REPLICAS_MISSING = Gauge(
    "vigie_log_replicas_missing",
    "Replicas of all partitions of the message log that are away or behind",
    multiprocess_mode="livemax",
)
LOG_UNREACHABLE = Gauge(
    "vigie_log_unreachable", "1 while the maintainer cannot read the message log", multiprocess_mode="livemax"
)
REPLICATION_LAG_BYTES = Gauge(
    "vigie_database_replication_lag_bytes",
    "Write-ahead log that a standby of the database has not replayed",
    ["host"],
    multiprocess_mode="livemax",
)
REPLICATION_LAG_SECONDS = Gauge(
    "vigie_database_replication_lag_seconds",
    "Age of the newest data of a standby of the database",
    ["host"],
    multiprocess_mode="livemax",
)
HOSTS_UNREACHABLE = Gauge(
    "vigie_database_hosts_unreachable",
    "Hosts of the database that do not answer",
    multiprocess_mode="livemax",
)
STANDBY_NOT_SYNCHRONOUS = Gauge(
    "vigie_database_without_synchronous_standby",
    "1 while commits wait for no standby, though the database has several hosts",
    multiprocess_mode="livemax",
)
