"""Declares the Prometheus metrics of reads that may run on a standby of the database."""

from app.platform.observability.metric_types import DURATION_BUCKETS, Counter, Histogram

STANDBY_READS = Counter("vigie_database_standby_reads_total", "Reads that a standby of the database answered")
STANDBY_FALLBACKS = Counter(
    "vigie_database_standby_fallbacks_total",
    "Reads that the primary answered although a standby might have; by reason",
    ["reason"],
)
STANDBY_WAIT_SECONDS = Histogram(
    "vigie_database_standby_wait_seconds",
    "Time from the beginning of a read until a standby had replayed all that was committed before",
    buckets=DURATION_BUCKETS,
)
