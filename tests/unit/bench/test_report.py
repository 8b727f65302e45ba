"""The report's text."""

from bench.deliveries import DeliveryRun, EndpointDelays
from bench.fleet import FleetArrival, FleetResult
from bench.http_door import HttpCase, HttpRate
from bench.neighbour import MeasuredTenant, NeighbourCase, list_default_limits
from bench.report import (
    BenchReport,
    drains_table,
    ratios_table,
    render_report,
    replace_section,
    steps_section,
)
from bench.results import DrainResult
from bench.sections import (
    FLEET,
    NEIGHBOUR,
    deliveries_section,
    fleet_section,
    http_section,
    neighbour_section,
)
from bench.suite import BenchPlan

_PLAN = BenchPlan(messages=200_000, boxes=1_000, repeat=3, letters="acef", seed=1)
_SECONDS = (("g", 10.0), ("h", 5.0), ("i", 20.0))
_STEPS = {"store": 1.0, "commit": 0.5}
_DRAINS = [
    DrainResult("a", 200_000, seconds=20.0, cpu={"consumer": 20.0}, peak={"consumer": 2**27}),
    DrainResult("c", 3_000, seconds=10.0, cpu={"consumer": 2.0, "postgres": 3.0}, stored=3_000),
    DrainResult(
        "e",
        200_000,
        seconds=2.0,
        stored=199_999,
        lost=1,
        disk=29_000_000,
        steps={"store": 1.0, "commit": 0.5},
    ),
    DrainResult("f", 200_000, failure="It did not connect to the broker."),
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
    report = BenchReport(_PLAN, "2026-11-25", "2 cores", {"Python": "3.13.5"}, _DRAINS, ["## More\n"])
    text = render_report(report)
    for expected in (
        "200,000 messages of 1,000 boxes",
        "(c) gets only 3,000",
        "medians of 3",
        "## More",
        "2 cores",
    ):
        assert expected in " ".join(text.split())
    assert "Python 3.13.5" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def test_a_section_is_replaced_and_all_else_left() -> None:
    before = "# Performance\n\nText.\n\n## One\n\n1\n\n## Measured on\n\nHere.\n"
    with_two = replace_section(before, "## Two\n\n2\n")
    assert with_two == before.replace("## Measured", "## Two\n\n2\n\n## Measured")
    assert replace_section(with_two, "## Two\n\n3\n") == with_two.replace("2\n", "3\n")
    assert replace_section(before, "## Measured on\n\nThere.\n") == before.replace("Here", "There")


def test_the_fleets_section_says_what_was_lost() -> None:
    found = FleetResult(
        boxes=10_000,
        cold=FleetArrival(half_s=1.0, all_s=2.5, attempts=10_001, cpu_s=0.5),
        seconds=60.0,
        made=9_990,
        memory={"mosquitto before": 2**23, "mosquitto": 2**25, "ingest": 2**27},
        broker_back_s=0.4,
        again=FleetArrival(half_s=2.0, all_s=8.0, attempts=12_000, cpu_s=0.75),
        total=10_050,
        stored=10_049,
        twice=1,
        rejected=0,
        sent=10_100,
        check_us=50.0,
        iterations=101,
    )
    text = fleet_section(found, "2026-11-25: 2 cores")
    assert text.startswith(f"## {FLEET}\n")
    assert "| from cold | 1.0 s | 2.5 s | 10,001 | 0.5 s |" in text
    words = " ".join(text.split())
    for expected in (
        "10,050 samples: 2 lost, 1 twice, 0 refused; 50 were sent again",
        "50 µs",
        "separately on",
    ):
        assert expected in words
    assert "| Mosquitto, with all of them | 32 MiB |" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def test_deliveries_are_held_against_each_other_and_neighbours_against_the_first() -> None:
    sent = [
        DeliveryRun(letter, 20_000, seconds, {"deliver": 4.0}, 2**26, 0, 0) for letter, seconds in _SECONDS
    ]
    others = [
        EndpointDelays("one answering endpoint", (5.0, 10.0)),
        EndpointDelays("one hanging endpoint", (5.0, 10.5)),
    ]
    text = deliveries_section(sent, others)
    assert "| **0.50** | **2.00** |" in text
    assert "| 2,000 | 200 | 0 | 64 MiB | 0 | 0 |" in text
    assert "differs by +5%" in text


def test_a_watched_tenants_p99_is_held_against_that_beside_a_quiet_one() -> None:
    def watched(longest_ms: float, refused: int) -> MeasuredTenant:
        took = [1.0] * 98 + [longest_ms] * 2
        return MeasuredTenant([took, took], 10.0, 250, refused, {"api": 2.0, "clients": 0.5}, [0.5, 0.7])

    found = {
        NeighbourCase(1, "rude"): watched(11.0, 40),
        NeighbourCase(1, "quiet"): watched(10.0, 0),
        NeighbourCase(1, "polite"): watched(10.5, 1),
    }
    text = neighbour_section(found, "2026-11-25: 2 cores")
    assert text.startswith(f"## {NEIGHBOUR}\n")
    rows = [line for line in text.splitlines() if line.startswith("| one key")]
    assert rows[0] == "| one key, quiet | 25 | 0 | 200 | 1.0 | 10.0 | 10.0 | 10 |  | 20% | 5% | 60% |"
    assert "| **1.05** |" in rows[1]
    assert rows[2].startswith("| one key, rude | 25 | 4 |")
    assert "| **1.10** |" in rows[2]
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def test_neighbours_are_held_by_the_default_limits() -> None:
    limits = list_default_limits()
    assert limits["VIGIE_API__RATE_PER_S"] == "25.0"
    assert float(min(limits.values(), key=float)) > 0


def test_rates_of_http_are_per_call_and_per_sample() -> None:
    cpu = {"api": 1.0, "postgres": 0.5, "callers": 0.25}
    rate = HttpRate(HttpCase(10, 32, 1_000), 2.0, 12.34, 56.78, cpu)
    text = http_section([rate], "2026-11-29: 2 cores")
    assert "| 10 | 32 | 500 | 5,000 | 12.3 | 56.8 | 100.0 | 50.0 | 25.0 |" in text
    assert "Measured separately on 2026-11-29: 2 cores." in text
