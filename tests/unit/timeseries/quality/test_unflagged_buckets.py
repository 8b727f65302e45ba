"""Summaries that are made of columns, against pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.timeseries.quality.annotated_readings import summarise_by_bucket

QUANTILES = ("p10", "p50", "p90", "p95")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.floats(-50, 120)), max_size=40, unique_by=lambda each: each[0]),
    st.booleans(),
)
def test_they_are_those_of_pandas(samples: list[tuple[int, float]], level: bool) -> None:  # noqa: FBT001 (drawn)
    samples.sort()
    times = np.array([time for time, _ in samples], np.int64)
    values = np.array([value for _, value in samples], np.float64)
    edges = np.array([0, 10, 25, 60], np.int64)
    found = summarise_by_bucket(times, values, edges, QUANTILES, level=level)
    buckets = [max(edge for edge in edges.tolist() if edge <= time) for time, _ in samples]
    frame = pd.DataFrame({"bucket": np.array(buckets, np.int64), "value": values})
    groups = frame.groupby("bucket")["value"]
    assert found.times.tolist() == sorted(set(buckets))
    assert found.counts.tolist() == groups.count().tolist()
    mean = 10 * np.log10(groups.apply(lambda each: np.mean(10 ** (each / 10)))) if level else groups.mean()
    assert found.means.tolist() == pytest.approx(mean.tolist(), abs=1e-9)
    assert found.lows.tolist() == groups.min().tolist()
    assert found.highs.tolist() == groups.max().tolist()
    for name in QUANTILES:
        expected = groups.quantile(int(name[1:]) / 100).tolist()
        assert found.quantiles[name].tolist() == pytest.approx(expected, abs=1e-9)
