"""`vigie doctor` has a line for each machine, and one for each problem with what to do."""

from app.cluster_status.database_hosts import DatabaseHost
from app.cluster_status.snapshot import ClusterSnapshot
from app.standalone.doctor_cluster import describe_cluster
from tests.unit.cluster_status.snapshots import NOW, edge, position, rows, snapshot, status


def lines(found: ClusterSnapshot) -> list[str]:
    return [str(finding) for finding in describe_cluster(found, NOW)]


def test_a_healthy_installation_has_a_line_for_each_machine_and_nothing_to_do() -> None:
    current = rows(positions=[position(0, position=103), position(1, position=103)])
    assert lines(snapshot(rows=current)) == [
        "ok       edge a: 10.0.0.1:1883, 100 boxes, 0 messages not appended",
        "ok       edge b: 10.0.0.1:1883, 100 boxes, 0 messages not appended",
        "ok       log node n1: 2 of 2 partitions up to date, leads 2",
        "ok       log node n2: 2 of 2 partitions up to date, leads 0",
        "ok       log node n3: 2 of 2 partitions up to date, leads 0",
        "ok       partitions: 2, all records are committed",
        "ok       database host db-a:5432: primary",
        "ok       database host db-b:5432: standby, 0.0 s behind, synchronous",
        "ok       database host db-c:5432: standby, 0.0 s behind, asynchronous",
    ]


def test_what_is_wrong_says_what_to_do() -> None:
    found = lines(
        snapshot(
            rows=rows(
                edges=[edge("a"), edge("b", silent_s=42)],
                positions=[position(0, is_owned=False), position(1)],
            ),
            statuses=[status(0, in_sync=("n1", "n2")), status(1)],
            hosts=[DatabaseHost("db-a:5432", "primary"), DatabaseHost("db-b:5432", "unreachable")],
        )
    )
    assert "note     edge b: silent for 42 s" in found
    assert "note     log node n3: 1 of 2 partitions up to date, leads 0" in found
    assert "ok       partition 1: 3 records to commit, worker m-1" in found
    assert "note     database host db-b:5432: unreachable" in found
    problems = {line.split(": ")[1]: line for line in found if "fix: " in line}
    assert problems.keys() == {
        *("partition_without_owner", "no_synchronous_standby", "database_host_unreachable"),
        *("edge_silent", "replica_out_of_sync"),
    }
    assert problems["partition_without_owner"].startswith("missing  partition 0")
    assert problems["edge_silent"].startswith("note     b")
