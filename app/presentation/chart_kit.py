"""Draws the parts that charts of values over time share: frames, scales, ticks and paths. Pure: no clock.

Times are µs since the epoch. Positions are units of the SVG; `templates/chart_axes.html` draws the axes.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from app.platform.kernel.instants import from_datetime
from app.presentation.date_formats import format_full_hour
from app.presentation.local_formatter import LocalFormatter

_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_LEAST: Final = 1e-3
_HOURS: Final = (0, 6, 12, 18)
_GAP: Final = 1.6
# By unit: a minimum range of the value axis keeps small changes from looking large.
_LEAST_SPANS: Final[Mapping[str, float]] = {"dB": 10.0, "°C": 5.0, "%RH": 20.0}

type ChartPoint = tuple[int, float]
"""A time (µs since the epoch) and the value there."""


@dataclass(frozen=True, slots=True)
class AxisTick:
    """A position on an axis, with its label and the side of the label that stands there (`text-anchor`)."""

    at: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class AxisScale:
    """A linear scale from values to positions: `low` is at `start`, `high` at `end`.

    Positions have `decimals` decimals; None: they are whole numbers, which keep a page small.
    """

    low: float
    high: float
    start: float
    end: float
    decimals: int | None = 1

    def at(self, value: float) -> float:
        """Return the position of a value."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), self.decimals)


@dataclass(frozen=True, slots=True)
class ChartFrame:
    """The size of a chart, and the margins around its plot.

    Attributes:
        width, height: The size of the SVG.
        left, right, top, bottom: The margins.
        label_gap: The distance of the labels of values from the plot.
        label_drop: How far the baseline of these labels is below their tick.
        mark: The length of the marks of times below the plot; 0: none.
        decimals: The decimals of positions, as in `AxisScale`.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    label_gap: float
    label_drop: float
    mark: float = 0
    decimals: int | None = 1

    @property
    def right_edge(self) -> float:
        """The right edge of the plot."""
        return self.width - self.right

    @property
    def bottom_edge(self) -> float:
        """The lower edge of the plot."""
        return self.height - self.bottom

    def scale_times(self, start_us: int, end_us: int) -> AxisScale:
        """Return the scale of times."""
        return AxisScale(start_us, end_us, self.left, self.right_edge, self.decimals)

    def scale_values(self, low: float, high: float) -> AxisScale:
        """Return the scale of values."""
        return AxisScale(low, high, self.bottom_edge, self.top, self.decimals)


@dataclass(frozen=True, slots=True)
class ChartAxes:
    """The axes of a chart: their scales `x` and `y`, with the ticks of times (`across`) and values (`up`)."""

    frame: ChartFrame
    x: AxisScale
    y: AxisScale
    across: list[AxisTick]
    up: list[AxisTick]


def round_axis_bounds(low: float, high: float, *, marks: int = 4) -> tuple[float, float, float]:
    """Return round bounds of an axis that contains two values, and the step of its ticks."""
    span = max(high - low, _LEAST, abs(high) * _LEAST)
    rough = span / marks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in _STEPS if power * each >= rough * (1 - 1e-9))
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def build_value_axis(
    frame: ChartFrame, values: Iterable[float], unit: str, formats: LocalFormatter, *, from_zero: bool
) -> tuple[AxisScale, list[AxisTick]]:
    """Build the axis of values, with its ticks.

    Args:
        frame: The frame of the chart.
        values: The values that it contains.
        unit: Their unit.
        formats: The language of the labels.
        from_zero: Whether the axis starts at 0.
    """
    given = [*values, 0.0] if from_zero else list(values)
    low, high = min(given), max(given)
    if not from_zero:
        spare = max(0.0, _LEAST_SPANS.get(unit, 0.0) - (high - low)) / 2
        low, high = low - spare, high + spare
    bottom, top, step = round_axis_bounds(low, high if high > low else low + 1)
    axis = frame.scale_values(bottom, top)
    return axis, build_value_ticks(axis, step, formats)


def build_value_ticks(axis: AxisScale, step: float, formats: LocalFormatter) -> list[AxisTick]:
    """Build the ticks of a value axis, with as many decimals as the step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != round(step, 6):
        decimals += 1
    count = round((axis.high - axis.low) / step)
    values = [axis.low + position * step for position in range(count + 1)]
    return [AxisTick(axis.at(value), formats.number(value, decimals)) for value in values]


def build_hour_ticks(axis: AxisScale, formats: LocalFormatter, *, clear: float = 0.0) -> list[AxisTick]:
    """Build a tick for every sixth local hour.

    Args:
        axis: The scale of times.
        formats: The language, and the time zone.
        clear: The distance from the start without ticks, where a label would overlap those of the values.
    """
    ticks = []
    first, last = (formats.local(int(bound)).date() for bound in (axis.low, axis.high))
    for day in list_days(first, last):
        for hour in _HOURS:
            at_us = _local_us(day, hour, formats.zone)
            if axis.low <= at_us <= axis.high and axis.at(at_us) >= axis.start + clear:
                shown = 24 if hour == 0 and at_us == axis.high else hour
                ticks.append(_tick(axis, at_us, format_full_hour(shown, formats.language)))
    return ticks


def build_day_ticks(
    axis: AxisScale, days: Iterable[date], formats: LocalFormatter, *, hour: int = 0
) -> list[AxisTick]:
    """Build a tick at an hour of each day, with the day of the month."""
    return [_tick(axis, _local_us(day, hour, formats.zone), f"{day.day}") for day in days]


def build_month_ticks(axis: AxisScale, formats: LocalFormatter) -> list[AxisTick]:
    """Build a tick at the start of each month, with the number of the month."""
    first, last = (formats.local(int(bound)).date() for bound in (axis.low, axis.high))
    starts = [day for day in list_days(first + timedelta(days=1), last) if day.day == 1]
    return [_tick(axis, _local_us(day, 0, formats.zone), f"{day.month}") for day in starts]


def list_days(first: date, last: date) -> Iterator[date]:
    """Yield the days from the first to the last."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def _local_us(day: date, hour: int, zone: ZoneInfo) -> int:
    return from_datetime(datetime(day.year, day.month, day.day, hour, tzinfo=zone))


def _tick(axis: AxisScale, at_us: int, label: str) -> AxisTick:
    """Make a tick of time. At the edges of the plot the label stands within it."""
    at = axis.at(at_us)
    return AxisTick(at, label, {axis.start: "start", axis.end: "end"}.get(at, "middle"))


def draw_line(points: Iterable[ChartPoint], axes: ChartAxes, interval_us: float, *, dot: float) -> str:
    """Draw the path of a line, which is broken where values are missing.

    Args:
        points: The points in ascending order of time. Those outside of the axis are left out.
        axes: The axes.
        interval_us: The interval of a value (µs).
        dot: The radius of a value alone, because a line without length is invisible.
    """
    there = [point for point in points if axes.x.low <= point[0] <= axes.x.high]
    paths = []
    for run in _split_runs(there, interval_us):
        placed = [(axes.x.at(at), axes.y.at(value)) for at, value in run]
        paths.append(_draw_polyline(placed) if len(placed) > 1 else _draw_dot(*placed[0], dot))
    return "".join(paths)


def draw_band(bounds: Iterable[tuple[int, float, float]], axes: ChartAxes, interval_us: float) -> str:
    """Draw the path of the area between two lines.

    Args:
        bounds: Times with the lower and the upper value, in ascending order of time.
        axes: The axes.
        interval_us: The interval of a value (µs).
    """
    paths = []
    for run in _split_runs(bounds, interval_us):
        around = [*((at, high) for at, _, high in run), *((at, low) for at, low, _ in reversed(run))]
        paths.append(_draw_polyline([(axes.x.at(at), axes.y.at(value)) for at, value in around]) + "Z")
    return "".join(paths)


def _split_runs[Point: tuple[int, *tuple[float, ...]]](
    points: Iterable[Point], interval_us: float
) -> list[list[Point]]:
    """Split points into runs without gaps."""
    runs: list[list[Point]] = []
    for point in points:
        if runs and point[0] - runs[-1][-1][0] <= _GAP * interval_us:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _draw_polyline(points: Sequence[tuple[float, float]]) -> str:
    """Draw a line through points, by relative steps: they have fewer digits."""
    (x, y), *_ = points
    steps = (f"{to[0] - at[0]:.4g} {to[1] - at[1]:.4g}" for at, to in pairwise(points))
    return f"M{x:.4g} {y:.4g}l{' '.join(steps)}"


def _draw_dot(x: float, y: float, radius: float) -> str:
    arc = f"a{radius:g} {radius:g} 0 1 0"
    return f"M{x - radius:.4g} {y:.4g}{arc} {2 * radius:g} 0{arc} {-2 * radius:g} 0"
