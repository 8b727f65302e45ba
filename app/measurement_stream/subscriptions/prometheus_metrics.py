"""Declares the Prometheus metrics of subscriptions to the measurement stream."""

from app.platform.observability.metric_types import DURATION_BUCKETS, Counter, Gauge, Histogram

MEASUREMENT_BATCHES = Counter(
    "vigie_measurement_batches_total",
    "Attempts to send a batch of measurements to a sink",
    ["sink", "outcome"],
)
MEASUREMENT_BATCH_ITEMS = Counter(
    "vigie_measurement_batch_items_total", "Items of measurement batches that a sink confirmed", ["sink"]
)
MEASUREMENT_REJECTED_ITEMS = Counter(
    "vigie_measurement_rejected_items_total",
    "Items of measurement batches that a sink refused for good, and that are not sent again",
    ["sink"],
)
MEASUREMENT_BATCH_SECONDS = Histogram(
    "vigie_measurement_batch_seconds", "Duration of attempts to send a batch", buckets=DURATION_BUCKETS
)
SUBSCRIPTION_NOTICES_SENT = Counter(
    "vigie_measurement_subscription_notices_total",
    "Notices to owners that a subscription to measurements fails or was disabled, by event",
    ["type"],
)
MEASUREMENT_SUBSCRIPTIONS = Gauge(
    "vigie_measurement_subscriptions",
    "Subscriptions to measurements by state: active, paused, disabled",
    ["state"],
    multiprocess_mode="mostrecent",
)
