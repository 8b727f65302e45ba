"""Where things lie in a chart: scales, round steps, marks of hours and days. Pure."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.indicators.period_selection import DatedPeriod
from app.platform.kernel.instants import from_datetime
from app.reports.render.number_formats import ReportFormatter

_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_LEAST: Final = 1e-3
# Of a day every sixth hour has a mark, of a month these days.
_HOURS: Final = (0, 6, 12, 18)
_DAYS: Final = (1, 5, 10, 15, 20, 25, 30)
_FEW_DAYS: Final = 2


@dataclass(frozen=True, slots=True)
class AxisTick:
    """A place on an axis, and what stands there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class AxisScale:
    """From values to places: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies, to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def round_axis_bounds(low: float, high: float, *, marks: int = 4) -> tuple[float, float, float]:
    """Round ends of an axis that holds two values, and the step of its marks."""
    span = max(high - low, _LEAST, abs(high) * _LEAST)
    rough = span / marks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in _STEPS if power * each >= rough * (1 - 1e-9))
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def build_value_ticks(axis: AxisScale, step: float, formats: ReportFormatter) -> list[AxisTick]:
    """The marks of values, with as many decimals as the step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != round(step, 6):
        decimals += 1
    count = round((axis.high - axis.low) / step)
    values = [axis.low + place * step for place in range(count + 1)]
    return [AxisTick(axis.at(value), formats.number(value, decimals)) for value in values]


def build_time_ticks(axis: AxisScale, slot: DatedPeriod, formats: ReportFormatter) -> list[AxisTick]:
    """The marks of local hours of a day, or of days of a month."""
    if (slot.last - slot.first).days < _FEW_DAYS:
        begin = datetime.combine(slot.first, datetime.min.time(), tzinfo=formats.zone)
        hours = [(begin.replace(hour=hour), f"{hour}") for hour in _HOURS]
        after = datetime.combine(slot.first + timedelta(days=1), datetime.min.time(), tzinfo=formats.zone)
        hours.append((after, "24"))
        suffix = f"{chr(0xA0)}h"
        return [AxisTick(axis.at(float(from_datetime(moment))), label + suffix) for moment, label in hours]
    days = [slot.first.replace(day=day) for day in _DAYS if day <= slot.last.day]
    noons = [datetime(day.year, day.month, day.day, 12, tzinfo=formats.zone) for day in days]
    return [
        AxisTick(axis.at(float(from_datetime(noon))), f"{day.day}")
        for noon, day in zip(noons, days, strict=True)
    ]
