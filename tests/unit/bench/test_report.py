"""The report's text."""

from bench.report import Report, drains_table, ratios_table, render, steps_section
from bench.results import Drain
from bench.suite import Plan

_PLAN = Plan(messages=200_000, boxes=1_000, repeat=3, letters="acef", seed=1)
_STEPS = {"store": 1.0, "commit": 0.5}
_DRAINS = [
    Drain("a", 200_000, seconds=20.0, cpu={"consumer": 20.0}, peak={"consumer": 2**27}),
    Drain("c", 3_000, seconds=10.0, cpu={"consumer": 2.0, "postgres": 3.0}, stored=3_000),
    Drain(
        "e",
        200_000,
        seconds=2.0,
        stored=199_999,
        lost=1,
        disk=29_000_000,
        steps={"store": 1.0, "commit": 0.5},
    ),
    Drain("f", 200_000, failure="It did not connect to the broker."),
]


def test_what_stores_nothing_has_no_rows_and_what_failed_a_sentence() -> None:
    text = drains_table(_DRAINS)
    assert "| 10,000 | 100.0 | 0.0 | 0.0 | 128 MiB | - | - | - | - | - |" in text
    assert "| 199,999 | 1 | 0 | 14.5 |" in text
    assert "COPY of 4,096: It did not connect to the broker." in text
    assert "| (f)" not in text


def test_ratios_leave_out_what_failed() -> None:
    text = ratios_table(_DRAINS)
    assert "(e) ÷ (a)" in text
    assert "**10.00**" in text
    assert "(f)" not in text


def test_steps_add_up_to_the_whole_drain() -> None:
    text = steps_section(_DRAINS[2])
    assert "| store | 5.00 | 50% |" in text
    assert "| outside the pipeline | 2.50 | 25% |" in text


def test_the_report_names_machine_versions_and_method() -> None:
    report = Report(_PLAN, "2026-11-25", "2 cores", {"Python": "3.13.5"}, _DRAINS, ["## More\n"])
    text = render(report)
    for expected in (
        "200,000 messages of 1,000 boxes",
        "(3,000 for (c)",
        "median of 3",
        "## More",
        "2 cores",
    ):
        assert expected in " ".join(text.split())
    assert "Python 3.13.5" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120
