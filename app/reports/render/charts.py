"""Draws the charts of reports as SVG shapes for a template: lines, bands and limits. Pure.

Up to `MAX_BOX_LINES` boxes have a line each. More boxes are drawn as their range, their median, and the box
with the highest mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from app.environmental_indices.period_selection import DatedPeriod, list_dates
from app.presentation.chart_kit import (
    ChartAxes,
    ChartFrame,
    build_day_ticks,
    build_hour_ticks,
    build_value_axis,
    draw_band,
    draw_line,
)
from app.presentation.local_formatter import LocalFormatter
from app.presentation.translation import BilingualText
from app.reports.render.page_blocks import ReportTable, TableCell
from app.reports.render.report_texts import WORDS

# Days of a month with a tick; in a shorter period each day has one.
_DAYS: Final = (1, 5, 10, 15, 20, 25, 30)
_EACH_DAY: Final = 7
_NOON: Final = 12

type ChartSeries = Mapping[int, float]
"""Values by the middle of their interval (µs since the epoch)."""

MAX_BOX_LINES: Final = 4
"""Greatest number of boxes with a line each."""
COLOURS: Final = ("#1f5fa8", "#c2410c", "#0f766e", "#7c3aed")
DASHES: Final = ("", "6 3", "2 2.5", "8 3 2 3")
_MEDIAN: Final = "#334155"
_DOT: Final = 1.0


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
        axes: the axes, with the size of the chart.
    """

    key: str
    title: str
    unit: str
    alt_text: str
    table: ReportTable
    axes: ChartAxes
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
    axes = _axes(spec, given, formats)
    start, end = spec.slot.period
    lines, band = _lines(given, axes, spec.width_us, formats)
    return ReportChart(
        key=spec.key,
        title=spec.title,
        unit=formats.unit(spec.unit),
        alt_text=_alt_text(spec, given, formats),
        table=_table(spec, given, formats),
        axes=axes,
        lines=lines,
        band=band,
        band_label=formats.translate(WORDS["range_of_boxes"]).format(count=len(given)) if band else "",
        limits=[
            ChartLimit(each.value, each.label, axes.y.at(each.value), _limit_text(each, spec, formats))
            for each in spec.limits
        ],
        shades=[
            ShadedInterval(
                axes.x.at(max(begin, start)),
                round(axes.x.at(min(after, end)) - axes.x.at(max(begin, start)), 1),
                label,
                colour,
            )
            for begin, after, label, colour in spec.shades
            if begin < end and after > start
        ],
    )


def _axes(spec: ChartSpec, given: Sequence[tuple[str, ChartSeries]], formats: LocalFormatter) -> ChartAxes:
    width, height = spec.size
    frame = ChartFrame(
        width, height, left=38.0, right=8.0, top=16.0, bottom=18.0, label_gap=4.0, label_drop=3.0
    )
    values = [value for _, series in given for value in series.values()]
    values += [limit.value for limit in spec.limits]
    y, up = build_value_axis(frame, values, spec.unit, formats, from_zero=spec.zero)
    x = frame.scale_times(*spec.slot.period)
    if spec.slot.first == spec.slot.last:
        return ChartAxes(frame, x, y, build_hour_ticks(x, formats), up)
    days = list_dates(spec.slot.first, spec.slot.last)
    if len(days) > _EACH_DAY:
        days = [day for day in days if day.day in _DAYS]
    return ChartAxes(frame, x, y, build_day_ticks(x, days, formats, hour=_NOON), up)


def _lines(
    given: Sequence[tuple[str, ChartSeries]], axes: ChartAxes, width_us: int, formats: LocalFormatter
) -> tuple[list[ChartLine], str]:
    if len(given) <= MAX_BOX_LINES:
        looks = zip(COLOURS, DASHES, strict=True)
        return [
            ChartLine(label, _path(series, axes, width_us), colour, dash)
            for (label, series), (colour, dash) in zip(given, looks, strict=False)
        ], ""
    label, highest = find_highest_series(given)
    found = summarise_series(given)
    middle = {at: median for at, (_, median, _) in found.items()}
    words = formats.translate(WORDS["median_of_boxes"])
    lines = [
        ChartLine(words, _path(middle, axes, width_us), _MEDIAN, DASHES[1]),
        ChartLine(label, _path(highest, axes, width_us), COLOURS[1]),
    ]
    return lines, draw_band(((at, low, high) for at, (low, _, high) in found.items()), axes, width_us)


def _path(series: ChartSeries, axes: ChartAxes, width_us: int) -> str:
    return draw_line(sorted(series.items()), axes, width_us, dot=_DOT)


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
