"""Declares the Prometheus metrics of the measurement stream."""

from app.platform.observability.metric_types import DURATION_BUCKETS, Counter, Gauge, Histogram

MEASUREMENTS_POSITIONED = Counter(
    "vigie_measurements_positioned_total", "Samples, events, corrections and hours that got their position"
)
MEASUREMENT_POSITION_DELAY = Histogram(
    "vigie_measurement_position_delay_seconds",
    "From the begin of a transaction to the position of what it stored: the longest of each assignment",
    buckets=DURATION_BUCKETS,
)
MEASUREMENT_COMMITS_WAITING = Gauge(
    "vigie_measurement_commits_waiting",
    "Committed transactions without a position in the measurement stream",
    multiprocess_mode="mostrecent",
)
MEASUREMENT_COMMITS_OLDEST = Gauge(
    "vigie_measurement_commits_oldest_waiting_seconds",
    "Age of the oldest of these, 0 where there is none",
    multiprocess_mode="mostrecent",
)
MEASUREMENT_STREAMS_OPEN = Gauge(
    "vigie_measurement_streams_open", "Streams of measurements now open", multiprocess_mode="livesum"
)
MEASUREMENT_STREAM_ITEMS = Counter(
    "vigie_measurement_stream_items_total", "Items written to streams of measurements"
)
