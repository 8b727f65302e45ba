"""Declares the Prometheus metrics of an edge: appended messages and records, and its problems."""

from app.platform.observability.metric_types import DURATION_BUCKETS, Counter, Gauge, Histogram

EDGE_MESSAGES = Counter("vigie_edge_appended_messages_total", "MQTT messages appended to the message log")
EDGE_RECORDS = Counter("vigie_edge_appended_records_total", "Records appended to the message log")
EDGE_BYTES = Counter("vigie_edge_appended_bytes_total", "Bytes of records appended to the message log")
EDGE_APPEND = Histogram(
    "vigie_edge_append_seconds",
    "Time until all records of a batch were stored by a majority of replicas",
    buckets=DURATION_BUCKETS,
)
EDGE_REPEATS = Counter(
    "vigie_edge_append_repeats_total", "Appends repeated after an error of the message log"
)
EDGE_TRUNCATED = Counter(
    "vigie_edge_truncated_messages_total", "Messages cut because they are larger than a record of the log"
)
EDGE_UNSENT = Gauge(
    "vigie_edge_unsent_messages",
    "Messages that the edge has received and the log does not have yet",
    multiprocess_mode="livesum",
)
EDGE_PROBLEM = Gauge(
    "vigie_edge_problem",
    "1 while the edge cannot work, by reason: `broker_unreachable`, `log_unavailable`, `log_full`, "
    "`name_in_use`",
    ["problem"],
    multiprocess_mode="livemax",
)
EDGE_BOXES = Gauge(
    "vigie_edge_known_boxes", "Boxes in the edge's copy of the registry", multiprocess_mode="livemax"
)
EDGE_CONFIGS = Counter(
    "vigie_edge_published_configurations_total", "Configurations published to the edge's broker, or removed"
)
