"""Merges aggregates of hours or days into wider buckets, and finds where buckets begin. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final, Protocol, Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from app.catalogue.metrics import Metric
from app.platform.kernel.array_types import FloatArray, IntArray
from app.platform.kernel.instants import US_PER_S, from_datetime, to_datetime
from app.timeseries.series.series_parameters import BucketWidth

# The origin of TimescaleDB's time_bucket: a Monday.
_ORIGIN: Final = datetime(2000, 1, 3, tzinfo=UTC)
_ORIGIN_US: Final = from_datetime(_ORIGIN)
# In days since the origin.
_LAST_DAY: Final = (date.max - _ORIGIN.date()).days
_DAY_S: Final = 86_400
# The six significant digits that a four-byte float preserves, and one more.
_DIGITS: Final = 7


@dataclass(frozen=True, slots=True, eq=False)
class RollupColumns:
    """Aggregates in columns, one entry per bucket.

    Attributes:
        times: start of each bucket (µs since the epoch).
        counts: number of values; at least one, unless the bucket fills a gap.
        means: for levels those of the energy (dB).
        lows, highs: the lowest and highest values.
        quantiles: by name (`p10` …); empty if they were not requested.
    """

    times: IntArray
    counts: IntArray
    means: FloatArray
    lows: FloatArray
    highs: FloatArray
    quantiles: Mapping[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of buckets."""
        return len(self.times)

    def only(self, chosen: NDArray[np.bool_] | slice) -> "RollupColumns":
        """Select buckets."""
        return RollupColumns(
            self.times[chosen],
            self.counts[chosen],
            self.means[chosen],
            self.lows[chosen],
            self.highs[chosen],
            {name: values[chosen] for name, values in self.quantiles.items()},
        )

    def begun(self, times: IntArray) -> "RollupColumns":
        """Return the same aggregates with other start times."""
        return RollupColumns(times, self.counts, self.means, self.lows, self.highs, self.quantiles)


def make_empty_columns(quantiles: Sequence[str] = ()) -> RollupColumns:
    """Return columns without buckets."""
    none = np.empty(0, np.float64)
    whole = np.empty(0, np.int64)
    return RollupColumns(whole, whole, none, none, none, dict.fromkeys(quantiles, none))


class TimedSummaries(Protocol):
    """Aggregates in columns, at most one for each time."""

    @property
    def times(self) -> IntArray:
        """Their starts."""
        ...

    @property
    def counts(self) -> IntArray:
        """Their numbers of values."""
        ...

    def only(self, chosen: NDArray[np.bool_], /) -> Self:
        """Select aggregates."""
        ...


def choose_larger[S: TimedSummaries](stored: S, sampled: S) -> list[S]:
    """Select, where both have an aggregate, that of more values: of as many that of samples.

    So does the writer of roll-ups. Those with more values than there are samples outlive removed samples.

    Args:
        stored: roll-ups of hours or days.
        sampled: aggregates of the samples of some of these hours or days.

    Returns:
        The selected ones of both.
    """
    _, ours, theirs = np.intersect1d(stored.times, sampled.times, assume_unique=True, return_indices=True)
    fewer = sampled.counts[theirs] < stored.counts[ours]
    current, best = np.ones(len(stored.times), np.bool_), np.ones(len(sampled.times), np.bool_)
    current[ours[~fewer]] = False
    best[theirs[fewer]] = False
    return [stored.only(current), sampled.only(best)]


def merge_columns(parts: Sequence[RollupColumns], *, level: bool) -> RollupColumns:
    """Merge aggregates that begin at the same time, in ascending order.

    Args:
        parts: in any order; no value is in two of them.
        level: their means are of energy: 10·log10(Σ n·10^(L/10) / Σ n).

    Returns:
        One aggregate per time. A quantile is NaN if it would have to be merged: quantiles cannot be combined.
    """
    together = _concatenated(parts)
    if not len(together):
        return together
    order = np.argsort(together.times, kind="stable")
    times = together.times[order]
    starts = np.concatenate([[0], np.flatnonzero(times[1:] != times[:-1]) + 1])
    if len(starts) == len(times):
        return together if (order[1:] > order[:-1]).all() else _picked(together, order)
    counts = together.counts[order]
    totals = np.add.reduceat(counts, starts)
    means = together.means[order]
    weighed = counts * (10.0 ** (means / 10.0) if level else means)
    mean = np.add.reduceat(weighed, starts) / totals
    mean = 10.0 * np.log10(mean) if level else mean
    alone = np.diff(starts, append=len(times)) == 1
    return RollupColumns(
        times[starts],
        totals,
        np.where(alone, means[starts], mean),
        np.minimum.reduceat(together.lows[order], starts),
        np.maximum.reduceat(together.highs[order], starts),
        {name: np.where(alone, values[order][starts], np.nan) for name, values in together.quantiles.items()},
    )


def _concatenated(parts: Sequence[RollupColumns]) -> RollupColumns:
    if len(parts) == 1:
        return parts[0]
    return RollupColumns(
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.means for part in parts]),
        np.concatenate([part.lows for part in parts]),
        np.concatenate([part.highs for part in parts]),
        {name: np.concatenate([part.quantiles[name] for part in parts]) for name in parts[0].quantiles},
    )


def _picked(columns: RollupColumns, order: NDArray[np.intp]) -> RollupColumns:
    return RollupColumns(
        columns.times[order],
        columns.counts[order],
        columns.means[order],
        columns.lows[order],
        columns.highs[order],
        {name: values[order] for name, values in columns.quantiles.items()},
    )


def floor_to_buckets(times: IntArray, bucket: BucketWidth, zone: ZoneInfo) -> IntArray:
    """Return the start of the bucket of each instant (µs since the epoch), as `time_bucket` does."""
    if not bucket.local:
        width = bucket.seconds * US_PER_S
        begun: IntArray = _ORIGIN_US + (times - _ORIGIN_US) // width * width
        return begun
    days = bucket.seconds // _DAY_S
    # Cached by bucket, because many instants lie in few days.
    known: dict[int, int] = {}
    found = np.empty(len(times), np.int64)
    for place, time_us in enumerate(times.tolist()):
        number = (to_datetime(time_us).astimezone(zone).date() - _ORIGIN.date()).days // days
        if number not in known:
            known[number] = from_datetime(_midnight(number * days, zone))
        found[place] = known[number]
    return found


def find_local_days(first: datetime, last: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """Return start and end of the days of a time zone that overlap `first` to `last` (exclusive).

    If a midnight occurs twice, because clocks go back, the first one counts; PostgreSQL takes the second.
    """
    numbers = [
        (moment.astimezone(zone).date() - _ORIGIN.date()).days
        for moment in (first, last - timedelta(microseconds=1))
    ]
    midnights = [_midnight(number, zone) for number in range(numbers[0], numbers[1] + 2)]
    return list(pairwise(midnights))


def _midnight(days: int, zone: ZoneInfo) -> datetime:
    """Return the local midnight so many days after the origin's, in UTC."""
    date = _ORIGIN.date() + timedelta(days=days)
    return datetime(date.year, date.month, date.day, tzinfo=zone).astimezone(UTC)


def list_bucket_starts(first: datetime, last: datetime, bucket: BucketWidth, zone: ZoneInfo) -> IntArray:
    """Return the starts of all buckets that overlap a range (µs since the epoch).

    Args:
        first: start of the range, inclusive.
        last: end of the range, exclusive.
        bucket: width of the buckets.
        zone: time zone of buckets of days and weeks.
    """
    start = int(floor_to_buckets(np.array([from_datetime(first)]), bucket, zone)[0])
    if not bucket.local:
        return np.arange(start, from_datetime(last), bucket.seconds * US_PER_S, dtype=np.int64)
    days = bucket.seconds // _DAY_S
    number = (to_datetime(start).astimezone(zone).date() - _ORIGIN.date()).days
    found = []
    while number <= _LAST_DAY and (midnight := _midnight(number, zone)) < last:
        found.append(from_datetime(midnight))
        number += days
    return np.array(found, np.int64)


def round_to_stored_precision(
    metric: Metric, values: FloatArray, like: FloatArray, counts: IntArray
) -> FloatArray:
    """Round means to the digits that a four-byte float preserves.

    Args:
        metric: says how values are stored.
        values: means.
        like: a stored value of each bucket: a mean of one value equals that value.
        counts: number of values of each mean.

    Returns:
        Seven significant digits, if the metric is stored in four bytes.
    """
    if metric.storage != "real":
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        places = _DIGITS - 1 - np.floor(np.log10(np.abs(values)))
        up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
        rounded = np.rint(values * up / down) / up * down
    return np.where(counts == 1, like, np.where(np.isfinite(rounded), rounded, values))
