"""Draws the line charts of the register as inline SVG, each with a text alternative and a table. Pure.

Coordinates are relative whole numbers, so that a page with ten charts stays small. The style sheet sets the
colours, for light and dark mode.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

from app.catalogue.metric_names import get_metric_title
from app.catalogue.metrics import Metric
from app.presentation.date_formats import format_full_hour
from app.public_register.register_formats import RegisterFormatter
from app.public_register.register_model import SiteMean
from app.reports.render.charts import AxisScale, build_value_ticks, round_axis_bounds

WIDTH: Final = 720
HEIGHT: Final = 200
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 24
_GAP: Final = 1.6
_DOT: Final = 2
_LEAST_LEVELS: Final = 10.0

type ChartResolution = Literal["quarter", "hour", "day"]

_LENGTHS: Final[dict[ChartResolution, timedelta]] = {
    "quarter": timedelta(days=1),
    "hour": timedelta(days=7),
    "day": timedelta(days=365),
}
_WIDTHS: Final[dict[ChartResolution, float]] = {"quarter": 900.0, "hour": 3600.0, "day": 86_400.0}
_HEADINGS: Final[dict[ChartResolution, str]] = {"quarter": "of_a_day", "hour": "week", "day": "of_a_year"}
_EVERY_H: Final = 6
_CLEAR: Final = 30


@dataclass(frozen=True, slots=True)
class PixelTick:
    """A position on an axis (pixels), with its label."""

    at: int
    label: str


@dataclass(frozen=True, slots=True)
class LineChart:
    """A chart. `rows` are its numbers by hour, day or month; `path` is its SVG path."""

    title: str
    unit: str
    heading: str
    alt_text: str
    path: str
    across: list[PixelTick]
    up: list[PixelTick]
    rows: list[tuple[str, str]]


def draw_line_chart(
    metric: Metric,
    values: Sequence[SiteMean],
    span: ChartResolution,
    now: datetime,
    formatter: RegisterFormatter,
    *,
    spacing_s: float = 0.0,
) -> LineChart:
    """Draw the means of 15 minutes of a day, of hours of seven days, or of days of a year.

    Args:
        metric: The metric.
        values: The means, at least one, in ascending order of time.
        span: The resolution of the means.
        now: The end of the chart.
        formatter: The language, and the time zone of the site.
        spacing_s: The greatest distance of values that the line connects (seconds), if it exceeds the
            resolution.
    """
    end = now.astimezone(formatter.zone)
    start = end - _LENGTHS[span]
    means = [value.mean for value in values]
    low = 0.0 if metric.kind == "gauge" and min(means) >= 0 else min(means)
    spare = max(0.0, _LEAST_LEVELS - (max(means) - low)) / 2 if metric.kind == "level" else 0.0
    bottom, top, step = round_axis_bounds(low - spare, max(max(means) + spare, low + 1e-9))
    x = AxisScale(start.timestamp(), end.timestamp(), LEFT, WIDTH - RIGHT)
    y = AxisScale(bottom, top, HEIGHT - BOTTOM, TOP)
    unit = formatter.unit(metric.unit)

    def shown(value: float) -> str:
        return formatter.measured(value, metric.unit)

    title = get_metric_title(metric.name, formatter.language)
    alt_text = formatter.word("chart_summary").format(
        title=title, low=shown(min(means)), high=shown(max(means)), last=shown(means[-1])
    )
    return LineChart(
        title=title,
        unit=unit,
        heading=formatter.word(_HEADINGS[span]),
        alt_text=alt_text,
        path=_path(values, x, y, max(_WIDTHS[span], spacing_s)),
        across=_MARKS[span](x, start, end, formatter),
        up=[PixelTick(round(mark.at), mark.label) for mark in build_value_ticks(y, step, formatter)],
        rows=_rows(metric, values, span, formatter),
    )


def _path(values: Sequence[SiteMean], x: AxisScale, y: AxisScale, width_s: float) -> str:
    lines: list[list[tuple[int, int]]] = []
    before: datetime | None = None
    for value in values:
        # The first day is partly out of the frame, as are values of boxes with a clock that runs ahead.
        if not x.low <= value.time.timestamp() <= x.high:
            continue
        if before is None or (value.time - before).total_seconds() > _GAP * width_s:
            lines.append([])
        lines[-1].append((round(x.at(value.time.timestamp())), round(y.at(value.mean))))
        before = value.time
    return "".join(map(_drawn, lines))


def _drawn(line: Sequence[tuple[int, int]]) -> str:
    """Draw a line through points. A single point is a dot, because a line without length is invisible."""
    (across, up), *others = line
    if not others:
        return f"M{across - _DOT} {up}a{_DOT} {_DOT} 0 1 0 {2 * _DOT} 0a{_DOT} {_DOT} 0 1 0 {-2 * _DOT} 0"
    steps = [f"l{to[0] - at[0]} {to[1] - at[1]}" for at, to in pairwise(line)]
    return f"M{across} {up}{''.join(steps)}"


def _days(x: AxisScale, start: datetime, end: datetime, formatter: RegisterFormatter) -> list[PixelTick]:
    day = start.date() + timedelta(days=1)
    marks = []
    while day <= end.date():
        midnight = datetime(day.year, day.month, day.day, tzinfo=formatter.zone)
        marks.append(PixelTick(round(x.at(midnight.timestamp())), f"{day.day}"))
        day += timedelta(days=1)
    return marks


def _clocks(x: AxisScale, start: datetime, end: datetime, formatter: RegisterFormatter) -> list[PixelTick]:
    """Mark every sixth hour of the site's local time."""
    at = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    marks = []
    while (at := at + timedelta(hours=1)) <= end:
        local = at.astimezone(formatter.zone)
        pixel = round(x.at(at.timestamp()))
        # Labels near the left edge would overlap those of the other axis.
        if local.hour % _EVERY_H == 0 and pixel > LEFT + _CLEAR:
            marks.append(PixelTick(pixel, format_full_hour(local.hour, formatter.language)))
    return marks


def _months(x: AxisScale, start: datetime, end: datetime, formatter: RegisterFormatter) -> list[PixelTick]:
    marks = []
    year, month = start.year, start.month
    while (year, month) < (end.year, end.month):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)  # noqa: PLR2004 (months)
        first = datetime(year, month, 1, tzinfo=formatter.zone)
        marks.append(PixelTick(round(x.at(first.timestamp())), f"{month}"))
    return marks


_MARKS: Final = {"quarter": _clocks, "hour": _days, "day": _months}


def _rows(
    metric: Metric, values: Sequence[SiteMean], span: ChartResolution, formatter: RegisterFormatter
) -> list[tuple[str, str]]:
    """Build the table: weighted means of hours (of 15-minute values), days (of hours) or months (of days)."""
    if span == "quarter":
        return _hours(metric, values, formatter)
    groups: dict[date, list[SiteMean]] = {}
    for value in values:
        local = value.time.astimezone(formatter.zone).date()
        groups.setdefault(local if span == "hour" else local.replace(day=1), []).append(value)
    name = formatter.short_day if span == "hour" else formatter.month
    return [
        (name(day), formatter.measured(compute_weighted_mean(metric, group), metric.unit))
        for day, group in groups.items()
    ]


def _hours(metric: Metric, values: Sequence[SiteMean], formatter: RegisterFormatter) -> list[tuple[str, str]]:
    groups: dict[datetime, list[SiteMean]] = {}
    for value in values:
        groups.setdefault(value.time.replace(minute=0, second=0, microsecond=0), []).append(value)
    today = values[-1].time.astimezone(formatter.zone).date()

    def name(hour: datetime) -> str:
        day = hour.astimezone(formatter.zone).date()
        clock = formatter.clock(hour)
        # 24 hours touch two days: hours of yesterday get their date.
        return clock if day == today else f"{formatter.short_day(day)}, {clock}"

    return [
        (name(hour), formatter.measured(compute_weighted_mean(metric, group), metric.unit))
        for hour, group in groups.items()
    ]


def compute_weighted_mean(metric: Metric, values: Sequence[SiteMean]) -> float:
    """Average means, weighted by their numbers of values.

    Sound levels are averaged by energy: 10·log10(Σn·10^(L/10)/Σn).
    """
    count = sum(value.count for value in values)
    if metric.kind == "level":
        energy = sum(value.count * 10 ** (value.mean / 10) for value in values)
        return 10 * math.log10(energy / count)
    return sum(value.count * value.mean for value in values) / count
