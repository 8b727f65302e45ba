import pytest

from app.presentation.local_formatter import LocalFormatter
from app.reports.render.charts import AxisScale, build_value_ticks, round_axis_bounds


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0.31), (0, 17), (47.2, 71.9), (-8.5, 3), (0, 1_900), (20, 20.001)]
)
def test_axes_are_round_and_hold_what_is_drawn(low: float, high: float) -> None:
    bottom, top, step = round_axis_bounds(low, high)
    assert bottom <= low
    assert top >= high
    assert 1 <= round((top - bottom) / step) <= 7
    marks = build_value_ticks(AxisScale(bottom, top, 100, 0), step, LocalFormatter("en"))
    assert len({mark.label for mark in marks}) == len(marks)
    assert (marks[0].at, marks[-1].at) == (100, 0)
