"""Durations of forms: a number and a unit."""

import pytest

from app.console.rules.rule_durations import duration_of, split_duration
from app.presentation.number_formats import parse_number


@pytest.mark.parametrize(
    ("duration", "amount", "unit"),
    [
        ("PT0S", "0", "min"),
        ("PT90S", "90", "s"),
        ("PT10M", "10", "min"),
        ("PT90M", "90", "min"),
        ("PT1H", "1", "h"),
        ("PT24H", "24", "h"),
        ("P2D", "2", "d"),
        ("PT0.5S", "0.5", "s"),
    ],
)
def test_a_duration_comes_back(duration: str, amount: str, unit: str) -> None:
    assert split_duration(duration) == (amount, unit)
    assert duration_of(parse_number(amount, "en"), unit) in {duration, "PT0.500000S"}


@pytest.mark.parametrize(
    ("amount", "unit", "duration"),
    [
        (None, "min", None),
        (1.5, "h", "PT5400S"),
        (90, "min", "PT90M"),
        (0, "d", "PT0S"),
        (-5, "min", "PT-300S"),
        ("ten", "min", "PTtenM"),
        (5, "fortnights", "5"),
    ],
)
def test_what_is_typed_is_a_duration_or_refused_by_the_api(
    amount: float | str | None, unit: str, duration: str | None
) -> None:
    assert duration_of(amount, unit) == duration
