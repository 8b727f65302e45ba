"""What is wrong with an installation is found, and what is well is not."""

from datetime import timedelta

import pytest

from app.cluster_status.database_hosts import DatabaseHost
from app.cluster_status.problems import find_problems
from app.cluster_status.snapshot import ClusterSnapshot
from app.message_log.log_ownership import LogInUse
from app.message_log.settings import MessageLogSettings
from tests.unit.cluster_status.snapshots import NOW, edge, position, rows, snapshot, status

PRIMARY = DatabaseHost("db-a:5432", "primary")
LONG_AGO = NOW - timedelta(minutes=5)


def test_a_healthy_installation_has_no_problems() -> None:
    assert find_problems(snapshot(), NOW) == []


def test_neither_has_one_broker_with_one_database() -> None:
    single = snapshot(
        settings=MessageLogSettings(), rows=rows(edges=[], positions=[], log=LogInUse(0, "")), hosts=[PRIMARY]
    )
    assert find_problems(single._replace(statuses=None), NOW) == []
    assert not single.has_several_machines


@pytest.mark.parametrize(
    ("found", "code", "subject"),
    [
        (snapshot(rows=None), "database_unavailable", "database"),
        (snapshot(statuses=None, log_fault="no answer"), "log_unavailable", "log"),
        (
            snapshot(statuses=[status(0, leader=None, in_sync=()), status(1)]),
            "partition_without_majority",
            "partition 0",
        ),
        (
            snapshot(statuses=[status(0, in_sync=("n1",)), status(1)]),
            "partition_without_majority",
            "partition 0",
        ),
        (
            snapshot(statuses=[status(0, in_sync=("n1", "n2")), status(1, in_sync=("n1", "n3"))]),
            "replica_out_of_sync",
            "partitions 0, 1",
        ),
        (
            snapshot(rows=rows(positions=[position(0), position(1, is_owned=False)])),
            "partition_without_owner",
            "partition 1",
        ),
        (
            snapshot(
                rows=rows(positions=[position(0, committed_at=LONG_AGO, acquired_at=LONG_AGO), position(1)])
            ),
            "partition_behind",
            "partition 0",
        ),
        (
            snapshot(settings=MessageLogSettings(engine="jetstream", partitions=3)),
            "partitions_setting_differs",
            "VIGIE_MESSAGE_LOG__PARTITIONS",
        ),
        (
            snapshot(settings=MessageLogSettings(engine="rabbitmq", partitions=2)),
            "log_settings_differ",
            "VIGIE_MESSAGE_LOG__ENGINE",
        ),
        (
            snapshot(rows=rows(positions=[position(0), position(1, lost_records=7, lost_at=LONG_AGO)])),
            "log_records_lost",
            "partition 1",
        ),
        (snapshot(rows=rows(edges=[edge("a"), edge("b", silent_s=11)])), "edge_silent", "b"),
        (snapshot(rows=rows(edges=[edge("a", problem="log_full"), edge("b")])), "edge_has_problem", "a"),
        (snapshot(rows=rows(edges=[])), "no_edge", "edges"),
        (
            snapshot(hosts=[*snapshot().hosts, DatabaseHost("db-d:5432", "primary")]),
            "several_primaries",
            "db-a:5432, db-d:5432",
        ),
        (
            snapshot(hosts=[PRIMARY, DatabaseHost("db-b:5432", "standby", 5 * 2**20, 31.0, True)]),
            "standby_lags",
            "db-b:5432",
        ),
        (
            snapshot(hosts=[PRIMARY, DatabaseHost("db-b:5432", "standby", 0, 0.0, False)]),
            "no_synchronous_standby",
            "database",
        ),
        (
            snapshot(hosts=[PRIMARY, DatabaseHost("db-b:5432", "standby", 0, 0.0, None)]),
            "replication_not_visible",
            "database",
        ),
        (
            snapshot(hosts=[DatabaseHost("db-b:5432", "standby", None, 1.0, None)] * 2),
            "no_primary",
            "database",
        ),
    ],
)
def test_each_problem_is_found_alone_and_says_what_to_do(
    found: ClusterSnapshot, code: str, subject: str
) -> None:
    (problem,) = find_problems(found, NOW)
    assert (problem.code, problem.subject) == (code, subject)
    assert len(problem.action) > 10


def test_a_partition_that_was_taken_over_a_moment_ago_is_not_behind() -> None:
    taken = position(0, committed_at=LONG_AGO, acquired_at=NOW)
    assert find_problems(snapshot(rows=rows(positions=[taken, position(1)])), NOW) == []


def test_a_partition_without_new_records_is_not_behind() -> None:
    quiet = position(0, committed_at=LONG_AGO, acquired_at=LONG_AGO, position=103)
    assert find_problems(snapshot(rows=rows(positions=[quiet, position(1)])), NOW) == []


def test_a_lost_host_is_critical_only_without_a_primary_and_critical_ones_come_first() -> None:
    gone = DatabaseHost("db-c:5432", "unreachable")
    synchronous = DatabaseHost("db-b:5432", "standby", 0, 0.0, True)
    (problem,) = find_problems(snapshot(hosts=[PRIMARY, synchronous, gone]), NOW)
    assert (problem.code, problem.severity) == ("database_host_unreachable", "warning")
    lagging = synchronous._replace(lag_s=99.0)
    found = find_problems(snapshot(hosts=[lagging, gone._replace(host="db-a:5432")]), NOW)
    assert [problem.severity for problem in found] == ["critical", "critical", "warning"]


def test_a_log_that_is_still_in_use_is_reported_by_a_machine_without_one() -> None:
    found = find_problems(snapshot(settings=MessageLogSettings(), statuses=None), NOW)
    assert [problem.code for problem in found] == ["log_settings_differ"]
    assert "jetstream/vigie is in use" in found[0].action
    assert "vigie close-log" in found[0].action


@pytest.mark.parametrize(
    ("counts", "removed"),
    [
        pytest.param((7, 2), "about 9 records of these partitions before", id="counted"),
        pytest.param((0,), None, id="never counted"),
        pytest.param((7, 0), "about 7 records of these partitions before", id="one counted"),
    ],
)
def test_counted_records_may_be_old_ones_and_others_may_be_lost_too(
    counts: tuple[int, ...], removed: str | None
) -> None:
    """A count only grows. The last loss may be a lost tail or a recreated log, which are not counted."""
    at = NOW - timedelta(days=2)
    lost = [
        position(number, lost_records=count, lost_at=at - timedelta(days=number))
        for number, count in enumerate(counts)
    ]
    (found,) = find_problems(snapshot(rows=rows(positions=lost)), NOW)
    assert found.detail.startswith(f"Last found at {at:%Y-%m-%d %H:%M} UTC: the log removed records before")
    assert "lost its newest ones, or was recreated." in found.detail
    assert "Records that it lost otherwise are not counted." in found.detail
    assert ("Since the log came into use" in found.detail) == (removed is not None)
    assert (removed or "") in found.detail


def test_records_that_were_lost_are_reported_for_a_week() -> None:
    lost = [position(0), position(1, lost_records=7, lost_at=NOW - timedelta(days=8))]
    assert find_problems(snapshot(rows=rows(positions=lost)), NOW) == []
