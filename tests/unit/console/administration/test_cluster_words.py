"""Rows and figures of the page on all machines."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.cluster_status import problems
from app.cluster_status.views import build_cluster
from app.console.administration import cluster_words
from tests.unit.cluster_status.snapshots import NO_READS, NOW, edge, position, rows, snapshot, status

DOCS = Path(__file__).parents[4] / "docs"


def cluster(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 (the fields)
    """Return the answer of the API, with times as JSON has them."""
    made = build_cluster(snapshot(**changes), NOW, NO_READS)
    for each in made["partitions"]:
        each["committed_at"] = each["committed_at"] and each["committed_at"].isoformat()
    return made


def test_every_problem_has_a_title_and_a_runbook_that_exists() -> None:
    assert cluster_words.PROBLEMS.keys() == problems.RUNBOOKS.keys()
    for runbook in problems.RUNBOOKS.values():
        page, _, section = runbook.partition("#")
        text = (DOCS / f"{page}.md").read_text()
        headings = [
            line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line[:2] == "##"
        ]
        assert not section or section in headings, runbook


def test_silent_edges_count_for_no_clients() -> None:
    totals = cluster_words.count_totals(cluster(rows=rows(edges=[edge("a"), edge("b", silent_s=40)])))
    assert (totals.edges, totals.edges_alive, totals.boxes) == (2, 1, 100)
    assert (totals.lag_records, totals.hosts, totals.hosts_reached) == (6, 3, 3)
    unread = cluster_words.count_totals(cluster(statuses=None, log_fault="gone"))
    assert unread.lag_records is None


def test_shares_are_those_of_workers_then_of_nobody() -> None:
    later = datetime(2026, 11, 24, 10, 0, 5, tzinfo=UTC)
    positions = [
        position(0),
        position(1, worker="m-2", is_owned=False),
        position(2, committed_at=later),
    ]
    shares = cluster_words.list_shares(
        cluster(rows=rows(positions=positions), statuses=[status(0), status(1), status(2)])
    )
    assert [(each.worker, [*each.partitions], each.lag_records) for each in shares] == [
        ("m-1", [0, 2], 6),
        ("m-2", [], 0),
        ("m-3", [], 0),
        (None, [1], 3),
    ]
    assert shares[0].committed_at == later.isoformat()


def test_processes_are_grouped_by_machine() -> None:
    given = [
        {"role": "ingest", "instance": "b:7"},
        {"role": "api", "instance": "b:12"},
        {"role": "api", "instance": "a.example:3"},
    ]
    found = cluster_words.group_processes(given)
    assert [(name, [each["role"] for each in processes]) for name, processes in found] == [
        ("a.example", ["api"]),
        ("b", ["api", "ingest"]),
    ]


def test_only_waiting_processes_are_marked() -> None:
    states = ("consuming", "serving with 2 workers", "standby", "waiting for the broker", "starting")
    assert [each for each in states if not cluster_words.is_ordinary(each)] == [*states[3:]]


def test_partitions_are_shown_while_something_is_wrong_with_the_log() -> None:
    assert not cluster_words.is_log_wrong(cluster())
    assert not cluster_words.is_log_wrong(cluster(rows=rows(edges=[edge("a"), edge("b", silent_s=40)])))
    assert cluster_words.is_log_wrong(cluster(statuses=[status(0, leader=None), status(1)]))
