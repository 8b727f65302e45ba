"""Draws the line charts of the register as inline SVG, each with a text alternative and a table. Pure.

The style sheet sets the colours, for light and dark mode.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal

from app.catalogue.metric_display_names import get_metric_title
from app.catalogue.metrics import Metric
from app.platform.kernel.instants import US_PER_S, from_datetime
from app.presentation.chart_kit import (
    AxisScale,
    AxisTick,
    ChartAxes,
    ChartFrame,
    build_day_ticks,
    build_hour_ticks,
    build_month_ticks,
    build_value_axis,
    draw_line,
    list_days,
)
from app.public_register.register_model import SiteMean
from app.public_register.register_value_formatter import RegisterFormatter

# In whole numbers, so that a page with ten charts stays small.
_FRAME: Final = ChartFrame(
    width=720,
    height=200,
    left=52,
    right=8,
    top=10,
    bottom=24,
    label_gap=6,
    label_drop=4,
    mark=5,
    decimals=None,
)
_DOT: Final = 2.0

type ChartResolution = Literal["quarter", "hour", "day"]

_LENGTHS: Final[dict[ChartResolution, timedelta]] = {
    "quarter": timedelta(days=1),
    "hour": timedelta(days=7),
    "day": timedelta(days=365),
}
_INTERVALS_S: Final[dict[ChartResolution, float]] = {"quarter": 900.0, "hour": 3600.0, "day": 86_400.0}
_HEADINGS: Final[dict[ChartResolution, str]] = {"quarter": "of_a_day", "hour": "week", "day": "of_a_year"}
_CLEAR: Final = 30.0


@dataclass(frozen=True, slots=True)
class LineChart:
    """A chart. `rows` are its numbers by hour, day or month; `path` is its SVG path."""

    title: str
    unit: str
    heading: str
    alt_text: str
    path: str
    axes: ChartAxes
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
    from_zero = metric.kind == "gauge" and min(means) >= 0
    y, up = build_value_axis(_FRAME, means, metric.unit, formatter, from_zero=from_zero)
    x = _FRAME.scale_times(from_datetime(start), from_datetime(end))
    axes = ChartAxes(_FRAME, x, y, _build_time_ticks(x, span, formatter), up)
    points = [(from_datetime(value.time), value.mean) for value in values]
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
        path=draw_line(points, axes, US_PER_S * max(_INTERVALS_S[span], spacing_s), dot=_DOT),
        axes=axes,
        rows=_rows(metric, values, span, formatter),
    )


def _build_time_ticks(x: AxisScale, span: ChartResolution, formatter: RegisterFormatter) -> list[AxisTick]:
    if span == "quarter":
        # Labels near the left edge would overlap those of the other axis.
        return build_hour_ticks(x, formatter, clear=_CLEAR)
    if span == "day":
        return build_month_ticks(x, formatter)
    first, last = (formatter.local(int(bound)).date() for bound in (x.low, x.high))
    return build_day_ticks(x, list_days(first + timedelta(days=1), last), formatter)


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
