"""The answer of `GET /v1/cluster` says what the snapshot has, and null where it has nothing."""

import pytest

from app.cluster_status.database_hosts import DatabaseHost
from app.cluster_status.schemas import ClusterOut
from app.cluster_status.snapshot import HeldLock
from app.cluster_status.views import build_cluster
from app.message_log.settings import MessageLogSettings
from app.platform.runtime.heartbeat import HeartbeatRow
from tests.unit.cluster_status.snapshots import (
    NO_READS,
    NODES,
    NOW,
    edge,
    position,
    rows,
    snapshot,
    status,
)


def test_an_installation_of_three_machines() -> None:
    shown = ClusterOut.model_validate(build_cluster(snapshot(), NOW, NO_READS))
    assert shown.mode == "cluster"
    assert shown.problems == []
    first = shown.partitions[0]
    assert (first.worker, first.owned, first.position, first.newest_position) == ("m-1", True, 100, 103)
    assert (first.lag_records, first.leader, first.bytes) == (3, "n1", 4096)
    assert tuple(first.replicas) == tuple(first.in_sync) == NODES
    # The third has no partition yet.
    assert {worker.name: worker.partitions for worker in shown.workers} == {"m-1": 1, "m-2": 1, "m-3": 0}
    assert [host.synchronous for host in shown.database_hosts] == [None, True, False]
    locks = {lock.name: lock for lock in shown.locks}
    assert (locks["maintainer"].held, locks["maintainer"].holders) == (True, ["m:4"])
    assert locks["consumer"].holders == ["m:1", "m:2", "m:3"]
    assert not locks["configuration_publisher"].held


def test_one_broker_and_one_database() -> None:
    single = snapshot(
        settings=MessageLogSettings(),
        rows=rows(edges=[], positions=[]),
        statuses=None,
        hosts=[DatabaseHost("db:5432", "primary")],
    )
    shown = ClusterOut.model_validate(build_cluster(single, NOW, NO_READS))
    assert (shown.mode, shown.edges, shown.partitions, shown.workers) == ("single", [], [], [])


def test_a_database_on_several_hosts_alone_is_a_cluster() -> None:
    assert build_cluster(snapshot(settings=MessageLogSettings()), NOW, NO_READS)["mode"] == "cluster"


def test_what_was_not_read_is_null() -> None:
    shown = ClusterOut.model_validate(build_cluster(snapshot(statuses=None, log_fault="gone"), NOW, NO_READS))
    first = shown.partitions[0]
    assert (first.position, first.newest_position, first.lag_records, first.leader, first.bytes) == (
        *(100, None, None, None),
        None,
    )
    shown = ClusterOut.model_validate(build_cluster(snapshot(rows=None), NOW, NO_READS))
    assert (shown.edges, shown.processes, len(shown.partitions)) == ([], [], 2)


def test_the_newest_position_of_a_partition_without_leader_is_not_known() -> None:
    shown = build_cluster(snapshot(statuses=[status(0, leader=None, newest=0), status(1)]), NOW, NO_READS)
    assert [each["newest_position"] for each in shown["partitions"]] == [None, 103]


def test_a_position_beyond_the_log_is_no_negative_lag() -> None:
    ahead = snapshot(rows=rows(positions=[position(0, position=500), position(1)]))
    assert build_cluster(ahead, NOW, NO_READS)["partitions"][0]["lag_records"] == 0


@pytest.mark.parametrize(("silent_s", "state"), [(9.9, "alive"), (10.0, "silent")])
def test_an_edge_is_silent_after_ten_seconds(silent_s: float, state: str) -> None:
    shown = build_cluster(snapshot(rows=rows(edges=[edge(silent_s=silent_s)])), NOW, NO_READS)
    assert shown["edges"][0]["state"] == state


def test_a_silent_process_holds_no_lock() -> None:
    silent = HeartbeatRow("maintain", "m:4", "working", 11.0)
    shown = build_cluster(
        snapshot(rows=rows(heartbeats=[silent], locks=[HeldLock("maintainer", 1)])), NOW, NO_READS
    )
    assert shown["locks"] == [{"name": "maintainer", "held": True, "holders": []}]


def test_the_share_of_reads_that_a_standby_answers() -> None:
    state = NO_READS._replace(
        enabled=True, host="db-b:5432", standby_count=2, fallbacks={"lag": 3, "conflict": 1}
    )
    shown = ClusterOut.model_validate(build_cluster(snapshot(), NOW, state)).standby_reads
    assert (shown.standby_count, shown.primary_count, shown.standby_percent) == (2, 4, 33.3)
    assert shown.fallbacks == {"lag": 3, "conflict": 1}
    shown = ClusterOut.model_validate(build_cluster(snapshot(), NOW, NO_READS)).standby_reads
    assert (shown.enabled, shown.standby_count, shown.primary_count, shown.standby_percent) == (
        False,
        0,
        0,
        None,
    )
