"""Declares the Prometheus metrics of the clustering of sound events."""

from app.platform.observability.metric_types import Counter, Histogram

INCIDENTS_TOLD = Counter("vigie_incidents_told_total", "Versions of incidents that were notified", ["kind"])
INCIDENT_EVENTS_SKIPPED = Counter(
    "vigie_incident_events_skipped_total", "Events that exceeded the limit for one clustering"
)
INCIDENT_SECONDS = Histogram(
    "vigie_incident_seconds",
    "Time to cluster the events of a time window, with reading and writing",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
