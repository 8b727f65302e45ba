"""Describes the Grafana dashboards of `deploy/grafana/dashboards`: tables of panels with their PromQL.

`list_queries` lists all queries, for the tests. `dashboard_rendering` makes the JSON.
"""

from collections.abc import Iterator
from typing import Final

from tools.monitoring.cluster_dashboard import CLUSTER_DASHBOARD
from tools.monitoring.dashboard_specs import (
    RATE,
    DashboardSpec,
    PanelSpec,
    build_quantile,
    make_stat,
    sum_rate,
)
from tools.monitoring.slo_rules import OBJECTIVES, name_series

_SAMPLES_STORED: Final = f" / ({sum_rate('vigie_samples_stored_total')} > 0)"
_POOL: Final = "sum by (pool) (vigie_database_pool_%s)"


_OVERVIEW: Final = DashboardSpec(
    "Vigie / Overview",
    "Service-level objectives, and whether all parts run.",
    {
        "Objectives: share that is not good, over six hours": [
            make_stat(
                objective.title,
                "percentunit",
                name_series(objective, "6h"),
                f"The objective allows {objective.budget:.1%} in 30 days. {objective.reason}",
            )
            for objective in OBJECTIVES
        ],
        "Burn rates": [
            PanelSpec(
                f"Burn rate: {objective.key}",
                "none",
                [
                    (f"{name_series(objective, window)} / {objective.budget:g}", window)
                    for window in ("5m", "1h", "6h")
                ],
                "1 uses up the budget in exactly 30 days. An alert pages at 14.4 over an hour.",
            )
            for objective in OBJECTIVES
        ],
        "Processes": [
            PanelSpec(
                "Processes by role and version",
                "none",
                [("sum by (role, version, commit) (vigie_build_info)", "{{role}} {{version}} {{commit}}")],
            ),
            PanelSpec(
                "Delay of event loops (99th percentile)",
                "s",
                [(build_quantile(0.99, "vigie_event_loop_delay_seconds", "role"), "{{role}}")],
                "Above 0.1 s the process has too little CPU time.",
            ),
            PanelSpec("Messages stored", "mps", [(sum_rate("vigie_samples_stored_total"), "samples")]),
            PanelSpec("Alerts now firing", "none", [("max(vigie_alerts_firing)", "firing")]),
        ],
    },
)

_INGEST: Final = DashboardSpec(
    "Vigie / Ingest",
    "From the broker and HTTP to the commit.",
    {
        "Now": [
            make_stat(
                "Behind by",
                "s",
                "clamp_min(time() - max(vigie_ingest_measured_timestamp_seconds), 0)",
                "Age of the newest stored measurements. It also grows while boxes send no data.",
            ),
            make_stat(
                "Oldest message in work",
                "s",
                "(time() - max(vigie_ingest_oldest_unprocessed_timestamp_seconds > 0)) or vector(0)",
            ),
            make_stat("Messages at the broker", "short", "max(vigie_broker_stored_messages)"),
            make_stat("Consumers connected", "none", "max(vigie_ingest_connected)"),
        ],
        "Rate and errors": [
            PanelSpec("Messages", "mps", [(sum_rate("vigie_ingest_messages_total", "kind"), "{{kind}}")]),
            PanelSpec(
                "Samples",
                "mps",
                [
                    (sum_rate("vigie_samples_stored_total", "door"), "stored {{door}}"),
                    (sum_rate("vigie_samples_duplicate_total", "door"), "duplicate {{door}}"),
                    (sum_rate("vigie_samples_late_total", "door"), "late {{door}}"),
                    (sum_rate("vigie_samples_conflict_total", "door"), "conflict {{door}}"),
                ],
            ),
            PanelSpec(
                "Refused, by code",
                "mps",
                [(sum_rate("vigie_quarantined_total", "door, code"), "{{code}} {{door}}")],
            ),
            PanelSpec(
                "Batches retried, by error",
                "ops",
                [
                    (
                        f"sum by (reason) (increase(vigie_ingest_retries_total[{RATE}])) or vector(0)",
                        "{{reason}}",
                    )
                ],
            ),
        ],
        "Duration": [
            PanelSpec(
                "From arrival to commit",
                "s",
                [
                    (build_quantile(0.5, "vigie_ingest_batch_delay_seconds", "door"), "median {{door}}"),
                    (build_quantile(0.99, "vigie_ingest_batch_delay_seconds", "door"), "99 % {{door}}"),
                ],
            ),
            PanelSpec(
                "Time of each step of a batch",
                "percentunit",
                [(sum_rate("vigie_ingest_step_seconds_sum", "step"), "{{step}}")],
                "Seconds of each second. All steps together near 1: the consumer is at its limit.",
            ),
            PanelSpec("Batches", "ops", [(sum_rate("vigie_ingest_batches_total", "door"), "{{door}}")]),
            PanelSpec(
                "HTTP calls in a group",
                "none",
                [(build_quantile(0.5, "vigie_ingest_http_group_calls"), "median")],
            ),
        ],
    },
)

_API: Final = DashboardSpec(
    "Vigie / API",
    "Rate, errors and duration by route; limits and pools.",
    {
        "Rate, errors, duration": [
            PanelSpec(
                "Requests by route",
                "reqps",
                [
                    (
                        f"topk(15, {sum_rate('vigie_http_requests_total', 'method, route')})",
                        "{{method}} {{route}}",
                    )
                ],
            ),
            PanelSpec(
                "Requests by status",
                "reqps",
                [(sum_rate("vigie_http_requests_total", "status"), "{{status}}")],
            ),
            PanelSpec(
                "Share of failures (5xx) by route",
                "percentunit",
                [("vigie:http_errors:ratio_rate5m > 0 or vector(0)", "{{method}} {{route}}")],
            ),
            PanelSpec(
                "Duration by route (99th percentile)",
                "s",
                [("topk(15, vigie:http_request_seconds:p99_5m)", "{{method}} {{route}}")],
            ),
            PanelSpec(
                "Duration of all requests",
                "s",
                [
                    (build_quantile(0.5, "vigie_http_request_seconds"), "median"),
                    (build_quantile(0.95, "vigie_http_request_seconds"), "95 %"),
                    (build_quantile(0.99, "vigie_http_request_seconds"), "99 %"),
                ],
            ),
            PanelSpec("Event streams open", "none", [("sum(vigie_event_streams_open)", "streams")]),
        ],
        "Limits": [
            PanelSpec(
                "Refused by limits",
                "reqps",
                [
                    (
                        f"{sum_rate('vigie_http_refused_total', 'code, policy')} or vector(0)",
                        "{{code}} {{policy}}",
                    )
                ],
            ),
            PanelSpec(
                "Requests that hold a permit",
                "none",
                [("sum by (limit, samples) (vigie_http_running)", "{{limit}} samples={{samples}}")],
            ),
            PanelSpec(
                "Requests that wait for a permit",
                "none",
                [("sum by (limit, samples) (vigie_http_waiting)", "{{limit}} samples={{samples}}")],
            ),
        ],
    },
)

_DELIVERY: Final = DashboardSpec(
    "Vigie / Delivery",
    "From the outbox to the receiver.",
    {
        "Now": [
            make_stat("Oldest due delivery", "s", "max(vigie_deliveries_oldest_due_seconds)"),
            make_stat("Oldest event not fanned out", "s", "max(vigie_outbox_oldest_event_seconds)"),
            make_stat("Pending deliveries", "short", "max(vigie_outbox_pending)"),
            make_stat("Oldest event in a group", "s", "max(vigie_groups_oldest_waiting_seconds)"),
            make_stat(
                "Oldest commit not streamed", "s", "max(vigie_measurement_commits_oldest_waiting_seconds)"
            ),
        ],
        "Attempts": [
            PanelSpec(
                "Attempts by outcome", "ops", [(sum_rate("vigie_deliveries_total", "outcome"), "{{outcome}}")]
            ),
            PanelSpec(
                "From event to first attempt",
                "s",
                [
                    (build_quantile(0.5, "vigie_delivery_delay_seconds"), "median"),
                    (build_quantile(0.99, "vigie_delivery_delay_seconds"), "99 %"),
                ],
            ),
            PanelSpec(
                "Time of an attempt",
                "s",
                [
                    (build_quantile(0.5, "vigie_delivery_seconds"), "median"),
                    (build_quantile(0.99, "vigie_delivery_seconds"), "99 %"),
                ],
                "A receiver that hangs shows here; its trace names the endpoint.",
            ),
            PanelSpec(
                "Attempts under way",
                "none",
                [("sum(vigie_deliveries_running)", "running"), ("sum(vigie_deliveries_leased)", "leased")],
            ),
            PanelSpec(
                "Endpoints in trouble", "none", [("max by (state) (vigie_endpoints_troubled)", "{{state}}")]
            ),
            PanelSpec(
                "Alerts fired and resolved",
                "ops",
                [(sum_rate("vigie_alert_transitions_total", "state, severity"), "{{state}} {{severity}}")],
            ),
        ],
    },
)

_SERVICES: Final = DashboardSpec(
    "Vigie / Database and broker",
    "Connections, queues, and the work of maintenance.",
    {
        "Database": [
            PanelSpec(
                "Connections in use",
                "percentunit",
                [(f"{_POOL % 'in_use'} / {_POOL % 'size'}", "{{pool}}")],
                "Share of each pool. At 1, tasks wait.",
            ),
            PanelSpec(
                "Tasks that wait for a connection",
                "none",
                [("sum by (pool) (vigie_database_pool_waiting)", "{{pool}}")],
            ),
            PanelSpec("Roll-ups", "none", [("max(vigie_rollup_marks)", "hours of boxes to compute")]),
            PanelSpec("Roll-ups are behind by", "s", [("max(vigie_rollup_lag_seconds)", "oldest hour")]),
            PanelSpec(
                "Retention and erasure",
                "none",
                [
                    ("max(vigie_retention_waiting_boxes)", "boxes with data to remove"),
                    ("max(vigie_erasures_waiting)", "erasures"),
                ],
            ),
            PanelSpec("Secrets to seal", "none", [("max(vigie_secrets_to_seal)", "secrets")]),
        ],
        "Broker": [
            PanelSpec("Messages held", "short", [("max(vigie_broker_stored_messages)", "messages")]),
            PanelSpec("Bytes held", "bytes", [("max(vigie_broker_stored_bytes)", "bytes")]),
            PanelSpec(
                "Clients",
                "none",
                [
                    ("max(vigie_broker_clients_connected)", "connected"),
                    ("max(vigie_broker_clients_away)", "away, with a session"),
                ],
            ),
            PanelSpec(
                "Messages dropped, sessions expired",
                "none",
                [
                    (f"sum(increase(vigie_broker_dropped_messages_total[{RATE}]))", "dropped"),
                    (f"sum(increase(vigie_broker_expired_sessions_total[{RATE}]))", "expired"),
                ],
                "Each dropped message of a box without `ack` is lost.",
            ),
        ],
    },
)

_BOXES: Final = DashboardSpec(
    "Vigie / Boxes",
    "Samples and events of boxes, and refusals.",
    {
        "Boxes": [
            PanelSpec("Boxes connected", "none", [("max(vigie_broker_clients_connected)", "clients")]),
            PanelSpec("Samples stored", "mps", [(sum_rate("vigie_samples_stored_total"), "samples")]),
            PanelSpec(
                "Events by type",
                "ops",
                [(f"{sum_rate('vigie_events_stored_total', 'type')} or vector(0)", "{{type}}")],
            ),
            PanelSpec("Bytes of payload", "Bps", [(sum_rate("vigie_ingest_bytes_total"), "bytes")]),
            PanelSpec(
                "Share of late samples",
                "percentunit",
                [
                    (sum_rate("vigie_samples_late_total") + _SAMPLES_STORED, "late"),
                ],
                "Late samples are stored, but rules do not see them.",
            ),
            PanelSpec(
                "Refused for purpose or content",
                "ops",
                [(f"{sum_rate('vigie_door_refusals_total', 'code')} or vector(0)", "{{code}}")],
            ),
            PanelSpec(
                "Acknowledgements",
                "ops",
                [
                    (sum_rate("vigie_acks_sent_total"), "sent"),
                    (sum_rate("vigie_acks_failed_total"), "failed"),
                ],
            ),
            PanelSpec(
                "Boxes enrolled",
                "none",
                [(f"{sum_rate('vigie_boxes_enrolled_total', 'by')} or vector(0)", "{{by}}")],
            ),
        ],
    },
)

DASHBOARDS: Final = {
    "overview": _OVERVIEW,
    "ingest": _INGEST,
    "api": _API,
    "delivery": _DELIVERY,
    "database-and-broker": _SERVICES,
    "boxes": _BOXES,
    "cluster": CLUSTER_DASHBOARD,
}
"""The dashboards, by the names of their files."""


def list_queries() -> Iterator[tuple[str, str, str]]:
    """List (dashboard, panel, PromQL) of all panels."""
    for name, spec in DASHBOARDS.items():
        for panels in spec.rows.values():
            for panel in panels:
                for query, _ in panel.queries:
                    yield name, panel.title, query
