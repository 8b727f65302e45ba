"""Flags doubtful values of a metric (out of range, spike, flat line, warm-up, late). Pure.

Samples are compared with those before and after them. Flags are not stored: late and replayed samples are
evaluated with all others, and so are their neighbours.

The flags of a sample depend only on samples within `before_us` before it and `after_us` after it. With that
context, the flags are the same however a range is divided into pages.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from app.catalogue.metrics import Metric
from app.platform.kernel.array_types import BoolArray, FloatArray, IntArray
from app.platform.kernel.instants import US_PER_S
from app.timeseries.quality.plausible_ranges import NO_PLAUSIBLE_LIMITS, PLAUSIBLE_LIMITS, PlausibleLimits

type Flag = Literal["out_of_range", "spike", "flat_line", "warm_up", "late"]

FLAGS_VERSION: Final = 1
"""The version of the flag definitions; increment it when a rule or a number changes."""
FLAGS: Final[tuple[Flag, ...]] = ("out_of_range", "spike", "flat_line", "warm_up", "late")

NEIGHBOURS: Final = 5
"""The number of neighbours on either side that spikes are compared with, if there are enough."""
LEAST_NEIGHBOURS: Final = 3
"""With fewer neighbours on either side, no spike is flagged."""
SIGMAS: Final = 5.0
# The ratio of standard deviation and median absolute deviation of a normal distribution.
_SIGMA_OF_MAD: Final = 1.4826
_GAP_S: Final = 600
_REACH_S: Final = 3_600
_INTERVALS: Final = 10
_FLAT_INTERVALS: Final = 20
# The number of windows sorted at a time, each of about a hundred bytes.
_AT_ONCE: Final = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class MetricSamples:
    """Samples of a box in ascending order, in columns of the same length.

    Attributes:
        times: measurement times (µs since the epoch), unique.
        values: of the metric; NaN if a sample has none.
        late: whether that value arrived late.
    """

    times: IntArray
    values: FloatArray
    late: BoolArray


@dataclass(frozen=True, slots=True)
class FlagEvaluator:
    """Evaluates the flags of one metric of one box.

    Attributes:
        limits: plausible limits of the metric.
        interval_s: sampling interval of the box (s).
        requested: the flags to evaluate.
    """

    limits: PlausibleLimits
    interval_s: int
    requested: frozenset[Flag]

    @classmethod
    def of(cls, metric: Metric, interval_s: int, requested: Collection[Flag]) -> "FlagEvaluator":
        """Create an evaluator for a metric of the catalogue."""
        return cls(PLAUSIBLE_LIMITS.get(metric.name, NO_PLAUSIBLE_LIMITS), interval_s, frozenset(requested))

    @property
    def gap_us(self) -> int:
        """The time without samples after which the box counts as having been off."""
        return max(_GAP_S, _INTERVALS * self.interval_s) * US_PER_S

    @property
    def near_us(self) -> int:
        """The longest distance in time at which values are compared."""
        return max(_REACH_S, _INTERVALS * self.interval_s) * US_PER_S

    @property
    def flat_us(self) -> int | None:
        """How long a value may stay the same; None: without limit."""
        if self.limits.flat_s is None:
            return None
        return max(self.limits.flat_s, _FLAT_INTERVALS * self.interval_s) * US_PER_S

    @property
    def before_us(self) -> int:
        """The time before a sample that its flags depend on."""
        warm_up = self.limits.warm_up_s * US_PER_S + self.gap_us if self._warms_up else 0
        return max(warm_up, self.after_us)

    @property
    def after_us(self) -> int:
        """The time after a sample that its flags depend on."""
        spike = self.near_us if "spike" in self.requested and self.limits.spike_floor is not None else 0
        flat = self.flat_us
        return max(spike, 0 if flat is None or "flat_line" not in self.requested else flat + self.near_us)

    @property
    def _warms_up(self) -> bool:
        return "warm_up" in self.requested and self.limits.warm_up_s > 0

    @property
    def needs_all(self) -> bool:
        """Whether samples without a value of the metric are needed, because they show that the box was on."""
        return self._warms_up

    def flags(self, samples: MetricSamples) -> dict[Flag, BoolArray]:
        """Evaluate the requested flags for each sample; samples without a value have none."""
        measured = ~np.isnan(samples.values)
        times, values = samples.times[measured], samples.values[measured]
        found: dict[Flag, BoolArray] = {}
        for flag in FLAGS:
            if flag not in self.requested:
                continue
            if flag == "warm_up":
                found[flag] = (
                    flag_warm_up(samples.times, self.gap_us, self.limits.warm_up_s * US_PER_S) & measured
                )
            elif flag == "late":
                found[flag] = samples.late & measured
            else:
                found[flag] = np.zeros(len(measured), np.bool_)
                found[flag][measured] = self._flag_values(flag, times, values)
        return found

    def _flag_values(self, flag: Flag, times: IntArray, values: FloatArray) -> BoolArray:
        limits, flat_us = self.limits, self.flat_us
        if flag == "out_of_range":
            return flag_out_of_range(values, limits.low, limits.high)
        if flag == "spike" and limits.spike_floor is not None:
            return flag_spikes(times, values, self.near_us, limits.spike_floor)
        if flag == "flat_line" and flat_us is not None:
            # Compares as float32: a stored 99.9 does not equal the float64 99.9.
            resting = np.isin(values.astype(np.float32), np.array(list(limits.rests), np.float32))
            return flag_flat_lines(times, values, self.near_us, flat_us) & ~resting
        return np.zeros(len(values), np.bool_)


def flag_out_of_range(values: FloatArray, low: float | None, high: float | None) -> BoolArray:
    """Flag values outside an inclusive range."""
    return (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high))


def flag_spikes(times: IntArray, values: FloatArray, near_us: int, floor: float) -> BoolArray:
    """Flag spikes by Hampel's identifier: values far from the median of their neighbours.

    A window has a value and equally many neighbours before and after it, five or as few as three, none
    farther away than `near_us`. A step is therefore not a spike. Far means more than `SIGMAS` times the
    median absolute deviation (times 1.4826, the standard deviation of a normal distribution), and more than
    `floor`.

    Args:
        times: ascending (µs since the epoch).
        values: of the metric, none NaN.
        near_us: the longest distance of a neighbour (µs).
        floor: the least distance of a spike from the median, in the metric's unit.

    Source: Davies and Gather, "The identification of multiple outliers", JASA 88 (1993); Pearson, "Outliers
    in process modeling and identification", IEEE Transactions on Control Systems Technology 10 (2002).
    """
    found = np.zeros(len(values), np.bool_)
    undecided = np.ones(len(values), np.bool_)
    for count in range(NEIGHBOURS, LEAST_NEIGHBOURS - 1, -1):
        width = 2 * count + 1
        if len(values) < width:
            continue
        inner = slice(count, len(values) - count)
        at = times[inner]
        has = (at - times[: -2 * count] <= near_us) & (times[2 * count :] - at <= near_us) & undecided[inner]
        undecided[inner] &= ~has
        windows = sliding_window_view(values, width)
        # Medians are computed only for values far from at least one neighbour, which are few.
        middle = values[inner]
        lowest, highest = _extremes(values, width)
        doubtful = np.flatnonzero(has & (np.maximum(middle - lowest, highest - middle) > floor))
        for begin in range(0, len(doubtful), _AT_ONCE):
            chosen = doubtful[begin : begin + _AT_ONCE]
            window = windows[chosen]
            medians = _row_medians(window)
            deviations = _row_medians(np.abs(window - medians[:, None]))
            allowed = np.maximum(SIGMAS * _SIGMA_OF_MAD * deviations, floor)
            found[chosen + count] = np.abs(middle[chosen] - medians) > allowed
    return found


def _row_medians(windows: FloatArray) -> FloatArray:
    """Return the medians of rows of odd length."""
    half = windows.shape[1] // 2
    medians: FloatArray = np.partition(windows, half, axis=1)[:, half]
    return medians


def _extremes(values: FloatArray, width: int) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest value of each window."""
    lowest = values[: len(values) - width + 1].copy()
    highest = lowest.copy()
    for shift in range(1, width):
        part = values[shift : shift + len(lowest)]
        np.minimum(lowest, part, out=lowest)
        np.maximum(highest, part, out=highest)
    return lowest, highest


def flag_flat_lines(times: IntArray, values: FloatArray, near_us: int, flat_us: int) -> BoolArray:
    """Flag all values of a run of equal values that lasts `flat_us` or longer.

    A run ends where two values are farther apart than `near_us`.

    Args:
        times: ascending (µs since the epoch).
        values: of the metric, none NaN.
        near_us: the longest distance within a run (µs).
        flat_us: the shortest flat line (µs).
    """
    if not len(values):
        return np.zeros(0, np.bool_)
    breaks = (values[1:] != values[:-1]) | (np.diff(times) > near_us)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    ends = np.append(starts[1:], len(values)) - 1
    long = times[ends] - times[starts] >= flat_us
    return np.repeat(long, np.diff(starts, append=len(values)))


def flag_warm_up(times: IntArray, gap_us: int, warm_up_us: int) -> BoolArray:
    """Flag samples within `warm_up_us` after the first sample, and after the first one after each gap."""
    if warm_up_us == 0 or not len(times):
        return np.zeros(len(times), np.bool_)
    begun = np.concatenate([[True], np.diff(times) > gap_us])
    since = times[np.maximum.accumulate(np.where(begun, np.arange(len(times)), 0))]
    return times - since < warm_up_us


def combine_flags(flags: Mapping[Flag, BoolArray], count: int) -> BoolArray:
    """Return whether samples have at least one of these flags."""
    found = np.zeros(count, np.bool_)
    for each in flags.values():
        found |= each
    return found
