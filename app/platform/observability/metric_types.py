"""Exports the metric classes of prometheus_client. Import them from here only.

It first reserves disk space for the metric files that the processes share.
"""

from typing import Final

import app.platform.observability.metric_file_preallocation  # noqa: F401 (reserves the space)

# isort: split
# prometheus_client decides at its import whether metrics are shared: the files must be reserved before.
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

__all__ = ["DURATION_BUCKETS", "Counter", "Gauge", "Histogram", "MetricWrapperBase"]

DURATION_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""The buckets of histograms of durations, in seconds."""
