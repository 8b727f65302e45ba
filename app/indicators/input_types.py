"""What computations read: hourly means, finer samples, and sound levels of intervals of any length.

Owns their shapes and what has to be true of them (ValueError), and the means that all methods share. Must not
know any method. Pure: no database, no HTTP, no clock.

Times are int64 µs since the epoch, ascending; values are float64 in the metric's unit of the catalogue, NaN
where there is none; coverages are percent.

Figures of many local days at once: means, and the highest running mean of eight hours. Pure.

A running mean of eight hours belongs to the day on which it ends: the first one of a day covers 17 h of the
evening before to 1 h (Directive 2008/50/EC, Annex VII and XI; from 12 December 2026 Directive (EU) 2024/2881,
Annex I). It needs six valid hours, and a day three
quarters of its running means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.indicators.index_results import NoValueReason
from app.indicators.period_selection import HOUR_US, TimePeriod, local_day
from app.platform.kernel.instants import US_PER_S

HOUR_COVERAGE: Final = 75.0
"""How much of an hour an hourly mean needs: 45 minutes.

Directive 2008/50/EC, Annex VII and XI. Directive (EU) 2024/2881 replaces it from 12 December 2026. That it
keeps this share is assumed: its text on it was not read.
"""

type ValueArray = NDArray[np.float64]
type TimeArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class HourlySeries:
    """Means of hours.

    Attributes:
        times: when each hour begins, shape (n,); hours of UTC.
        values: the means, shape (n,).
        coverage: how much of the hour was measured, shape (n,).
    """

    times: TimeArray
    values: ValueArray
    coverage: ValueArray

    def __post_init__(self) -> None:
        _check_times(self.times, self.values, self.coverage)
        if len(self.times) and (self.times % HOUR_US).any():
            raise ValueError("hourly means begin at whole hours of UTC")
        _check_percent(self.coverage)

    @classmethod
    def of(cls, times: ArrayLike, values: ArrayLike, coverage: ArrayLike = 100.0) -> "HourlySeries":
        """Make a series of what numpy takes for arrays; one coverage may stand for all."""
        begins = np.asarray(times, dtype=np.int64)
        covered = np.broadcast_to(np.asarray(coverage, dtype=np.float64), begins.shape)
        return cls(begins, np.asarray(values, dtype=np.float64), covered)

    @property
    def valid(self) -> BoolArray:
        """Which hours have a value that is covered well enough, shape (n,)."""
        return np.isfinite(self.values) & (self.coverage >= HOUR_COVERAGE)

    def within(self, period: TimePeriod) -> "HourlySeries":
        """The hours that begin in a period."""
        low, high = np.searchsorted(self.times, [period.start_us, period.end_us])
        return HourlySeries(self.times[low:high], self.values[low:high], self.coverage[low:high])

    def at(self, start_us: int) -> tuple[float, float] | None:
        """The mean and the coverage of the hour that begins at an instant; None: it is not in the series."""
        index = int(np.searchsorted(self.times, start_us))
        if index == len(self.times) or self.times[index] != start_us:
            return None
        return float(self.values[index]), float(self.coverage[index])

    def begun(self, period: TimePeriod) -> int:
        """How many hours begin in a period, valid or not."""
        low, high = self.times.searchsorted((period.start_us, period.end_us))
        return max(0, int(high - low))

    def on(self, hours: range) -> ValueArray:
        """The valid means of the hours that are asked for, NaN where there is none, shape (len(hours),)."""
        grid = np.full(len(hours), np.nan)
        if hours:
            low, high = self.times.searchsorted((hours[0], hours[-1] + HOUR_US))
            values = self.values[low:high]
            valid = np.isfinite(values) & (self.coverage[low:high] >= HOUR_COVERAGE)
            grid[(self.times[low:high][valid] - hours[0]) // HOUR_US] = values[valid]
        return grid


class PeriodMean(NamedTuple):
    """A mean of hourly means, how well it is covered, and why there is none.

    Attributes:
        value: None where there is none.
        coverage: valid hours in percent of those of the period.
        reason: why there is none.
    """

    value: float | None
    coverage: float
    reason: NoValueReason | None


def compute_percent(part: float, whole: float) -> float:
    """A part in percent of a whole, 0 to 100, to two decimals."""
    return min(100.0, max(0.0, round(100.0 * part / whole, 2))) if whole > 0 else 0.0


def compute_period_mean(
    hourly: HourlySeries | None, period: TimePeriod, least: float, *, highest: bool = False
) -> PeriodMean:
    """The mean (or the highest) of a period's valid hours, each weighing the same.

    Args:
        hourly: None: the metric is not measured.
        period: its hours are those that begin in it: 23 or 25 on the days on which clocks change.
        least: how many of them have to be valid, in percent.
        highest: the highest hourly mean in place of the mean.
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
    """Why there is no value: nothing at all, or too little."""
    if count == 0:
        return "no_data"
    return "coverage_too_low" if covered < least else None


@dataclass(frozen=True, slots=True, eq=False)
class SampleSeries:
    """Samples at a box's own interval; each stands for the interval that begins at its time.

    Attributes:
        times: shape (n,).
        values: shape (n,).
        interval_s: how long a sample stands at most; less where the next one comes sooner.
    """

    times: TimeArray
    values: ValueArray
    interval_s: float

    def __post_init__(self) -> None:
        _check_times(self.times, self.values)
        if not self.interval_s > 0:
            raise ValueError("an interval is longer than nothing")

    @classmethod
    def of(cls, times: ArrayLike, values: ArrayLike, interval_s: float) -> "SampleSeries":
        """Make samples of what numpy takes for arrays; those without a value are left out."""
        begins, found = np.asarray(times, dtype=np.int64), np.asarray(values, dtype=np.float64)
        there = np.isfinite(found)
        return cls(begins[there], found[there], interval_s)

    @property
    def ends(self) -> TimeArray:
        """Until when each sample stands, shape (n,)."""
        ends = self.times + round(self.interval_s * US_PER_S)
        ends[:-1] = np.minimum(ends[:-1], self.times[1:])
        return ends


@dataclass(frozen=True, slots=True, eq=False)
class SoundLevels:
    """Sound levels, each the energy mean of an interval.

    Attributes:
        starts: shape (n,).
        ends: shape (n,); no interval begins before the one before it has ended.
        values: dB, shape (n,).
        seconds: how much of the interval was really measured, shape (n,): the weight of the level.
    """

    starts: TimeArray
    ends: TimeArray
    values: ValueArray
    seconds: ValueArray

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
        """Levels of a box's interval each, such as LAeq of one minute; each begins at its time."""
        samples = SampleSeries.of(times, values, interval_s)
        ends = samples.ends
        return cls(samples.times, ends, samples.values, (ends - samples.times) / US_PER_S)

    @classmethod
    def of_hours(
        cls, times: ArrayLike, values: ArrayLike, counts: ArrayLike, interval_s: float
    ) -> "SoundLevels":
        """Energy means of hours, and how many intervals each was made of."""
        begins, found = np.asarray(times, dtype=np.int64), np.asarray(values, dtype=np.float64)
        seconds = np.minimum(np.asarray(counts, dtype=np.float64) * interval_s, HOUR_US / US_PER_S)
        there = np.isfinite(found) & (seconds > 0)
        return cls(begins[there], begins[there] + HOUR_US, found[there], seconds[there])

    def weights(self, period: TimePeriod) -> tuple[slice, ValueArray]:
        """What of a period was measured.

        Returns:
            The intervals that reach into it, and how many seconds each has there: one that reaches out of it
            gives the part that lies within.
        """
        low = int(np.searchsorted(self.ends, period.start_us, side="right"))
        high = max(low, int(np.searchsorted(self.starts, period.end_us, side="left")))
        part = slice(low, high)
        starts, ends = self.starts[part], self.ends[part]
        inside = np.minimum(ends, period.end_us) - np.maximum(starts, period.start_us)
        return part, self.seconds[part] * (inside / (ends - starts))


def _check_times(times: TimeArray, *columns: NDArray[np.generic]) -> None:
    if times.ndim != 1 or any(column.shape != times.shape for column in columns):
        raise ValueError("the columns of a series have one dimension and the same length")
    if len(times) > 1 and not (np.diff(times) > 0).all():
        raise ValueError("times ascend, and none occurs twice")


def _check_percent(coverage: ValueArray) -> None:
    if len(coverage) and not ((coverage >= 0) & (coverage <= 100)).all():  # noqa: PLR2004 (percent)
        raise ValueError("a coverage is 0 to 100 percent")


RUN_HOURS: Final = 8
RUN_LEAST: Final = 6
DAY_COVERAGE: Final = 75.0


def daily_means(hourly: HourlySeries, days: Sequence[date], zone: ZoneInfo) -> list[PeriodMean]:
    """The mean of each day, of three quarters of its hours at least."""
    return [compute_period_mean(hourly, local_day(day, zone), DAY_COVERAGE) for day in days]


def daily_highest_runs(hourly: HourlySeries, days: Sequence[date], zone: ZoneInfo) -> list[PeriodMean]:
    """The highest running mean of eight hours of each day."""
    return [_highest_run(hourly, local_day(day, zone)) for day in days]


def running_means(found: ValueArray) -> ValueArray:
    """The mean of each eight hours in a row, NaN where fewer than six have a value.

    Args:
        found: hourly means, NaN where there is none, shape (n,).

    Returns:
        Shape (n - 7,); the first one is of the first eight hours.
    """
    there = np.isfinite(found)
    windows = np.lib.stride_tricks.sliding_window_view(np.where(there, found, 0.0), RUN_HOURS)
    counts = np.lib.stride_tricks.sliding_window_view(there, RUN_HOURS).sum(axis=1)
    means = np.full(len(counts), np.nan)
    enough = counts >= RUN_LEAST
    means[enough] = windows[enough].sum(axis=1) / counts[enough]
    return means


def _highest_run(hourly: HourlySeries, day: TimePeriod) -> PeriodMean:
    hours = day.hours()
    if not hours:
        # A date that the clocks of a place left out: Samoa had no 30 December 2011.
        return PeriodMean(None, 0.0, "no_data")
    found = hourly.on(range(hours[0] - (RUN_HOURS - 1) * HOUR_US, hours[-1] + HOUR_US, HOUR_US))
    runs = running_means(found)
    valid = runs[np.isfinite(runs)]
    covered = compute_percent(len(valid), len(runs))
    reason = find_no_value_reason(hourly.begun(day), covered, DAY_COVERAGE)
    return PeriodMean(float(valid.max()) if reason is None else None, covered, reason)
