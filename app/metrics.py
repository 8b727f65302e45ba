"""Collects the Prometheus metrics of all rooms. Each process imports it, so that it exports all of them.

A gauge that another process sets is 0 here; alerting rules use the maximum.
"""

from typing import Final

from app.alerts import metrics as alerts
from app.incidents import metrics as incidents
from app.ingest import metrics as ingest
from app.notifications import metrics as notifications
from app.platform.observability import metrics_and_logs as platform
from app.platform.observability.metric_types import MetricWrapperBase
from app.registry import metrics as registry
from app.rules import metrics as rules
from app.timeseries import metrics as timeseries

ALL_METRICS: Final = tuple(
    value
    for module in (ingest, registry, alerts, incidents, notifications, rules, timeseries, platform)
    for value in vars(module).values()
    if isinstance(value, MetricWrapperBase)
)
