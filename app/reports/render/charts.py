"""Draws charts of values over time as SVG shapes for a template: lines, bands, limits and axes. Pure.

Up to `MAX_BOX_LINES` boxes have a line each. More boxes are drawn as their range, their median, and the box
with the highest mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from app.indicators.period_selection import DatedPeriod
from app.platform.kernel.instants import from_datetime
from app.presentation.date_formats import format_full_hour
from app.presentation.local_formatter import LocalFormatter
from app.presentation.translation import BilingualText
from app.reports.render.page_blocks import ReportTable, TableCell
from app.reports.render.report_texts import WORDS

_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_LEAST: Final = 1e-3
# Ticks of a day (hours) and of a month (days).
_HOURS: Final = (0, 6, 12, 18)
_DAYS: Final = (1, 5, 10, 15, 20, 25, 30)
_FEW_DAYS: Final = 2


@dataclass(frozen=True, slots=True)
class AxisTick:
    """A position on an axis, with its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class AxisScale:
    """A linear scale from values to positions: `low` is at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the position of a value, rounded to 0.1."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def round_axis_bounds(low: float, high: float, *, marks: int = 4) -> tuple[float, float, float]:
    """Return round bounds of an axis that contains two values, and the step of its ticks."""
    span = max(high - low, _LEAST, abs(high) * _LEAST)
    rough = span / marks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in _STEPS if power * each >= rough * (1 - 1e-9))
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def build_value_ticks(axis: AxisScale, step: float, formats: LocalFormatter) -> list[AxisTick]:
    """Build the ticks of a value axis, with as many decimals as the step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != round(step, 6):
        decimals += 1
    count = round((axis.high - axis.low) / step)
    values = [axis.low + position * step for position in range(count + 1)]
    return [AxisTick(axis.at(value), formats.number(value, decimals)) for value in values]


def build_time_ticks(axis: AxisScale, slot: DatedPeriod, formats: LocalFormatter) -> list[AxisTick]:
    """Build the ticks of a time axis: local hours of a day, or days of a month."""
    if (slot.last - slot.first).days < _FEW_DAYS:
        begin = datetime.combine(slot.first, datetime.min.time(), tzinfo=formats.zone)
        after = datetime.combine(slot.first + timedelta(days=1), datetime.min.time(), tzinfo=formats.zone)
        hours = [*((begin.replace(hour=hour), hour) for hour in _HOURS), (after, 24)]
        return [
            AxisTick(axis.at(float(from_datetime(moment))), format_full_hour(hour, formats.language))
            for moment, hour in hours
        ]
    days = [slot.first.replace(day=day) for day in _DAYS if day <= slot.last.day]
    noons = [datetime(day.year, day.month, day.day, 12, tzinfo=formats.zone) for day in days]
    return [
        AxisTick(axis.at(float(from_datetime(noon))), f"{day.day}")
        for noon, day in zip(noons, days, strict=True)
    ]


type ChartSeries = Mapping[int, float]
"""Values by the middle of their interval (µs since the epoch)."""

MAX_BOX_LINES: Final = 4
"""Greatest number of boxes with a line each."""
COLOURS: Final = ("#1f5fa8", "#c2410c", "#0f766e", "#7c3aed")
DASHES: Final = ("", "6 3", "2 2.5", "8 3 2 3")
_MEDIAN: Final = "#334155"
_LEFT, _RIGHT, _TOP, _BOTTOM = 38.0, 8.0, 16.0, 18.0
_GAP: Final = 1.6
_LEAST_SPANS: Final[Mapping[str, float]] = {"dB": 10.0, "°C": 5.0, "%RH": 20.0}


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line of a chart: its SVG path, with the colour and dashes that distinguish it."""

    label: str
    path: str
    colour: str
    dash: str = ""


@dataclass(frozen=True, slots=True)
class ChartLimit:
    """A limit to compare values with; `shown` is its label with the value."""

    value: float
    label: str
    at: float = 0.0
    shown: str = ""


@dataclass(frozen=True, slots=True)
class ShadedInterval:
    """An interval of time with a background colour."""

    start: float
    width: float
    label: str
    colour: str


@dataclass(frozen=True, slots=True)
class ReportChart:
    """A chart for the template, with a text alternative and a table.

    Attributes:
        key: its id on the page.
        title, unit: the quantity.
        alt_text: the text alternative.
        table: the values.
    """

    key: str
    title: str
    unit: str
    alt_text: str
    table: ReportTable
    width: float
    height: float
    plot: tuple[float, float, float, float]
    across: list[AxisTick]
    up: list[AxisTick]
    lines: list[ChartLine] = field(default_factory=list)
    band: str = ""
    band_label: str = ""
    limits: list[ChartLimit] = field(default_factory=list)
    shades: list[ShadedInterval] = field(default_factory=list)
    numbers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChartSpec:
    """The specification of a chart.

    Attributes:
        key, title, unit: as in `ReportChart`.
        series: label and values of each box, in order.
        slot: the period.
        width_us: the interval of a value (µs). Longer gaps break a line.
        limits: limits to compare with.
        shades: start and end (µs), label and colour of shaded intervals.
        zero: whether the value axis starts at 0.
        size: width and height.
    """

    key: str
    title: str
    unit: str
    series: Sequence[tuple[str, ChartSeries]]
    slot: DatedPeriod
    width_us: int
    limits: Sequence[ChartLimit] = ()
    shades: Sequence[tuple[int, int, str, str]] = ()
    zero: bool = True
    size: tuple[float, float] = (340.0, 150.0)


def draw_report_chart(spec: ChartSpec, formats: LocalFormatter) -> ReportChart | None:
    """Draw a chart; None: there are no values."""
    given = [(label, series) for label, series in spec.series if series]
    if not given:
        return None
    values = [value for _, series in given for value in series.values()]
    low = 0.0 if spec.zero else min(values)
    high = max([*values, *(limit.value for limit in spec.limits)])
    # A minimum range keeps small changes from looking large.
    spare = max(0.0, _LEAST_SPANS.get(spec.unit, 0.0) - (high - low)) / 2
    low, high = (low, high) if spec.zero else (low - spare, high + spare)
    bottom, top, step = round_axis_bounds(low, high if high > low else low + 1)
    width, height = spec.size
    start, end = spec.slot.period
    x = AxisScale(float(start), float(end), _LEFT, width - _RIGHT)
    y = AxisScale(bottom, top, height - _BOTTOM, _TOP)
    lines, band = _lines(given, x, y, spec.width_us, formats)
    return ReportChart(
        key=spec.key,
        title=spec.title,
        unit=formats.unit(spec.unit),
        alt_text=_alt_text(spec, given, formats),
        table=_table(spec, given, formats),
        width=width,
        height=height,
        plot=(_LEFT, _TOP, width - _RIGHT, height - _BOTTOM),
        across=build_time_ticks(x, spec.slot, formats),
        up=build_value_ticks(y, step, formats),
        lines=lines,
        band=band,
        band_label=formats.translate(WORDS["range_of_boxes"]).format(count=len(given)) if band else "",
        limits=[
            ChartLimit(each.value, each.label, y.at(each.value), _limit_text(each, spec, formats))
            for each in spec.limits
        ],
        shades=[
            ShadedInterval(
                x.at(max(begin, start)),
                round(x.at(min(after, end)) - x.at(max(begin, start)), 1),
                label,
                colour,
            )
            for begin, after, label, colour in spec.shades
            if begin < end and after > start
        ],
    )


def _lines(
    given: Sequence[tuple[str, ChartSeries]],
    x: AxisScale,
    y: AxisScale,
    width_us: int,
    formats: LocalFormatter,
) -> tuple[list[ChartLine], str]:
    if len(given) <= MAX_BOX_LINES:
        looks = zip(COLOURS, DASHES, strict=True)
        return [
            ChartLine(label, _path(series, x, y, width_us), colour, dash)
            for (label, series), (colour, dash) in zip(given, looks, strict=False)
        ], ""
    label, highest = find_highest_series(given)
    middle = {at: values[1] for at, values in summarise_series(given).items()}
    lines = [
        ChartLine(
            formats.translate(WORDS["median_of_boxes"]), _path(middle, x, y, width_us), _MEDIAN, DASHES[1]
        ),
        ChartLine(label, _path(highest, x, y, width_us), COLOURS[1]),
    ]
    return lines, _area(summarise_series(given), x, y, width_us)


def find_highest_series(given: Sequence[tuple[str, ChartSeries]]) -> tuple[str, ChartSeries]:
    """Return the box with the highest mean of the drawn values."""
    return max(given, key=lambda each: sum(each[1].values()) / len(each[1]))


def summarise_series(given: Sequence[tuple[str, ChartSeries]]) -> dict[int, tuple[float, float, float]]:
    """Compute the minimum, median and maximum over boxes, by instant."""
    by: dict[int, list[float]] = {}
    for _, series in given:
        for at, value in series.items():
            by.setdefault(at, []).append(value)
    return {at: (min(by[at]), float(np.median(by[at])), max(by[at])) for at in sorted(by)}


def _runs(series: Mapping[int, object], width_us: int) -> list[list[int]]:
    """Split the instants into runs without gaps."""
    runs: list[list[int]] = []
    for at in sorted(series):
        if runs and at - runs[-1][-1] <= _GAP * width_us:
            runs[-1].append(at)
        else:
            runs.append([at])
    return runs


def _path(series: ChartSeries, x: AxisScale, y: AxisScale, width_us: int) -> str:
    parts: list[str] = []
    for run in _runs(series, width_us):
        points = [f"{x.at(at)} {y.at(series[at])}" for at in run]
        # A single value is a dot: a tiny line with round ends.
        parts.append(f"M{points[0]}" + ("h0.01" if len(points) == 1 else "L" + " ".join(points[1:])))
    return "".join(parts)


def _area(
    summaries: Mapping[int, tuple[float, float, float]], x: AxisScale, y: AxisScale, width_us: int
) -> str:
    parts: list[str] = []
    for run in _runs(summaries, width_us):
        upper = [f"{x.at(at)} {y.at(summaries[at][2])}" for at in run]
        lower = [f"{x.at(at)} {y.at(summaries[at][0])}" for at in reversed(run)]
        parts.append(f"M{' L'.join([*upper, *lower])}Z")
    return "".join(parts)


def _when(at: int, spec: ChartSpec, formats: LocalFormatter) -> str:
    """Format the hour or day of a value from the middle of its interval."""
    begin = at - spec.width_us // 2
    if spec.slot.first == spec.slot.last:
        return formats.clock(begin)
    return formats.short_day(at)


def _alt_text(spec: ChartSpec, given: Sequence[tuple[str, ChartSeries]], formats: LocalFormatter) -> str:
    points = [(value, at, label) for label, series in given for at, value in series.items()]
    (low, low_at, low_box), (high, high_at, high_box) = min(points), max(points)
    words = formats.translate(WORDS["chart_said"]).format(
        title=spec.title,
        boxes=formats.counted(len(given), WORDS["box_one"], WORDS["box_many"]),
        low=formats.measured(low, spec.unit),
        low_at=_when(low_at, spec, formats),
        low_box=low_box,
        high=formats.measured(high, spec.unit),
        high_at=_when(high_at, spec, formats),
        high_box=high_box,
    )
    return " ".join([words, *(f"{_limit_text(each, spec, formats)}." for each in spec.limits)])


def _limit_text(limit: ChartLimit, spec: ChartSpec, formats: LocalFormatter) -> str:
    return f"{limit.label}{formats.colon}{formats.limit(limit.value, spec.unit)}"


def _table(spec: ChartSpec, given: Sequence[tuple[str, ChartSeries]], formats: LocalFormatter) -> ReportTable:
    """Build the table of the drawn values."""
    unit = formats.unit(spec.unit)
    caption = f"{spec.title} ({unit})" if unit else spec.title
    when = formats.translate(WORDS["hour" if spec.slot.first == spec.slot.last else "day"])
    if len(given) <= MAX_BOX_LINES:
        columns = given
    else:
        label, highest = find_highest_series(given)
        found = summarise_series(given)
        names = [formats.translate(WORDS[each]) for each in ("lowest", "median", "highest")]
        columns = [(name, {at: found[at][position] for at in found}) for position, name in enumerate(names)]
        columns.append((label, highest))
    times = sorted({at for _, series in given for at in series})
    rows = [
        [
            TableCell(_when(at, spec, formats), header=True),
            *(TableCell(formats.value(series.get(at), spec.unit), number=True) for _, series in columns),
        ]
        for at in times
    ]
    return ReportTable(
        caption, [TableCell(when), *(TableCell(label, number=True) for label, _ in columns)], rows
    )


def make_guideline_limit(value: float, words: BilingualText, formats: LocalFormatter) -> ChartLimit:
    """Make a limit with its label."""
    return ChartLimit(value, formats.translate(words))
