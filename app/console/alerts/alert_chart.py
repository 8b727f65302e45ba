"""Draws why an alert fired: measurements, threshold, hysteresis, dwell and the moments of change. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any, Final

from app.platform.kernel.instants import US_PER_S, from_datetime
from app.presentation.chart_kit import (
    AxisScale,
    AxisTick,
    ChartAxes,
    ChartFrame,
    ChartPoint,
    build_value_axis,
    draw_line,
)
from app.presentation.local_formatter import LocalFormatter

_FRAME: Final = ChartFrame(
    width=760, height=270, left=52, right=12, top=14, bottom=26, label_gap=7, label_drop=4, mark=5
)
_DOT: Final = 2.5
# Without samples at regular intervals, a line is not broken.
_UNBROKEN_US: Final = 10**15
# More points are a line, without a dot for each.
_DOTTED_MOST: Final = 120
# An interval between ticks of at most this share of the time shown.
_TICK_STEPS_S: Final = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800)
_TICKS_MOST: Final = 7
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class ChartSpan:
    """A part of the time axis, from `x` on, `width` wide."""

    x: float
    width: float


@dataclass(frozen=True, slots=True)
class AlertChart:
    """The chart of an alert, in units of its SVG.

    Attributes:
        axes: The axes.
        path: The line of the measurements.
        dots: The measurements themselves, if they are few.
        threshold: The height of the threshold; None: it has none.
        clear: The height of the value at which it resolves; None: the threshold itself.
        dwell: From when the condition held until it fired; None: it fired at once.
        firing: From when it fired until it resolved, or until now.
        fired: The moment when it fired.
        resolved: The moment when it resolved; None: it fires.
        lowest, highest: The lowest and the highest measurement.
    """

    axes: ChartAxes
    path: str
    dots: Sequence[tuple[float, float]]
    threshold: float | None
    clear: float | None
    dwell: ChartSpan | None
    firing: ChartSpan
    fired: float
    resolved: float | None
    lowest: float
    highest: float


def _us(at: str) -> int:
    return from_datetime(datetime.fromisoformat(at))


def build_time_ticks(axis: AxisScale, formats: LocalFormatter) -> list[AxisTick]:
    """Build ticks at round local times, at most seven."""
    span_s = (axis.high - axis.low) / US_PER_S
    step_s = next((step for step in _TICK_STEPS_S if span_s / step <= _TICKS_MOST), _TICK_STEPS_S[-1])
    first = formats.local(int(axis.low))
    midnight = from_datetime(first.replace(hour=0, minute=0, second=0, microsecond=0))
    step_us = step_s * US_PER_S
    at_us = midnight + -(-(int(axis.low) - midnight) // step_us) * step_us
    ticks = []
    while at_us <= axis.high:
        label = formats.short_day(at_us) if step_s >= _DAY_S else formats.clock(at_us)
        ticks.append(AxisTick(axis.at(at_us), label))
        at_us += step_us
    return ticks


def draw_alert_chart(
    alert: Mapping[str, Any], samples: Mapping[str, Any], formats: LocalFormatter
) -> AlertChart | None:
    """Draw the chart of an alert.

    Args:
        alert: The alert, as the API returns it.
        samples: The measurements around it, as `GET /v1/alerts/{id}/explanation` returns them.
        formats: The language, and the time zone of the site.

    Returns:
        The chart; None without a measurement.
    """
    points: list[ChartPoint] = [(_us(each["time"]), each["value"]) for each in samples["points"]]
    if not points:
        return None
    start, end = _us(samples["from"]), max(_us(samples["to"]), points[-1][0])
    x = _FRAME.scale_times(start, end)
    # The threshold of a function over a window is on another scale than measurements only for counts.
    limits = [alert[name] for name in ("threshold", "clear") if alert[name] is not None]
    values = [value for _, value in points]
    y, up = build_value_axis(_FRAME, [*values, *limits], samples["unit"], formats, from_zero=False)
    axes = ChartAxes(_FRAME, x, y, build_time_ticks(x, formats), up)
    intervals = [later[0] - earlier[0] for earlier, later in pairwise(points)]
    interval = 2 * median(intervals) if intervals else _UNBROKEN_US
    fired, pending = _us(alert["started_at"]), _us(alert["pending_since"])
    resolved = None if alert["resolved_at"] is None else _us(alert["resolved_at"])
    few = len(points) <= _DOTTED_MOST
    return AlertChart(
        axes=axes,
        path=draw_line(points, axes, interval, dot=_DOT),
        dots=[(x.at(at), y.at(value)) for at, value in points] if few else (),
        threshold=None if alert["threshold"] is None else y.at(alert["threshold"]),
        clear=None if alert["clear"] in {None, alert["threshold"]} else y.at(alert["clear"]),
        dwell=_span(x, pending, fired) if pending < fired else None,
        firing=_span(x, fired, end if resolved is None else resolved),
        fired=x.at(_within(x, fired)),
        resolved=None if resolved is None else x.at(_within(x, resolved)),
        lowest=min(values),
        highest=max(values),
    )


def _within(axis: AxisScale, at_us: int) -> float:
    return min(max(at_us, axis.low), axis.high)


def _span(axis: AxisScale, start_us: int, end_us: int) -> ChartSpan:
    left, right = axis.at(_within(axis, start_us)), axis.at(_within(axis, end_us))
    return ChartSpan(left, max(1.0, round(right - left, 1)))
