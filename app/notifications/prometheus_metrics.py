"""Declares the Prometheus metrics of deliveries, groups, endpoints and event streams."""

from app.platform.observability.metric_types import DURATION_BUCKETS, Counter, Gauge, Histogram

DELIVERIES = Counter("vigie_deliveries_total", "Attempts to deliver, by outcome", ["outcome"])
DELIVERY_SECONDS = Histogram("vigie_delivery_seconds", "Time of an attempt", buckets=DURATION_BUCKETS)
DELIVERY_DELAY = Histogram(
    "vigie_delivery_delay_seconds", "From outbox to first attempt", buckets=DURATION_BUCKETS
)
DELIVERIES_RUNNING = Gauge(
    "vigie_deliveries_running", "Attempts to deliver that are under way", multiprocess_mode="livesum"
)
DELIVERIES_LEASED = Gauge(
    "vigie_deliveries_leased",
    "Deliveries that are leased: queued, running, or not yet recorded",
    multiprocess_mode="livesum",
)
RECORD_BATCH = Histogram(
    "vigie_delivery_record_batch",
    "Attempts that were recorded together",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
ENDPOINT_NOTICES = Counter(
    "vigie_endpoint_notices_total",
    "Notices to owners that an endpoint fails or was disabled, by event",
    ["type"],
)
ENDPOINTS_TROUBLED = Gauge(
    "vigie_endpoints_troubled",
    "Endpoints that fail, are slowed down, or were disabled for failing: `open`, `slowed`, `disabled`",
    ["state"],
    multiprocess_mode="mostrecent",
)
EVENTS_UNFIT = Counter(
    "vigie_events_unfit_total", "Events without deliveries, because their data were not valid"
)
GROUPED_EVENTS = Counter("vigie_grouped_events_total", "Events that were put into a group's notification")
GROUPS_WAITING = Gauge(
    "vigie_groups_waiting",
    "Queued notifications of groups, without completely muted ones",
    multiprocess_mode="mostrecent",
)
GROUPS_OLDEST = Gauge(
    "vigie_groups_oldest_waiting_seconds",
    "Age of the oldest event in these, 0 where there is none",
    multiprocess_mode="mostrecent",
)
STREAMS_OPEN = Gauge("vigie_event_streams_open", "Streams of events now open", multiprocess_mode="livesum")
STREAM_EVENTS = Counter("vigie_event_stream_events_total", "Events written to streams")
GROUPED_EXPIRED = Counter(
    "vigie_grouped_events_expired_total",
    "Alerts' events removed for their age that waited in groups of disabled endpoints",
)
DELIVERIES_EXPIRED = Counter(
    "vigie_deliveries_expired_total",
    "Deliveries removed for their age that were neither delivered nor given up: of disabled endpoints",
)
DELIVERIES_OLDEST_DUE = Gauge(
    "vigie_deliveries_oldest_due_seconds",
    "Time since the oldest delivery was due, without endpoints that are disabled or paused; 0 where none is",
    multiprocess_mode="mostrecent",
)
OUTBOX_OLDEST = Gauge(
    "vigie_outbox_oldest_event_seconds",
    "Age of the oldest event that was not fanned out, 0 where there is none",
    multiprocess_mode="mostrecent",
)
OUTBOX_PENDING = Gauge("vigie_outbox_pending", "Deliveries not yet done", multiprocess_mode="mostrecent")
