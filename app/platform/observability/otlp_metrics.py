"""Exports the Prometheus metrics of this process by OTLP. Imported only where telemetry is on.

Names and labels are those of prometheus_client, so rules and dashboards work with both kinds of export. A
thread reads the registry at each interval and converts it. In the multi-process mode, where
`/metrics` of the API combines all processes, each process exports its own files.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import REGISTRY, multiprocess
from prometheus_client.metrics_core import Metric as PrometheusMetric
from prometheus_client.samples import Sample

from app import __version__
from app.platform.config.telemetry_settings import TelemetrySettings
from app.platform.observability.metric_file_preallocation import MULTIPROCESS_VARIABLE
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.observability.otlp_session import BoundedSession

_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
_PREFIX: Final = "vigie_"
_log = get_logger(__name__)


def collect_own_metrics() -> Iterable[PrometheusMetric]:
    """Collect the metrics of this process, without those of Python and of the operating system."""
    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    if folder is None:
        families: Iterable[PrometheusMetric] = REGISTRY.collect()
    else:
        files = [str(path) for path in Path(folder).glob(f"*_{os.getpid()}.db")]
        families = multiprocess.MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call] # its stub lacks the types
    return [family for family in families if family.name.startswith(_PREFIX)]


def convert_metrics(families: Iterable[PrometheusMetric], *, start_ns: int, now_ns: int) -> Iterator[Metric]:
    """Convert metrics of prometheus_client to those of OpenTelemetry.

    Args:
        families: the metrics.
        start_ns: when the process began to count (ns since the epoch).
        now_ns: the time of the values (ns since the epoch).
    """
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if family.type == "histogram":
            points = list(_convert_histogram(family.samples, start_ns, now_ns))
            yield Metric(name, family.documentation, "", Histogram(points, _CUMULATIVE))
            continue
        numbers = [
            NumberDataPoint(dict(sample.labels), start_ns, now_ns, sample.value)
            for sample in family.samples
            if sample.name == name
        ]
        if family.type == "counter":
            yield Metric(name, family.documentation, "", Sum(numbers, _CUMULATIVE, is_monotonic=True))
        else:
            yield Metric(name, family.documentation, "", Gauge(numbers))


def _convert_histogram(samples: Sequence[Sample], start_ns: int, now_ns: int) -> Iterator[HistogramDataPoint]:
    """Turn cumulative buckets, with the label `le`, into one data point for each set of other labels."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, int]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), int(sample.value)))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    for labels, cumulative in buckets.items():
        cumulative.sort()
        counts = [count for _, count in cumulative]
        yield HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=start_ns,
            time_unix_nano=now_ns,
            count=counts[-1],
            sum=sums.get(labels, 0.0),
            bucket_counts=[count - before for count, before in zip(counts, [0, *counts], strict=False)],
            explicit_bounds=[bound for bound, _ in cumulative[:-1]],
            # prometheus_client has no minimum and maximum: the fields stay unset.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )


def export_metrics(settings: TelemetrySettings, url: str, resource: Resource) -> Callable[[], None]:
    """Export metrics at each interval, and return a function that exports once more and ends it.

    Args:
        settings: headers and interval.
        url: where metrics go.
        resource: this process.
    """
    exporter = OTLPMetricExporter(
        endpoint=url, headers=settings.plain_headers or None, session=BoundedSession()
    )
    start_ns = time.time_ns()
    scope = InstrumentationScope("vigie", __version__)
    stopping = threading.Event()

    def export() -> None:
        metrics = list(convert_metrics(collect_own_metrics(), start_ns=start_ns, now_ns=time.time_ns()))
        exporter.export(MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")]))

    def run() -> None:
        while not stopping.wait(settings.metrics_interval_s):
            try:
                export()
            except Exception:  # noqa: BLE001 (logged)
                # A broken export must not end all later ones.
                _log.exception("metrics_not_exported")

    def stop() -> None:
        stopping.set()
        export()
        exporter.shutdown()

    threading.Thread(target=run, name="telemetry-metrics", daemon=True).start()
    return stop
