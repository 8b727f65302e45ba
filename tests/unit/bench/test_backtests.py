"""The report's section on back-tests."""

from bench.backtests import RULES, BacktestRun
from bench.sections import BACKTESTS, backtests_section


def test_seconds_and_samples_a_second_are_told() -> None:
    tried = [BacktestRun(name, 525_600, 4.0, 12) for name in RULES]
    text = backtests_section(tried, "2026-11-25: 2 cores")
    assert text.startswith(f"## {BACKTESTS}\n")
    assert f"| {next(iter(RULES))} | 525,600 | 4.0 s | 131,400 | 12 |" in text
    assert "separately on 2026-11-25" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120
