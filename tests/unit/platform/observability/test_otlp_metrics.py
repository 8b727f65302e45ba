import json
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import Gauge as OtlpGauge
from opentelemetry.sdk.metrics.export import Histogram as OtlpHistogram
from opentelemetry.sdk.metrics.export import Metric, Sum
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.platform.observability.otlp_metrics import collect_own_metrics, convert_metrics


@pytest.fixture
def converted() -> dict[str, Metric]:
    registry = CollectorRegistry()
    Counter("vigie_stored", "Samples", ["door"], registry=registry).labels("mqtt").inc(7)
    Gauge("vigie_open", "Streams", registry=registry).set(2.5)
    times = Histogram("vigie_seconds", "Times", ["step"], buckets=(0.1, 1.0), registry=registry)
    for value in (0.05, 0.5, 0.6, 3.0):
        times.labels("store").observe(value)
    return {each.name: each for each in convert_metrics(registry.collect(), start_ns=1, now_ns=2)}


def test_a_counter_is_a_monotonic_sum_under_its_name_in_prometheus(converted: dict[str, Metric]) -> None:
    data = converted["vigie_stored_total"].data
    assert isinstance(data, Sum)
    assert data.is_monotonic
    (point,) = data.data_points
    assert (point.value, point.attributes) == (7, {"door": "mqtt"})
    assert (point.start_time_unix_nano, point.time_unix_nano) == (1, 2)


def test_a_gauge_stays_one(converted: dict[str, Metric]) -> None:
    data = converted["vigie_open"].data
    assert isinstance(data, OtlpGauge)
    assert [point.value for point in data.data_points] == [2.5]


def test_a_histogram_has_the_counts_of_each_bucket(converted: dict[str, Metric]) -> None:
    data = converted["vigie_seconds"].data
    assert isinstance(data, OtlpHistogram)
    (point,) = data.data_points
    assert point.attributes == {"step": "store"}
    assert list(point.explicit_bounds) == [0.1, 1.0]
    assert list(point.bucket_counts) == [1, 2, 1]
    assert point.count == 4
    assert point.sum == pytest.approx(4.15)


def test_only_own_metrics_are_exported(tmp_path: Path) -> None:
    names = [family.name for family in collect_own_metrics()]
    assert names
    assert all(name.startswith("vigie_") for name in names), json.dumps(names)
    assert list(tmp_path.iterdir()) == []
