"""Defines the input series of environmental indices (hours, samples, sound levels) and their means. Pure.

Constructors check invariants (ValueError). Times are int64 µs since the epoch, ascending. Values are float64
in the metric's unit of the catalogue, NaN for missing ones. Coverages are percent.

A running mean of eight hours belongs to the day on which it ends: the first one of a day covers 17:00 of the
evening before to 1:00 (Directive 2008/50/EC, Annex VII and XI; from 12 December 2026 Directive (EU)
2024/2881, Annex I). It needs six valid hours, and a day needs 75 % of its running means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.environmental_indices.index_results import NoValueReason
from app.environmental_indices.period_selection import TimePeriod, local_day
from app.platform.kernel.array_types import BoolArray, FloatArray, IntArray
from app.platform.kernel.instants import HOUR_US, US_PER_S

HOUR_COVERAGE: Final = 75.0
"""The coverage that an hourly mean needs, percent: 45 minutes.

Directive 2008/50/EC, Annex VII and XI. Directive (EU) 2024/2881 replaces it from 12 December 2026; we assume
the same share and did not read its text on it.
"""


@dataclass(frozen=True, slots=True, eq=False)
class HourlySeries:
    """Hourly means.

    Attributes:
        times: the starts of the hours (whole hours of UTC), shape (n,).
        values: the means, shape (n,).
        coverage: the measured share of each hour, percent, shape (n,).
    """

    times: IntArray
    values: FloatArray
    coverage: FloatArray

    def __post_init__(self) -> None:
        _check_times(self.times, self.values, self.coverage)
        if len(self.times) and (self.times % HOUR_US).any():
            raise ValueError("hourly means begin at whole hours of UTC")
        _check_percent(self.coverage)

    @classmethod
    def of(cls, times: ArrayLike, values: ArrayLike, coverage: ArrayLike = 100.0) -> "HourlySeries":
        """Make a series from array-likes; one coverage may apply to all hours."""
        begins = np.asarray(times, dtype=np.int64)
        covered = np.broadcast_to(np.asarray(coverage, dtype=np.float64), begins.shape)
        return cls(begins, np.asarray(values, dtype=np.float64), covered)

    @property
    def valid(self) -> BoolArray:
        """A mask of the hours with a value and sufficient coverage, shape (n,)."""
        return np.isfinite(self.values) & (self.coverage >= HOUR_COVERAGE)

    def within(self, period: TimePeriod) -> "HourlySeries":
        """Return the hours that begin in a period."""
        low, high = np.searchsorted(self.times, [period.start_us, period.end_us])
        return HourlySeries(self.times[low:high], self.values[low:high], self.coverage[low:high])

    def at(self, start_us: int) -> tuple[float, float] | None:
        """Return mean and coverage of the hour that begins at an instant; None if the series lacks it."""
        index = int(np.searchsorted(self.times, start_us))
        if index == len(self.times) or self.times[index] != start_us:
            return None
        return float(self.values[index]), float(self.coverage[index])

    def begun(self, period: TimePeriod) -> int:
        """Count the hours that begin in a period, valid or not."""
        low, high = self.times.searchsorted((period.start_us, period.end_us))
        return max(0, int(high - low))

    def on(self, hours: range) -> FloatArray:
        """Return the valid means of the given hours, NaN for missing ones, shape (len(hours),)."""
        grid = np.full(len(hours), np.nan)
        if hours:
            low, high = self.times.searchsorted((hours[0], hours[-1] + HOUR_US))
            values = self.values[low:high]
            valid = np.isfinite(values) & (self.coverage[low:high] >= HOUR_COVERAGE)
            grid[(self.times[low:high][valid] - hours[0]) // HOUR_US] = values[valid]
        return grid


class PeriodMean(NamedTuple):
    """A mean of hourly means, with its coverage.

    Attributes:
        value: the mean; None with a `reason`.
        coverage: the share of valid hours in the period, percent.
        reason: why there is no mean.
    """

    value: float | None
    coverage: float
    reason: NoValueReason | None


def compute_percent(part: float, whole: float) -> float:
    """Compute a share in percent, 0 to 100, with two decimals."""
    return min(100.0, max(0.0, round(100.0 * part / whole, 2))) if whole > 0 else 0.0


def compute_period_mean(
    hourly: HourlySeries | None, period: TimePeriod, least: float, *, highest: bool = False
) -> PeriodMean:
    """Compute the mean (or the highest) of a period's valid hours, with equal weights.

    Args:
        hourly: the hourly means; None if the metric is not measured.
        period: the period; the hours that begin in it count (23 or 25 on days on which clocks change).
        least: the share of hours that must be valid, percent.
        highest: returns the highest hourly mean instead of the mean.
    """
    if hourly is None:
        return PeriodMean(None, 0.0, "metric_missing")
    hours = period.hours()
    found = hourly.on(hours)
    found = found[np.isfinite(found)]
    covered = compute_percent(len(found), len(hours))
    reason = find_no_value_reason(hourly.begun(period), covered, least)
    if reason is not None:
        return PeriodMean(None, covered, reason)
    return PeriodMean(float(found.max() if highest else found.mean()), covered, None)


def find_no_value_reason(count: int, covered: float, least: float) -> NoValueReason | None:
    """Return why there is no value (no data, or too low coverage); None if there is one."""
    if count == 0:
        return "no_data"
    return "coverage_too_low" if covered < least else None


@dataclass(frozen=True, slots=True, eq=False)
class SampleSeries:
    """Samples at a box's own interval; each represents the interval that begins at its time.

    Attributes:
        times: the times of the samples, shape (n,).
        values: their values, shape (n,).
        interval_s: the longest interval of a sample, s; it is shorter if the next sample is earlier.
    """

    times: IntArray
    values: FloatArray
    interval_s: float

    def __post_init__(self) -> None:
        _check_times(self.times, self.values)
        if not self.interval_s > 0:
            raise ValueError("an interval is longer than nothing")

    @classmethod
    def of(cls, times: ArrayLike, values: ArrayLike, interval_s: float) -> "SampleSeries":
        """Make samples from array-likes, without those that have no value."""
        begins, found = np.asarray(times, dtype=np.int64), np.asarray(values, dtype=np.float64)
        finite = np.isfinite(found)
        return cls(begins[finite], found[finite], interval_s)

    @property
    def ends(self) -> IntArray:
        """The end of each sample's interval, shape (n,)."""
        ends = self.times + round(self.interval_s * US_PER_S)
        ends[:-1] = np.minimum(ends[:-1], self.times[1:])
        return ends


@dataclass(frozen=True, slots=True, eq=False)
class SoundLevels:
    """Sound levels, each the energy mean of an interval.

    Attributes:
        starts: the starts of the intervals, shape (n,).
        ends: their ends, shape (n,); intervals do not overlap.
        values: the levels, dB, shape (n,).
        seconds: the measured time of each interval, s, shape (n,): the weight of the level.
    """

    starts: IntArray
    ends: IntArray
    values: FloatArray
    seconds: FloatArray

    def __post_init__(self) -> None:
        _check_times(self.starts, self.ends, self.values, self.seconds)
        if (self.ends <= self.starts).any() or (self.ends[:-1] > self.starts[1:]).any():
            raise ValueError("intervals are longer than nothing and do not overlap")
        if not np.isfinite(self.values).all():
            raise ValueError("a level is a number: leave out what was not measured")
        whole = (self.ends - self.starts) / US_PER_S
        if (self.seconds < 0).any() or (self.seconds > whole * (1 + 1e-9)).any():
            raise ValueError("what was measured of an interval is no more than all of it")

    @classmethod
    def of_samples(cls, times: ArrayLike, values: ArrayLike, interval_s: float) -> "SoundLevels":
        """Make levels from samples, such as LAeq of one minute; each begins at its time."""
        samples = SampleSeries.of(times, values, interval_s)
        ends = samples.ends
        return cls(samples.times, ends, samples.values, (ends - samples.times) / US_PER_S)

    @classmethod
    def of_hours(
        cls, times: ArrayLike, values: ArrayLike, counts: ArrayLike, interval_s: float
    ) -> "SoundLevels":
        """Make levels from energy means of hours, with the number of samples in each."""
        begins, found = np.asarray(times, dtype=np.int64), np.asarray(values, dtype=np.float64)
        seconds = np.minimum(np.asarray(counts, dtype=np.float64) * interval_s, HOUR_US / US_PER_S)
        measured = np.isfinite(found) & (seconds > 0)
        return cls(begins[measured], begins[measured] + HOUR_US, found[measured], seconds[measured])

    def weights(self, period: TimePeriod) -> tuple[slice, FloatArray]:
        """Compute the measured time of each interval within a period.

        Returns:
            The intervals that overlap the period, and the measured seconds of each within it.
        """
        low = int(np.searchsorted(self.ends, period.start_us, side="right"))
        high = max(low, int(np.searchsorted(self.starts, period.end_us, side="left")))
        part = slice(low, high)
        starts, ends = self.starts[part], self.ends[part]
        inside = np.minimum(ends, period.end_us) - np.maximum(starts, period.start_us)
        return part, self.seconds[part] * (inside / (ends - starts))


def _check_times(times: IntArray, *columns: NDArray[np.generic]) -> None:
    if times.ndim != 1 or any(column.shape != times.shape for column in columns):
        raise ValueError("the columns of a series have one dimension and the same length")
    if len(times) > 1 and not (np.diff(times) > 0).all():
        raise ValueError("times ascend, and none occurs twice")


def _check_percent(coverage: FloatArray) -> None:
    if len(coverage) and not ((coverage >= 0) & (coverage <= 100)).all():  # noqa: PLR2004 (percent)
        raise ValueError("a coverage is 0 to 100 percent")


RUN_HOURS: Final = 8
RUN_LEAST: Final = 6
DAY_COVERAGE: Final = 75.0


def daily_means(hourly: HourlySeries, days: Sequence[date], zone: ZoneInfo) -> list[PeriodMean]:
    """Compute the mean of each day, from at least 75 % of its hours."""
    return [compute_period_mean(hourly, local_day(day, zone), DAY_COVERAGE) for day in days]


def daily_highest_runs(hourly: HourlySeries, days: Sequence[date], zone: ZoneInfo) -> list[PeriodMean]:
    """Compute the highest eight-hour running mean of each day."""
    return [_highest_run(hourly, local_day(day, zone)) for day in days]


def running_means(found: FloatArray) -> FloatArray:
    """Compute the mean of each eight consecutive hours, NaN if fewer than six have a value.

    Args:
        found: hourly means, NaN for missing ones, shape (n,).

    Returns:
        Shape (n - 7,); the first element is the mean of the first eight hours.
    """
    finite = np.isfinite(found)
    windows = np.lib.stride_tricks.sliding_window_view(np.where(finite, found, 0.0), RUN_HOURS)
    counts = np.lib.stride_tricks.sliding_window_view(finite, RUN_HOURS).sum(axis=1)
    means = np.full(len(counts), np.nan)
    enough = counts >= RUN_LEAST
    means[enough] = windows[enough].sum(axis=1) / counts[enough]
    return means


def _highest_run(hourly: HourlySeries, day: TimePeriod) -> PeriodMean:
    hours = day.hours()
    if not hours:
        # A time zone can skip a date: Samoa had no 30 December 2011.
        return PeriodMean(None, 0.0, "no_data")
    found = hourly.on(range(hours[0] - (RUN_HOURS - 1) * HOUR_US, hours[-1] + HOUR_US, HOUR_US))
    runs = running_means(found)
    valid = runs[np.isfinite(runs)]
    covered = compute_percent(len(valid), len(runs))
    reason = find_no_value_reason(hourly.begun(day), covered, DAY_COVERAGE)
    return PeriodMean(float(valid.max()) if reason is None else None, covered, reason)
