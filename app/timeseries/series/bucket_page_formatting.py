"""Turns roll-ups of time buckets into the requested aggregates (such as avg, p95), and formats a page. Pure.

It fills gaps too.

Points are msgspec structs: Pydantic models of ten thousand points would cost more than all other work.
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
from app.platform.kernel.array_types import FloatArray, IntArray
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import US_PER_S, from_datetime, to_datetime
from app.platform.kernel.rejection_codes import format_rejected_value
from app.timeseries.rollups.rollup_merging import (
    RollupColumns,
    floor_to_buckets,
    list_bucket_starts,
    round_to_stored_precision,
)
from app.timeseries.series.series_parameters import BucketWidth

type Fill = Literal["none", "null", "previous", "linear"]

DEFAULT_AGGREGATES: Final = ("avg", "min", "max", "count", "coverage")
"""The aggregates of each bucket if `aggregates` is not given."""
QUANTILE_OF: Final[Mapping[str, str]] = {
    "p10": "p10",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    # L10, the level exceeded a tenth of the time, is the quantile 0.9.
    "l10": "p90",
    "l50": "p50",
    "l90": "p10",
}
AGGREGATES: Final = (*DEFAULT_AGGREGATES, *QUANTILE_OF)
LEVEL_AGGREGATES: Final = frozenset({"l10", "l50", "l90"})
"""Aggregates of sound levels only."""


def parse_aggregates(text: str | None, metric: Metric) -> tuple[str, ...]:
    """Parse a list such as `avg,p95` for a metric (InvalidError `invalid_aggregate`)."""
    names = parse_aggregate_names(text)
    for name in names:
        if name in LEVEL_AGGREGATES and metric.kind != "level":
            raise InvalidError(
                f"{name} is for sound levels; {metric.name} has {QUANTILE_OF[name]}.",
                code="invalid_aggregate",
            )
    return names


def parse_aggregate_names(text: str | None) -> tuple[str, ...]:
    """Parse a list such as `avg,p95` for any metric (InvalidError `invalid_aggregate`)."""
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
    """Return the quantiles that these aggregates need."""
    return tuple(dict.fromkeys(QUANTILE_OF[name] for name in names if name in QUANTILE_OF))


@dataclass(frozen=True, slots=True, eq=False)
class BucketPage:
    """A page of formatted buckets.

    Attributes:
        points: one struct each, with `time` and the requested aggregates.
        following: start of the bucket after them (µs since the epoch); None on the last page.
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
    whole: tuple[datetime, datetime],
    start: datetime,
    fill: Fill,
) -> BucketPage:
    """Format buckets as points, from a start on, up to the limit.

    Args:
        found: aggregates, ascending.
        metric: of the catalogue.
        bucket: width of the buckets.
        zone: time zone of buckets of days and weeks.
        interval_s: sampling interval of the box (s).
        names: the requested aggregates.
        limit: the highest number of points.
        whole: the range in which gaps are filled.
        start: of the page; buckets before it are only used to fill gaps.
        fill: content of a bucket without values: no point, null, the values of the bucket before, or values
            interpolated between its neighbours.
    """
    if fill != "none":
        found = fill_gaps(found, list_bucket_starts(*whole, bucket, zone), fill)
    (first_us,) = floor_to_buckets(np.array([from_datetime(start)]), bucket, zone)
    found = found.only(found.times >= first_us)
    following = int(found.times[limit]) if len(found) > limit else None
    found = found.only(slice(limit))
    columns = compute_aggregates(found, metric, bucket, zone, interval_s)
    point = _point(tuple(names))
    return BucketPage(
        list(map(point, format_rfc3339(found.times), *(columns[name] for name in names))), following
    )


@cache
def _point(names: tuple[str, ...]) -> Callable[..., msgspec.Struct]:
    """Return the type of a point. Creating ten thousand structs takes as long as two thousand dicts."""
    return msgspec.defstruct("Point", ["time", *names], gc=False)


def fill_gaps(found: RollupColumns, times: IntArray, fill: Fill) -> RollupColumns:
    """Return a bucket for each of the times; those without a value have a count of zero."""
    places = np.searchsorted(times, found.times)
    counts = np.zeros(len(times), np.int64)
    counts[places] = found.counts

    def spread(values: FloatArray) -> FloatArray:
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
    """Compute each aggregate as a list, with null for missing values.

    Args:
        found: aggregates of buckets, ascending.
        metric: of the catalogue.
        bucket: width of the buckets.
        zone: time zone of buckets of days and weeks.
        interval_s: sampling interval of the box (s).
    """
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


def _nullable(values: FloatArray) -> list[float | None]:
    listed: list[float] = values.tolist()
    return [None if isnan(value) else value for value in listed] if np.isnan(values).any() else [*listed]


def compute_bucket_widths(times: IntArray, bucket: BucketWidth, zone: ZoneInfo) -> NDArray[np.float64]:
    """Return the length of the buckets with these starts in seconds: local days have 23 to 25 hours."""
    if not bucket.local:
        return np.full(len(times), float(bucket.seconds))
    ends = [from_datetime(bucket.end_of(to_datetime(time_us), zone)) for time_us in times.tolist()]
    return (np.array(ends, np.int64) - times) / US_PER_S


def format_rfc3339(times: IntArray) -> list[str]:
    """Format instants (µs since the epoch) as RFC 3339 in UTC, with microseconds if any has a fraction."""
    unit: Literal["s", "us"] = "us" if (times % US_PER_S).any() else "s"
    texts: list[str] = np.datetime_as_string(times.astype("datetime64[us]"), unit, "UTC").tolist()
    return texts
