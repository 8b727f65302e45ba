"""A back-test says on how much data it rests."""

from typing import Any

from app.console.rules.backtest_coverage import describe_coverage
from app.presentation.local_formatter import LocalFormatter

ENGLISH = LocalFormatter("en")


def backtest(coverage: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "from": "2026-10-01T00:00:00Z",
        "to": "2026-10-31T00:00:00Z",
        "result": {"coverage": coverage},
    }


def coverage(**changes: object) -> dict[str, Any]:
    return {
        "boxes": 5,
        "boxes_with_values": 4,
        "longest_s": 420.0,
        "share": 0.0001,
        "measured": [{"name": "pm10", "values": 28, "lowest": 11.25, "highest": 41.6, "thresholds": [80.0]}],
        **changes,
    }


def test_seven_minutes_of_a_month_are_scant() -> None:
    found = describe_coverage(backtest(coverage()), {}, ENGLISH)
    assert found is not None
    assert (found.is_scant, found.is_nearly_all, found.boxes, found.boxes_without) == (True, False, 4, 1)
    (seen,) = found.seen
    assert (seen.name, seen.thresholds) == ("PM10", "80\xa0µg/m³")
    assert "41.6" in seen.highest


def test_a_month_is_enough() -> None:
    found = describe_coverage(backtest(coverage(longest_s=2_590_000.0, share=0.99)), {}, ENGLISH)
    assert found is not None
    assert (found.is_scant, found.is_nearly_all) == (False, True)


def test_an_index_has_its_title_and_no_threshold() -> None:
    index = {"name": "eaqi", "values": 2, "lowest": 1.0, "highest": 3.0, "thresholds": []}
    found = describe_coverage(backtest(coverage(measured=[index])), {"eaqi": ("Air quality", "1")}, ENGLISH)
    assert found is not None
    assert [(each.name, each.thresholds) for each in found.seen] == [("Air quality", "")]


def test_without_a_result_or_values_there_is_nothing_to_say() -> None:
    assert describe_coverage({**backtest(None), "result": None}, {}, ENGLISH) is None
    assert describe_coverage(backtest(None), {}, ENGLISH) is None
