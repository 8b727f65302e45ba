"""Describes the Grafana dashboard of an installation on several machines."""

from typing import Final

from tools.monitoring.dashboard_specs import DashboardSpec, PanelSpec, make_stat, sum_rate

CLUSTER_DASHBOARD: Final = DashboardSpec(
    "Vigie / Cluster",
    "Edges, message log, workers and database hosts of several machines.",
    {
        "Now": [
            make_stat("Edges alive", "none", "max(vigie_edges_alive)"),
            make_stat("Partitions without a worker", "none", "max(vigie_log_partitions_unowned)"),
            make_stat("Replicas missing", "none", "max(vigie_log_replicas_missing)"),
            make_stat("Database hosts away", "none", "max(vigie_database_hosts_unreachable)"),
        ],
        "Message log": [
            PanelSpec(
                "Partitions by worker", "none", [("vigie_ingest_partitions_owned > 0", "{{instance}}")]
            ),
            PanelSpec(
                "Lag by partition",
                "s",
                [("max by (partition) (vigie_ingest_partition_lag_seconds)", "{{partition}}")],
                "Age of the oldest record that is not committed.",
            ),
            PanelSpec("Replicas in sync", "none", [("max(vigie_log_replicas_in_sync)", "replicas")]),
            PanelSpec(
                "Messages that edges have not appended",
                "short",
                [("max by (instance) (vigie_edge_unsent_messages)", "{{instance}}")],
            ),
        ],
        "Database": [
            PanelSpec(
                "Replication lag",
                "s",
                [("max by (host) (vigie_database_replication_lag_seconds)", "{{host}}")],
            ),
            PanelSpec(
                "Write-ahead log not replayed",
                "bytes",
                [("max by (host) (vigie_database_replication_lag_bytes)", "{{host}}")],
            ),
            PanelSpec(
                "Reads on standbys",
                "reqps",
                [
                    (sum_rate("vigie_database_standby_reads_total"), "standby"),
                    (sum_rate("vigie_database_standby_fallbacks_total", "reason"), "primary: {{reason}}"),
                ],
                "Series, exports and the public register, with `VIGIE_DATABASE__STANDBY_READS`.",
            ),
        ],
    },
)
