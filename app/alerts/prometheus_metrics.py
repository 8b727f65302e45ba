"""Declares the Prometheus metrics of alerts: transitions, firing and muted alerts, timers."""

from app.platform.observability.metric_types import DURATION_BUCKETS, Counter, Gauge, Histogram

ALERT_TRANSITIONS = Counter(
    "vigie_alert_transitions_total", "Alerts fired and resolved", ["state", "severity"]
)
INDEX_PERIODS = Counter("vigie_index_periods_total", "Periods of indices that rules were evaluated on")
ALERTS_FIRING = Gauge("vigie_alerts_firing", "Alerts now firing", multiprocess_mode="mostrecent")
ALERTS_MUTED = Gauge(
    "vigie_alerts_muted",
    "Firing alerts that are muted now, by cause (both may apply)",
    ["by"],
    multiprocess_mode="mostrecent",
)
SWEEP_SECONDS = Histogram(
    "vigie_sweep_seconds", "Time to process due timers of alerts", buckets=DURATION_BUCKETS
)
SWEEP_FAILURES = Counter(
    "vigie_sweep_failures_total", "Failures to process one organisation's alert timers, by error", ["reason"]
)
