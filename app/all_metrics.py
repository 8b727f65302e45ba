"""Imports the Prometheus metrics of all packages, so that each process exports all of them.

A gauge that another process sets is 0 here; alerting rules use the maximum.
"""

from typing import Final

from app.alerts import prometheus_metrics as alerts
from app.backups import prometheus_metrics as backups
from app.cluster_status import prometheus_metrics as cluster_status
from app.edge import prometheus_metrics as edge
from app.ingest import prometheus_metrics as ingest
from app.measurement_stream import prometheus_metrics as measurement_stream
from app.measurement_stream.subscriptions import prometheus_metrics as measurement_subscriptions
from app.notifications import prometheus_metrics as notifications
from app.platform.db import prometheus_metrics as database
from app.platform.observability import gauge_sampling as saturation
from app.platform.observability import metrics_and_logs as platform
from app.platform.observability.metric_types import MetricWrapperBase
from app.platform.runtime import release
from app.registry import prometheus_metrics as registry
from app.reports import prometheus_metrics as reports
from app.rules.backtests import prometheus_metrics as rules
from app.sound_incidents import prometheus_metrics as incidents
from app.timeseries import prometheus_metrics as timeseries

_MODULES: Final = (
    *(
        cluster_status,
        edge,
        ingest,
        registry,
        alerts,
        incidents,
        notifications,
        measurement_stream,
        measurement_subscriptions,
        rules,
        reports,
        timeseries,
        backups,
    ),
    *(platform, saturation, database, release),
)
ALL_METRICS: Final = tuple(
    {
        id(value): value
        for module in _MODULES
        for value in vars(module).values()
        if isinstance(value, MetricWrapperBase)
    }.values()
)
