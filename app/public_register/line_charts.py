"""A line over time as the shapes of an inline SVG, with what it says in words and in numbers. Pure.

Coordinates are whole numbers and relative, so that a page with ten charts stays small; colours are the style
sheet's, which has them for light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

from app.catalogue.metrics import Metric
from app.public_register.register_formats import RegisterFormatter
from app.public_register.register_model import SiteMean
from app.reports.render.charts import AxisScale, build_value_ticks, round_axis_bounds
from app.reports.render.number_formats import typeset_text

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
    """A place on an axis, and what stands there."""

    at: int
    label: str


@dataclass(frozen=True, slots=True)
class LineChart:
    """A chart: `said` is its text alternative, `rows` are its numbers, by day or by month."""

    title: str
    unit: str
    heading: str
    said: str
    path: str
    across: list[PixelTick]
    up: list[PixelTick]
    rows: list[tuple[str, str]]


def draw_line_chart(
    metric: Metric,
    values: Sequence[SiteMean],
    span: ChartResolution,
    now: datetime,
    writing: RegisterFormatter,
    *,
    spacing_s: float = 0.0,
) -> LineChart:
    """Draw the means of quarters of an hour of a day, of hours of seven days, or of days of a year.

    Args:
        metric: Of the catalogue.
        values: At least one, ascending.
        span: What each value is of.
        now: The time; the chart ends with it.
        writing: The language, and the site's clocks.
        spacing_s: How far values may lie apart without a gap, where that is farther than they are wide.
    """
    end = now.astimezone(writing.zone)
    start = end - _LENGTHS[span]
    means = [value.mean for value in values]
    low = 0.0 if metric.kind == "gauge" and min(means) >= 0 else min(means)
    spare = max(0.0, _LEAST_LEVELS - (max(means) - low)) / 2 if metric.kind == "level" else 0.0
    bottom, top, step = round_axis_bounds(low - spare, max(max(means) + spare, low + 1e-9))
    x = AxisScale(start.timestamp(), end.timestamp(), LEFT, WIDTH - RIGHT)
    y = AxisScale(bottom, top, HEIGHT - BOTTOM, TOP)
    formats = writing.formats
    unit = formats.unit(metric.unit)

    def shown(value: float) -> str:
        return formats.measured(value, metric.unit)

    title = formats.words(metric.name)
    said = writing.word("chart_summary").format(
        title=title, low=shown(min(means)), high=shown(max(means)), last=shown(means[-1])
    )
    return LineChart(
        title=title,
        unit=unit,
        heading=writing.word(_HEADINGS[span]),
        said=typeset_text(said, writing.language),
        path=_path(values, x, y, max(_WIDTHS[span], spacing_s)),
        across=_MARKS[span](x, start, end, writing),
        up=[PixelTick(round(mark.at), mark.label) for mark in build_value_ticks(y, step, formats)],
        rows=_rows(metric, values, span, writing),
    )


def _path(values: Sequence[SiteMean], x: AxisScale, y: AxisScale, width_s: float) -> str:
    lines: list[list[tuple[int, int]]] = []
    before: datetime | None = None
    for value in values:
        # The first day is cut; a box whose clock is ahead does not draw beyond the frame.
        if not x.low <= value.time.timestamp() <= x.high:
            continue
        if before is None or (value.time - before).total_seconds() > _GAP * width_s:
            lines.append([])
        lines[-1].append((round(x.at(value.time.timestamp())), round(y.at(value.mean))))
        before = value.time
    return "".join(map(_drawn, lines))


def _drawn(line: Sequence[tuple[int, int]]) -> str:
    """A line through points; a point alone is a dot, for a line without length would not be seen."""
    (across, up), *others = line
    if not others:
        return f"M{across - _DOT} {up}a{_DOT} {_DOT} 0 1 0 {2 * _DOT} 0a{_DOT} {_DOT} 0 1 0 {-2 * _DOT} 0"
    steps = [f"l{to[0] - at[0]} {to[1] - at[1]}" for at, to in pairwise(line)]
    return f"M{across} {up}{''.join(steps)}"


def _days(x: AxisScale, start: datetime, end: datetime, writing: RegisterFormatter) -> list[PixelTick]:
    day = start.date() + timedelta(days=1)
    marks = []
    while day <= end.date():
        midnight = datetime(day.year, day.month, day.day, tzinfo=writing.zone)
        marks.append(PixelTick(round(x.at(midnight.timestamp())), f"{day.day}"))
        day += timedelta(days=1)
    return marks


def _clocks(x: AxisScale, start: datetime, end: datetime, writing: RegisterFormatter) -> list[PixelTick]:
    """Every sixth hour by the site's clocks."""
    at = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    marks = []
    while (at := at + timedelta(hours=1)) <= end:
        local = at.astimezone(writing.zone)
        place = round(x.at(at.timestamp()))
        # The first one would stand on the numbers of the other axis.
        if local.hour % _EVERY_H == 0 and place > LEFT + _CLEAR:
            label = f"{local.hour}\xa0h" if writing.language == "fr" else f"{local:%H:%M}"
            marks.append(PixelTick(place, label))
    return marks


def _months(x: AxisScale, start: datetime, end: datetime, writing: RegisterFormatter) -> list[PixelTick]:
    marks = []
    year, month = start.year, start.month
    while (year, month) < (end.year, end.month):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)  # noqa: PLR2004 (months)
        first = datetime(year, month, 1, tzinfo=writing.zone)
        marks.append(PixelTick(round(x.at(first.timestamp())), f"{month}"))
    return marks


_MARKS: Final = {"quarter": _clocks, "hour": _days, "day": _months}


def _rows(
    metric: Metric, values: Sequence[SiteMean], span: ChartResolution, writing: RegisterFormatter
) -> list[tuple[str, str]]:
    """Means of the hours of quarters, the days of hours, or the months of days, weighed by their values."""
    if span == "quarter":
        return _hours(metric, values, writing)
    groups: dict[date, list[SiteMean]] = {}
    for value in values:
        local = value.time.astimezone(writing.zone).date()
        groups.setdefault(local if span == "hour" else local.replace(day=1), []).append(value)
    name = writing.formats.short_day if span == "hour" else writing.formats.month
    return [
        (name(day), writing.formats.measured(compute_weighted_mean(metric, group), metric.unit))
        for day, group in groups.items()
    ]


def _hours(metric: Metric, values: Sequence[SiteMean], writing: RegisterFormatter) -> list[tuple[str, str]]:
    groups: dict[datetime, list[SiteMean]] = {}
    for value in values:
        groups.setdefault(value.time.replace(minute=0, second=0, microsecond=0), []).append(value)
    today = values[-1].time.astimezone(writing.zone).date()

    def name(hour: datetime) -> str:
        day = hour.astimezone(writing.zone).date()
        clock = writing.clock_there(hour)
        # A day has more than 24 names of hours: the first is yesterday's.
        return clock if day == today else f"{writing.formats.short_day(day)}, {clock}"

    return [
        (name(hour), writing.formats.measured(compute_weighted_mean(metric, group), metric.unit))
        for hour, group in groups.items()
    ]


def compute_weighted_mean(metric: Metric, values: Sequence[SiteMean]) -> float:
    """The mean of means, weighed by their values; of levels that of the energy, 10·log10(Σn·10^(L/10)/Σn)."""
    count = sum(value.count for value in values)
    if metric.kind == "level":
        energy = sum(value.count * 10 ** (value.mean / 10) for value in values)
        return 10 * math.log10(energy / count)
    return sum(value.count * value.mean for value in values) / count
