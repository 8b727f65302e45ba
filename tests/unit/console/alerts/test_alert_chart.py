from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.console.alerts.alert_chart import AlertChart, draw_alert_chart
from app.presentation.local_formatter import LocalFormatter

START = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)
FORMATS = LocalFormatter("en", ZoneInfo("Europe/Paris"))


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def alert(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 (fields of an alert)
    made = {
        "threshold": 25.0,
        "clear": 22.0,
        "pending_since": at(20),
        "started_at": at(30),
        "resolved_at": None,
    }
    return {**made, **changes}


def samples(values: list[float], step: float = 5) -> dict[str, Any]:
    points = [{"time": at(index * step), "value": value} for index, value in enumerate(values)]
    return {"unit": "µg/m³", "from": at(0), "to": at(60), "points": points}


def drawn(**changes: Any) -> AlertChart:  # noqa: ANN401 (fields of an alert)
    chart = draw_alert_chart(alert(**changes), samples([10, 12, 20, 30, 40, 42, 44, 30]), FORMATS)
    assert chart is not None
    return chart


def test_without_measurements_there_is_no_chart() -> None:
    assert draw_alert_chart(alert(), samples([]), FORMATS) is None


def test_the_band_is_between_threshold_and_clear_and_the_dwell_ends_where_it_fired() -> None:
    chart = drawn()
    assert chart.threshold is not None
    assert chart.clear is not None
    # Downwards in an SVG: 22 is below 25.
    assert chart.clear > chart.threshold
    assert chart.dwell is not None
    assert chart.dwell.x + chart.dwell.width == pytest.approx(chart.fired)
    assert chart.firing.x == pytest.approx(chart.fired)
    # Ten minutes of sixty.
    assert chart.dwell.width / (chart.axes.frame.right_edge - chart.axes.frame.left) == pytest.approx(
        1 / 6, 0.01
    )
    assert (chart.lowest, chart.highest) == (10, 44)


def test_an_alert_that_fired_at_once_has_no_dwell_and_no_band() -> None:
    chart = drawn(pending_since=at(30), clear=25.0)
    assert chart.dwell is None
    assert chart.clear is None
    assert chart.resolved is None


def test_an_alert_that_ended_is_shaded_until_its_end() -> None:
    chart = drawn(resolved_at=at(45))
    assert chart.resolved == pytest.approx(chart.firing.x + chart.firing.width)


def test_moments_outside_of_the_measurements_stay_on_the_chart() -> None:
    chart = drawn(pending_since=at(-30), started_at=at(-10), resolved_at=at(90))
    assert chart.fired == chart.axes.frame.left
    assert chart.resolved == chart.axes.frame.right_edge


def test_an_alert_without_threshold_is_drawn_without_one() -> None:
    chart = drawn(threshold=None, clear=None)
    assert chart.threshold is None
    assert chart.path


def test_ticks_are_at_round_local_times() -> None:
    labels = [tick.label for tick in drawn().axes.across]
    assert labels == ["11:00", "11:10", "11:20", "11:30", "11:40", "11:50", "12:00"]
    week = {**samples([1, 2, 3], 4000), "to": at(60 * 24 * 10)}
    chart = draw_alert_chart(alert(), week, FORMATS)
    assert chart is not None
    assert len(chart.axes.across) <= 8
