"""Summaries of samples by bucket, made of columns: the same that SQL makes where none is left out. Pure."""

from collections.abc import Sequence

import numpy as np

from app.timeseries.rollups.rollup_columns import Floats, Ints, RollupColumns, make_empty_columns
from app.timeseries.rollups.rollup_queries import QUANTILES


def summarise_by_bucket(
    times: Ints, values: Floats, edges: Ints, quantiles: Sequence[str], *, level: bool
) -> RollupColumns:
    """Summarise samples by bucket.

    Args:
        times: ascending (µs since the epoch), none before the first edge.
        values: none of them NaN.
        edges: when each bucket begins; the last one takes all that comes after.
        quantiles: by name; interpolated between neighbours.
        level: values are decibels: the mean is that of the energy, 10·log10(mean(10^(L/10))).

    Returns:
        A summary of each bucket that has a value. Extremes are as they came.
    """
    if not len(times):
        return make_empty_columns(quantiles)
    buckets = np.searchsorted(edges, times, side="right") - 1
    starts = np.concatenate([[0], np.flatnonzero(buckets[1:] != buckets[:-1]) + 1])
    counts = np.diff(starts, append=len(times)).astype(np.int64)
    totals = np.add.reduceat(10.0 ** (values / 10.0) if level else values, starts)
    means = totals / counts
    return RollupColumns(
        edges[buckets[starts]],
        counts,
        10.0 * np.log10(means) if level else means,
        np.minimum.reduceat(values, starts),
        np.maximum.reduceat(values, starts),
        _quantiles(buckets, values, starts, counts, quantiles),
    )


def _quantiles(
    buckets: Ints, values: Floats, starts: Ints, counts: Ints, names: Sequence[str]
) -> dict[str, Floats]:
    if not names:
        return {}
    ascending = values[np.lexsort((values, buckets))]
    found = {}
    for name in names:
        place = QUANTILES[name] * (counts - 1)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, counts - 1)
        low, high = ascending[starts + below], ascending[starts + above]
        found[name] = low + (place - below) * (high - low)
    return found
