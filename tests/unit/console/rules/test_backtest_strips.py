"""The strips of a back-test."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from app.console.rules.backtest_strips import LISTED, STRIPS, WIDTH, draw_backtest, list_ticks
from app.presentation.local_formatter import LocalFormatter

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 10
FORMATTER = LocalFormatter("en", ZoneInfo("Europe/Paris"))


def alert(box: str | None, hour: float, hours: float, severity: str = "warning") -> dict[str, Any]:
    at = START + timedelta(hours=hour)
    return {
        "box": box,
        "severity": severity,
        "started_at": at.isoformat(),
        "duration_s": hours * 3600,
        "resolved_at": None,
    }


def backtest(alerts: list[dict[str, Any]], boxes: int = 5) -> dict[str, Any]:
    summary = {"alerts": len(alerts), "boxes": boxes, "firing_s": sum(each["duration_s"] for each in alerts)}
    end = START + timedelta(days=DAYS)
    return {
        "from": START.isoformat(),
        "to": end.isoformat(),
        "result": {"summary": summary, "alerts": alerts},
    }


def test_without_a_result_there_is_no_picture() -> None:
    assert draw_backtest({**backtest([]), "result": None}, {}, FORMATTER) is None


def test_each_box_has_a_strip_with_its_alerts_in_time() -> None:
    alerts = [alert("a", 0, 24), alert("b", 120, 12, "critical"), alert("b", 0, 0), alert("b", 239.9, 0.1)]
    picture = draw_backtest(backtest(alerts), {"b": "School"}, FORMATTER)
    assert picture is not None
    assert [(strip.name, strip.count) for strip in picture.strips] == [("School", 3), ("a", 1)]
    assert (picture.quiet, picture.hidden, picture.unlisted) == (3, 0, 0)
    # A day of ten is a tenth of the width; what is short is still visible, within the strip.
    assert [(mark.x, mark.width) for mark in picture.strips[1].marks] == [(0, 100)]
    marks = picture.strips[0].marks
    assert [mark.severity for mark in marks] == ["warning", "warning", "critical"]
    assert [(mark.x, mark.width) for mark in marks] == [(0, 3), (997, 3), (500, 50)]
    assert [name for name, _ in picture.listed] == ["School", "School", "a", "School"]
    assert picture.dates == ["1 March", "6 March", "11 March"]
    assert round(picture.share, 2) == round(100 * 36.1 / (5 * 240), 2)


def test_a_rule_on_the_whole_site_has_one_strip() -> None:
    picture = draw_backtest(backtest([alert(None, 0, 120)]), {}, FORMATTER)
    assert picture is not None
    assert [(strip.name, strip.count) for strip in picture.strips] == [("", 1)]
    assert (picture.quiet, picture.share) == (0, 50)


def test_many_boxes_and_alerts_are_cut() -> None:
    alerts = [alert(f"box-{number:03}", number, 1) for number in range(60)]
    picture = draw_backtest(backtest(alerts, boxes=60), {}, FORMATTER)
    assert picture is not None
    assert len(picture.strips) == STRIPS
    assert picture.hidden == 60 - STRIPS
    assert (len(picture.listed), picture.unlisted) == (LISTED, 60 - LISTED)
    assert picture.listed[0][0] == "box-059"


def test_ticks_are_local_midnights_also_across_a_change_of_clock() -> None:
    start = datetime(2026, 3, 28, 23, tzinfo=UTC)
    ticks = list_ticks(start, start + timedelta(days=4), FORMATTER)
    # The 29th of March has 23 hours in Paris.
    assert ticks == [round(WIDTH * hours / 96, 2) for hours in (23, 47, 71, 95)]
    for days, most in ((30, 8), (90, 8), (366, 8)):
        assert 3 <= len(list_ticks(START, START + timedelta(days=days), FORMATTER)) <= most
