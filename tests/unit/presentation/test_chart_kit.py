from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from app.platform.kernel.instants import from_datetime
from app.presentation.chart_kit import (
    AxisScale,
    ChartAxes,
    ChartFrame,
    build_day_ticks,
    build_hour_ticks,
    build_month_ticks,
    build_value_axis,
    build_value_ticks,
    draw_band,
    draw_line,
    round_axis_bounds,
)
from app.presentation.local_formatter import LocalFormatter

FRAME = ChartFrame(140, 100, left=30, right=10, top=10, bottom=20, label_gap=4, label_drop=3, decimals=None)
EN, FR = LocalFormatter("en", ZoneInfo("Europe/Paris")), LocalFormatter("fr", ZoneInfo("Europe/Paris"))
AXES = ChartAxes(FRAME, FRAME.scale_times(0, 100), FRAME.scale_values(0, 70), [], [])


def us(year: int, month: int, day: int, hour: int = 0, zone: ZoneInfo = EN.zone) -> int:
    return from_datetime(datetime(year, month, day, hour, tzinfo=zone))


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0.31), (0, 17), (47.2, 71.9), (-8.5, 3), (0, 1_900), (20, 20.001)]
)
def test_axes_are_round_and_hold_what_is_drawn(low: float, high: float) -> None:
    bottom, top, step = round_axis_bounds(low, high)
    assert bottom <= low
    assert top >= high
    assert 1 <= round((top - bottom) / step) <= 7
    marks = build_value_ticks(AxisScale(bottom, top, 100, 0), step, EN)
    assert len({mark.label for mark in marks}) == len(marks)
    assert (marks[0].at, marks[-1].at) == (100, 0)


def test_small_changes_do_not_look_large() -> None:
    axis, ticks = build_value_axis(FRAME, [60.0, 60.5], "dB", EN, from_zero=False)
    assert (axis.low, axis.high) == (55.0, 67.5)
    assert [tick.label for tick in ticks] == ["55.0", "57.5", "60.0", "62.5", "65.0", "67.5"]
    axis, _ = build_value_axis(FRAME, [3.0, 4.0], "µg/m³", EN, from_zero=True)
    assert (axis.low, axis.high) == (0.0, 4.0)
    # Nothing but zeros is a line at the bottom.
    axis, _ = build_value_axis(FRAME, [0.0, 0.0], "µg/m³", EN, from_zero=True)
    assert axis.low == 0.0
    assert axis.high > 0.0


def test_a_day_has_a_tick_every_six_local_hours() -> None:
    # The clocks go back: the day has 25 hours.
    x = FRAME.scale_times(us(2026, 10, 25), us(2026, 10, 26))
    ticks = build_hour_ticks(x, EN)
    assert [tick.label for tick in ticks] == ["00:00", "06:00", "12:00", "18:00", "24:00"]
    assert [tick.anchor for tick in ticks] == ["start", "middle", "middle", "middle", "end"]
    assert [tick.at for tick in ticks] == [30, 58, 82, 106, 130]
    assert [tick.label for tick in build_hour_ticks(x, FR, clear=1)] == [
        "6\xa0h",
        "12\xa0h",
        "18\xa0h",
        "24\xa0h",
    ]


def test_hours_are_those_of_the_clock_also_half_an_hour_off() -> None:
    kolkata = LocalFormatter("en", ZoneInfo("Asia/Kolkata"))
    start = from_datetime(datetime(2026, 11, 24, 0, 0, tzinfo=UTC))
    x = FRAME.scale_times(start, start + 86_400_000_000)
    ticks = build_hour_ticks(x, kolkata)
    assert [tick.label for tick in ticks] == ["06:00", "12:00", "18:00", "00:00"]
    assert ticks[0].at == round(x.at(us(2026, 11, 24, 6, zone=kolkata.zone)))


def test_days_and_months_have_their_numbers() -> None:
    x = FRAME.scale_times(us(2026, 11, 1), us(2026, 12, 1))
    days = build_day_ticks(x, [date(2026, 11, 1), date(2026, 11, 16)], EN, hour=12)
    assert [(tick.at, tick.label) for tick in days] == [(32, "1"), (82, "16")]
    x = FRAME.scale_times(us(2025, 12, 1), us(2026, 3, 2))
    assert [tick.label for tick in build_month_ticks(x, EN)] == ["1", "2", "3"]


def test_lines_are_broken_at_gaps_and_a_value_alone_is_a_dot() -> None:
    points = [(-10, 1.0), (0, 0.0), (10, 7.0), (20, 14.0), (60, 70.0), (200, 1.0)]
    assert draw_line(points, AXES, 10, dot=2) == "M30 80l10 -7 10 -7M88 10a2 2 0 1 0 4 0a2 2 0 1 0 -4 0"
    assert draw_line([], AXES, 10, dot=2) == ""


def test_a_band_lies_between_its_lines() -> None:
    assert draw_band([(0, 0.0, 7.0), (10, 7.0, 14.0)], AXES, 10) == "M30 73l10 -7 0 7 -10 7Z"
