"""Declares the Prometheus metrics of batches, samples, events, refusals and acknowledgements."""

from app.platform.observability.metric_types import DURATION_BUCKETS, Counter, Gauge, Histogram

INGEST_MESSAGES = Counter("vigie_ingest_messages_total", "MQTT messages taken in", ["kind"])
INGEST_BYTES = Counter("vigie_ingest_bytes_total", "Bytes of MQTT payload taken in")
INGEST_IGNORED = Counter("vigie_ingest_ignored_total", "Values in other formats without a metric", ["format"])
INGEST_BATCHES = Counter("vigie_ingest_batches_total", "Batches committed", ["door"])
HTTP_GROUP_CALLS = Histogram(
    "vigie_ingest_http_group_calls",
    "HTTP calls committed together",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
INGEST_COMMITTED = Counter(
    "vigie_ingest_committed_messages_total", "Messages and HTTP calls of committed batches", ["door"]
)
INGEST_SLOW = Counter(
    "vigie_ingest_slow_messages_total",
    "Of these, those of batches that were committed more than 5 s after the arrival of their first message",
    ["door"],
)
INGEST_DELAY = Histogram(
    "vigie_ingest_batch_delay_seconds",
    "Time from the arrival of a batch's first message to its commit",
    ["door"],
    buckets=DURATION_BUCKETS,
)
INGEST_OLDEST = Gauge(
    "vigie_ingest_oldest_unprocessed_timestamp_seconds",
    "Arrival (Unix time) of the oldest message that the consumer has not committed, 0 where there is none",
    multiprocess_mode="livemax",
)
INGEST_MEASURED = Gauge(
    "vigie_ingest_measured_timestamp_seconds",
    "Median measurement time (Unix time) of the batch that the consumer committed last, 0 before the first",
    multiprocess_mode="livemax",
)
INGEST_RETRIES = Counter(
    "vigie_ingest_retries_total", "Retries of batches after a database error", ["reason"]
)
INGEST_STEP = Histogram(
    "vigie_ingest_step_seconds", "Time of each step of a batch", ["step"], buckets=DURATION_BUCKETS
)
INGEST_CONNECTED = Gauge(
    "vigie_ingest_connected", "1 while the consumer has its broker connection", multiprocess_mode="livesum"
)
INGEST_RECONNECTS = Counter("vigie_ingest_reconnects_total", "Connections to the broker made again")
PARTITIONS_OWNED = Gauge(
    "vigie_ingest_partitions_owned",
    "Partitions of the message log that the worker reads",
    multiprocess_mode="livesum",
)
PARTITION_LAG_RECORDS = Gauge(
    "vigie_ingest_partition_lag_records",
    "Records of a partition that its worker has not committed; 0 in other processes",
    ["partition"],
    multiprocess_mode="livemax",
)
PARTITION_LAG_SECONDS = Gauge(
    "vigie_ingest_partition_lag_seconds",
    "How long the oldest of these records has waited; 0 in other processes",
    ["partition"],
    multiprocess_mode="livemax",
)
INGEST_OUTDATED = Counter(
    "vigie_ingest_outdated_statuses_total",
    "Retained statuses and configurations ignored, of boxes that have left the broker",
)
LOG_REMOVED = Counter(
    "vigie_ingest_log_removed_records_total",
    "Records that the message log removed before a worker read them: they are lost",
)
LOG_TAIL_LOST = Counter(
    "vigie_ingest_log_tail_lost_total",
    "Times that a partition of the message log had lost its newest records, and was read again as a whole",
)
LOG_RECREATED = Counter(
    "vigie_ingest_log_recreated_total",
    "Partitions that were read and whose log was recreated: records that were not read yet are lost",
)
INGEST_MALFORMED = Counter("vigie_ingest_malformed_total", "MQTT packets that could not be read")
INGEST_POISON = Counter("vigie_ingest_poison_total", "MQTT packets skipped after repeated redelivery")
INGEST_PAUSES = Counter("vigie_ingest_pauses_total", "Times reading paused: too much was unacknowledged")
INGEST_STALE_ACKS = Counter(
    "vigie_ingest_stale_acks_total", "Acknowledgements for a connection that was lost"
)
SAMPLES_STORED = Counter("vigie_samples_stored_total", "Samples stored", ["door"])
SAMPLES_DUPLICATE = Counter("vigie_samples_duplicate_total", "Exact repeats of stored samples", ["door"])
SAMPLES_CONFLICT = Counter("vigie_samples_conflict_total", "Stored identity, other values", ["door"])
SAMPLES_LATE = Counter("vigie_samples_late_total", "Samples older than what rules had already seen", ["door"])
EVENTS_STORED = Counter("vigie_events_stored_total", "Events stored", ["type"])
EVENTS_DUPLICATE = Counter("vigie_events_duplicate_total", "Repeats of stored events")
QUARANTINED = Counter("vigie_quarantined_total", "Refused messages and samples, by reason", ["door", "code"])
SAMPLES_PARTLY_REFUSED = Counter(
    "vigie_samples_partly_refused_total",
    "Samples of which the values for one purpose were refused, by reason",
    ["door", "code"],
)
QUARANTINE_REPLAYS = Counter(
    "vigie_quarantine_replays_total", "Replays from quarantine, by outcome", ["outcome"]
)
ACKS_SENT = Counter("vigie_acks_sent_total", "Application acknowledgements published")
ACKS_FAILED = Counter("vigie_acks_failed_total", "Application acknowledgements that could not be published")
