"""Finds the problems of an installation, each with the action that solves it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from app.cluster_status.database_hosts import DatabaseHost
from app.cluster_status.snapshot import ClusterSnapshot, InstallationRows
from app.message_log.log_ownership import LogSettingsCode
from app.message_log.message_log import PartitionStatus
from app.message_log.positions import PartitionPosition

STANDBY_LAG_S: Final = 30.0
"""A standby that is further behind is reported (seconds)."""

PARTITION_LAG_S: Final = 60.0
"""A partition that has records, and was not committed for so long, is reported (seconds)."""

RECORDS_LOST_DAYS: Final = 7
"""Lost records are reported for so long after they were found to be."""

type Severity = Literal["critical", "warning"]


class ClusterProblem(NamedTuple):
    """Something that needs an operator.

    Attributes:
        code: A stable code.
        severity: `critical`: data wait or may be lost with the next failure; `warning`: look at it today.
        subject: The edge, host or partitions that it concerns.
        detail: A description of the problem.
        action: The action that solves it.
    """

    code: str
    severity: Severity
    subject: str
    detail: str
    action: str

    @property
    def runbook(self) -> str:
        """Its runbook in the guides, below `/docs/guides/`."""
        return RUNBOOKS[self.code]


_CLUSTER_RUNBOOKS: Final = "operations/cluster-runbooks"
RUNBOOKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "database_unavailable": f"{_CLUSTER_RUNBOOKS}#lose-a-host-of-the-database",
        "database_host_unreachable": "runbooks/VigieDatabaseHostUnreachable",
        "no_primary": f"{_CLUSTER_RUNBOOKS}#lose-a-host-of-the-database",
        "several_primaries": f"{_CLUSTER_RUNBOOKS}#lose-a-host-of-the-database",
        "no_synchronous_standby": "runbooks/VigieNoSynchronousStandby",
        "standby_lags": "runbooks/VigieStandbyLags",
        "replication_not_visible": f"{_CLUSTER_RUNBOOKS}#who-sees-the-replication",
        "log_unavailable": "runbooks/VigieLogWithoutMajority",
        "partition_without_majority": "runbooks/VigieLogWithoutMajority",
        "replica_out_of_sync": "runbooks/VigieLogReplicaMissing",
        "partition_without_owner": "runbooks/VigiePartitionUnowned",
        "partition_behind": "runbooks/VigiePartitionLags",
        "log_records_lost": "runbooks/VigieLogRecordsLost",
        "log_settings_differ": f"{_CLUSTER_RUNBOOKS}#change-the-log",
        "partitions_setting_differs": f"{_CLUSTER_RUNBOOKS}#change-the-log",
        "no_edge": "runbooks/VigieEdgeSilent",
        "edge_silent": "runbooks/VigieEdgeSilent",
        "edge_has_problem": "runbooks/VigieEdgeHasProblem",
    }
)
"""The runbook of each code: a page of the guides, with its section."""

_EDGE_ACTIONS: Final = {
    "broker_unreachable": "On its machine: systemctl status mosquitto",
    "name_in_use": "Another edge reports under this name: set another VIGIE_EDGE__NAME on one of them",
    "log_unavailable": "See the log's nodes: two of three must run and reach each other",
    "log_full": "Start ingest workers, or raise VIGIE_MESSAGE_LOG__MAX_BYTES",
}
_SUBJECTS: Final[Mapping[LogSettingsCode, str]] = {
    "log_settings_differ": "VIGIE_MESSAGE_LOG__ENGINE",
    "partitions_setting_differs": "VIGIE_MESSAGE_LOG__PARTITIONS",
}
_RUNBOOK: Final = "docs/operations/cluster-runbooks.md"


def find_problems(snapshot: ClusterSnapshot, now: datetime) -> list[ClusterProblem]:
    """List the problems of an installation, critical ones first."""
    found = [*_find_database_problems(snapshot), *_find_host_problems(snapshot.hosts)]
    found += _find_settings_problems(snapshot)
    if snapshot.has_log:
        found += _find_log_problems(snapshot)
        if snapshot.rows is not None:
            found += _find_edge_problems(snapshot.rows)
            found += _find_position_problems(snapshot, snapshot.rows, now)
    return sorted(found, key=lambda problem: problem.severity)


def _find_database_problems(snapshot: ClusterSnapshot) -> Iterator[ClusterProblem]:
    if snapshot.rows is None:
        yield ClusterProblem(
            "database_unavailable",
            "critical",
            "database",
            "The database has not answered in time. Edges, positions and processes are not shown.",
            "See the database hosts in this answer, and `/readyz`",
        )


def _find_settings_problems(snapshot: ClusterSnapshot) -> Iterator[ClusterProblem]:
    difference = snapshot.settings_difference
    if difference is not None:
        yield ClusterProblem(
            difference.code,
            "critical",
            _SUBJECTS[difference.code],
            "Edges and workers with these settings do not start.",
            difference.detail,
        )


def _find_host_problems(hosts: Sequence[DatabaseHost]) -> Iterator[ClusterProblem]:
    for host in hosts:
        if host.role == "unreachable":
            yield ClusterProblem(
                "database_host_unreachable",
                "warning" if any(each.role == "primary" for each in hosts) else "critical",
                host.host,
                "The host has not answered in time.",
                "On the machine: systemctl status patroni; then patronictl -c /etc/patroni/vigie.yml list",
            )
        elif host.role == "standby" and host.lag_s is not None and host.lag_s > STANDBY_LAG_S:
            yield ClusterProblem(
                "standby_lags",
                "warning",
                host.host,
                f"The standby is {host.lag_s:.0f} s behind the primary.",
                "Compare its disk and network with those of the primary. If it lacks WAL: "
                "patronictl -c /etc/patroni/vigie.yml reinit vigie MEMBER",
            )
    if len(hosts) > 1:
        yield from _find_replication_problems(hosts)


def _find_replication_problems(hosts: Sequence[DatabaseHost]) -> Iterator[ClusterProblem]:
    if all(host.role != "primary" for host in hosts):
        yield ClusterProblem(
            "no_primary",
            "critical",
            "database",
            "No host that answers is the primary. Nothing is stored until there is one.",
            f"patronictl -c /etc/patroni/vigie.yml list; two of three etcd members must run ({_RUNBOOK})",
        )
        return
    primaries = [host.host for host in hosts if host.role == "primary"]
    if len(primaries) > 1:
        yield ClusterProblem(
            "several_primaries",
            "critical",
            ", ".join(primaries),
            "Two hosts take writes. Vigie uses the one with the newest timeline.",
            "patronictl -c /etc/patroni/vigie.yml list; stop PostgreSQL where it is not the leader",
        )
    standbys = [host for host in hosts if host.role == "standby"]
    states = [host.is_synchronous for host in standbys]
    if any(states):
        return
    if None in states:
        yield ClusterProblem(
            "replication_not_visible",
            "warning",
            "database",
            "The primary does not show which standby is synchronous.",
            "As an administrator of the server: GRANT pg_read_all_stats TO the owner of the database "
            "(deploy/roles.sql)",
        )
        return
    yield ClusterProblem(
        "no_synchronous_standby",
        "critical",
        "database",
        "Commits wait for no standby: the loss of the primary would lose acknowledged samples.",
        "Start a standby; patronictl -c /etc/patroni/vigie.yml show-config must say synchronous_mode: true",
    )


def _find_edge_problems(rows: InstallationRows) -> Iterator[ClusterProblem]:
    if not any(edge.is_alive for edge in rows.edges):
        yield ClusterProblem(
            "no_edge",
            "critical",
            "edges",
            "No edge reports. No message of a box is stored.",
            "On each edge machine: systemctl status vigie-edge",
        )
    for edge in rows.edges:
        if not edge.is_alive:
            yield ClusterProblem(
                "edge_silent",
                "warning",
                edge.name,
                f"The edge has not reported for {edge.silent_s:.0f} s.",
                "On its machine: systemctl status vigie-edge. If it is gone for good: "
                f"DELETE /v1/cluster/edges/{edge.name}",
            )
        elif edge.problem is not None:
            action = _EDGE_ACTIONS.get(edge.problem, "Read the log of vigie-edge on its machine")
            yield ClusterProblem(
                "edge_has_problem", "critical", edge.name, f"The edge reports `{edge.problem}`.", action
            )


def _find_log_problems(snapshot: ClusterSnapshot) -> Iterator[ClusterProblem]:
    if snapshot.log_fault is not None:
        yield ClusterProblem(
            "log_unavailable",
            "critical",
            "log",
            "The message log does not answer. Edges and boxes keep their messages.",
            f"On its nodes: systemctl status nats-server; two of three must run ({_RUNBOOK})",
        )
    yield from _find_replica_problems(snapshot.statuses or ())


def _find_replica_problems(statuses: Sequence[PartitionStatus]) -> Iterator[ClusterProblem]:
    stopped = [status.partition for status in statuses if is_without_majority(status)]
    if stopped:
        yield ClusterProblem(
            "partition_without_majority",
            "critical",
            _list_numbers(stopped),
            "Too few replicas are up to date: nothing can be appended. Edges keep the messages.",
            "Start the log's nodes that are down: nats server list; systemctl start nats-server",
        )
    degraded = [each for each in statuses if len(each.in_sync) < len(each.replicas)]
    numbers = [status.partition for status in degraded if status.partition not in stopped]
    if numbers:
        yield ClusterProblem(
            "replica_out_of_sync",
            "warning",
            _list_numbers(numbers),
            "A replica is missing or behind. One more failure stops these partitions.",
            "Start the node that is down, and wait until it has caught up: nats stream report",
        )


def is_without_majority(status: PartitionStatus) -> bool:
    """Return whether nothing can be appended to a partition."""
    return status.leader is None or 2 * len(status.in_sync) <= len(status.replicas)


def _list_numbers(numbers: Sequence[int]) -> str:
    return f"partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _find_position_problems(
    snapshot: ClusterSnapshot, rows: InstallationRows, now: datetime
) -> Iterator[ClusterProblem]:
    lost = [each for each in rows.positions if is_lost_lately(each, now)]
    if lost:
        yield ClusterProblem(
            "log_records_lost",
            "warning",
            _list_numbers([each.partition for each in lost]),
            _describe_lost_records(lost),
            f"Find the cause in the log of the workers and the log's nodes ({_RUNBOOK})",
        )
    unowned = [each.partition for each in rows.positions if not each.is_owned]
    if unowned:
        yield ClusterProblem(
            "partition_without_owner",
            "critical",
            _list_numbers(unowned),
            "No worker reads them. Their messages wait in the log.",
            "Start an ingest worker: systemctl start vigie-ingest. It takes free partitions within a second",
        )
    newest = map_newest_positions(snapshot)
    behind = [each.partition for each in rows.positions if is_behind(each, newest.get(each.partition), now)]
    if behind:
        yield ClusterProblem(
            "partition_behind",
            "critical",
            _list_numbers(behind),
            f"Records wait, and none was committed for {PARTITION_LAG_S:.0f} s.",
            "Read the log of their workers: journalctl -u vigie-ingest",
        )


def _describe_lost_records(lost: Sequence[PartitionPosition]) -> str:
    """Describe losses: removed records are counted since the log came into use, others are not counted."""
    last = max(each.lost_at for each in lost if each.lost_at is not None)
    found = (
        f"Last found at {last.astimezone(UTC):%Y-%m-%d %H:%M} UTC: the log removed records before they were "
        "read, lost its newest ones, or was recreated."
    )
    removed = sum(each.lost_records for each in lost)
    counted = (
        f" Since the log came into use, it removed about {removed} records of these partitions before they "
        "were read."
    )
    others = " Records that it lost otherwise are not counted. Boxes with `ack` repeat theirs."
    return f"{found}{counted if removed else ''}{others}"


def map_newest_positions(snapshot: ClusterSnapshot) -> dict[int, int]:
    """Map each partition to the position of its newest record, where the log says it."""
    return {each.partition: each.newest for each in snapshot.statuses or () if each.leader is not None}


def is_lost_lately(position: PartitionPosition, now: datetime) -> bool:
    """Return whether records of a partition were found to be lost in the last days."""
    return position.lost_at is not None and now - position.lost_at < timedelta(days=RECORDS_LOST_DAYS)


def is_behind(position: PartitionPosition, newest: int | None, now: datetime) -> bool:
    """Return whether records of a partition wait, and its worker has committed none for a while."""
    if not position.is_owned or newest is None or newest <= position.position:
        return False
    times = [at for at in (position.committed_at, position.acquired_at) if at is not None]
    return bool(times) and (now - max(times)).total_seconds() > PARTITION_LAG_S
