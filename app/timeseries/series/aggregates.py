"""What can be asked of a bucket of readings, and how a series of buckets is written. Pure.

Owns the names of aggregates, filling of gaps, and the JSON of a page: of ten thousand points a model each
would cost more than all the rest. No database, no clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import isnan
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.catalogue.metrics import Metric
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import US_PER_S, from_datetime, to_datetime
from app.platform.kernel.rejection_codes import format_rejected_value
from app.timeseries.rollups.rollup_columns import (
    Floats,
    Ints,
    RollupColumns,
    list_bucket_starts,
    round_to_stored_precision,
)
from app.timeseries.series.series_arithmetic import BucketWidth

type Fill = Literal["none", "null", "previous", "linear"]

DEFAULT_AGGREGATES: Final = ("avg", "min", "max", "count", "coverage")
"""What each bucket has, where nothing else is asked for."""
QUANTILE_OF: Final[Mapping[str, str]] = {
    "p10": "p10",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    # A level that is exceeded a tenth of the time is the quantile 0.9.
    "l10": "p90",
    "l50": "p50",
    "l90": "p10",
}
AGGREGATES: Final = (*DEFAULT_AGGREGATES, *QUANTILE_OF)
LEVEL_AGGREGATES: Final = frozenset({"l10", "l50", "l90"})
"""Aggregates that sound levels alone have."""


def parse_aggregates(text: str | None, metric: Metric) -> tuple[str, ...]:
    """Read a list such as `avg,p95` (InvalidError `invalid_aggregate`)."""
    names = parse_aggregate_names(text)
    for name in names:
        if name in LEVEL_AGGREGATES and metric.kind != "level":
            raise InvalidError(
                f"{name} is for sound levels; {metric.name} has {QUANTILE_OF[name]}.",
                code="invalid_aggregate",
            )
    return names


def parse_aggregate_names(text: str | None) -> tuple[str, ...]:
    """The same of any metric (InvalidError `invalid_aggregate`)."""
    if text is None:
        return DEFAULT_AGGREGATES
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in AGGREGATES:
            raise InvalidError(
                f"The aggregate {format_rejected_value(name)} is not one of {', '.join(AGGREGATES)}.",
                code="invalid_aggregate",
            )
    return names


def find_required_quantiles(names: Sequence[str]) -> tuple[str, ...]:
    """Which quantiles are needed for these aggregates."""
    return tuple(dict.fromkeys(QUANTILE_OF[name] for name in names if name in QUANTILE_OF))


@dataclass(frozen=True, slots=True, eq=False)
class BucketPage:
    """Buckets as they are shown.

    Attributes:
        points: one object each, with `time` and what was asked for.
        following: when the first bucket after them begins (µs since the epoch); None where there is none.
    """

    points: list[msgspec.Struct]
    following: int | None


def format_bucket_page(
    found: RollupColumns,
    *,
    metric: Metric,
    bucket: BucketWidth,
    zone: ZoneInfo,
    interval_s: int,
    names: Sequence[str],
    limit: int,
    whole: tuple[datetime, datetime] | None = None,
    fill: Fill = "none",
) -> BucketPage:
    """Write buckets as points, as many as fit.

    Args:
        found: summaries, ascending.
        metric: of the catalogue.
        bucket: how wide each is.
        zone: whose midnights the buckets keep to.
        interval_s: how often the box samples.
        names: the aggregates.
        limit: the most points.
        whole: the range in which gaps are filled; needed with `fill`.
        fill: what stands in a bucket without a value: nothing at all, null, the values of the bucket
            before it, or values between those of its neighbours.
    """
    if fill != "none" and whole is not None:
        found = fill_gaps(found, list_bucket_starts(*whole, bucket, zone), fill)
    following = int(found.times[limit]) if len(found) > limit else None
    found = found.only(slice(limit))
    columns = compute_aggregates(found, metric, bucket, zone, interval_s)
    point = _point(tuple(names))
    return BucketPage(
        list(map(point, format_rfc3339(found.times), *(columns[name] for name in names))), following
    )


@cache
def _point(names: tuple[str, ...]) -> Callable[..., msgspec.Struct]:
    """What a point is written from: ten thousand of these are made in the time of two thousand dicts."""
    return msgspec.defstruct("Point", ["time", *names], gc=False)


def fill_gaps(found: RollupColumns, times: Ints, fill: Fill) -> RollupColumns:
    """Put a bucket at each of the times; those without a value have a count of nought."""
    places = np.searchsorted(times, found.times)
    counts = np.zeros(len(times), np.int64)
    counts[places] = found.counts

    def spread(values: Floats) -> Floats:
        whole = np.full(len(times), np.nan)
        whole[places] = values
        if fill == "previous":
            last = np.maximum.accumulate(np.where(counts > 0, np.arange(len(times)), -1))
            return np.where(last >= 0, whole[last], np.nan)
        if fill == "linear" and len(values):
            return np.interp(times, found.times, values, left=np.nan, right=np.nan)
        return whole

    return RollupColumns(
        times,
        counts,
        spread(found.means),
        spread(found.lows),
        spread(found.highs),
        {name: spread(values) for name, values in found.quantiles.items()},
    )


def compute_aggregates(
    found: RollupColumns, metric: Metric, bucket: BucketWidth, zone: ZoneInfo, interval_s: int
) -> dict[str, list[Any]]:
    """Each aggregate as a list, null where there is none."""
    means = round_to_stored_precision(metric, found.means, found.lows, found.counts)
    quantiles = {
        name: _nullable(round_to_stored_precision(metric, values, found.lows, found.counts))
        for name, values in found.quantiles.items()
    }
    expected = compute_bucket_widths(found.times, bucket, zone) / interval_s
    covered = np.minimum(100.0, np.round(100.0 * found.counts / expected, 2))
    return {
        "avg": _nullable(means),
        "min": _nullable(found.lows),
        "max": _nullable(found.highs),
        "count": found.counts.tolist(),
        "coverage": covered.tolist(),
        **{name: quantiles[of] for name, of in QUANTILE_OF.items() if of in quantiles},
    }


def _nullable(values: Floats) -> list[float | None]:
    listed: list[float] = values.tolist()
    return [None if isnan(value) else value for value in listed] if np.isnan(values).any() else [*listed]


def compute_bucket_widths(times: Ints, bucket: BucketWidth, zone: ZoneInfo) -> NDArray[np.float64]:
    """How long the buckets are that begin at these times, in seconds: local days have 23 to 25 hours."""
    if not bucket.local:
        return np.full(len(times), float(bucket.seconds))
    ends = [from_datetime(bucket.end_of(to_datetime(time_us), zone)) for time_us in times.tolist()]
    return (np.array(ends, np.int64) - times) / US_PER_S


def format_rfc3339(times: Ints) -> list[str]:
    """Instants (µs since the epoch) as RFC 3339 in UTC; six decimals of a second where any needs them."""
    unit: Literal["s", "us"] = "us" if (times % US_PER_S).any() else "s"
    texts: list[str] = np.datetime_as_string(times.astype("datetime64[us]"), unit, "UTC").tolist()
    return texts
