"""Declares the Prometheus metrics of roll-ups, retention and erasure."""

from app.platform.observability.metric_types import Counter, Gauge

ROLLUPS = Counter("vigie_rollups_total", "Roll-ups computed, of hours and of days", ["span"])
ROLLUP_MARKS = Gauge(
    "vigie_rollup_marks",
    "Hours of boxes without a current roll-up, including running ones",
    multiprocess_mode="mostrecent",
)
ROLLUP_LAG = Gauge(
    "vigie_rollup_lag_seconds",
    "Age of the oldest hour without a current roll-up, 0 where there is none",
    multiprocess_mode="mostrecent",
)
RETENTION_REMOVED = Counter(
    "vigie_retention_removed_total",
    "Removals by retention: samples, values, events, hourly, daily (rows of roll-ups), chunks",
    ["what"],
)
RETENTION_WAITING = Gauge(
    "vigie_retention_waiting_boxes",
    "Boxes with data to be removed by retention",
    multiprocess_mode="mostrecent",
)
ERASED = Counter("vigie_erased_total", "Rows erased on request, by table", ["table"])
ERASURES_WAITING = Gauge(
    "vigie_erasures_waiting", "Erasures that are not finished", multiprocess_mode="mostrecent"
)
