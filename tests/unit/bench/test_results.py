"""Medians, ratios and percentiles."""

import pytest

from bench.results import DrainResult, middle, percentile, ratios


def _drain(letter: str, seconds: float, failure: str | None = None) -> DrainResult:
    return DrainResult(letter, 1_000, seconds=seconds, failure=failure)


def test_rates_and_cpu_are_by_message() -> None:
    drain = DrainResult("e", 1_000, seconds=0.5, cpu={"consumer": 0.01})
    assert drain.rate == 2_000
    assert drain.cpu_us("consumer") == pytest.approx(10)
    assert drain.cpu_us("mosquitto") == 0


def test_the_middle_is_a_drain_that_was_measured() -> None:
    drains = [_drain("e", 1.0), _drain("e", 4.0), _drain("e", 2.0)]
    assert middle(drains) is drains[2]


def test_a_failure_counts_only_where_all_failed() -> None:
    failed = _drain("f", 0.0, "It ended.")
    assert middle([failed, _drain("f", 1.0)]).failure is None
    assert middle([failed]).failure == "It ended."


def test_ratios_are_the_subjects_rate_by_each_others() -> None:
    drains = [_drain("a", 5.0), _drain("e", 1.0), _drain("d", 0.5), _drain("f", 0.0, "It ended.")]
    assert ratios(drains) == {"a": pytest.approx(5.0), "d": pytest.approx(0.5)}


def test_without_the_subject_there_are_no_ratios() -> None:
    assert ratios([_drain("a", 1.0)]) == {}


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentiles(share: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
