"""Figures of many local days at once: means, and the highest running mean of eight hours. Pure.

A running mean of eight hours belongs to the day on which it ends: the first one of a day covers 17 h of the
evening before to 1 h (Directive 2008/50/EC, Annex VII and XI; from 12 December 2026 Directive (EU) 2024/2881,
Annex I). It needs six valid hours, and a day three
quarters of its running means.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from app.indicators.calendar_periods import HOUR_US, TimePeriod, local_day
from app.indicators.input_types import (
    HourlySeries,
    PeriodMean,
    ValueArray,
    compute_percent,
    compute_period_mean,
    find_no_value_reason,
)

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
