"""Makes the answer of `GET /v1/cluster` of a snapshot. Pure."""

from collections import Counter
from datetime import datetime
from typing import Any

from app.cluster_status.problems import find_problems, map_newest_positions
from app.cluster_status.snapshot import ClusterSnapshot, HeldLock, InstallationRows
from app.message_log.message_log import PartitionStatus
from app.message_log.positions import PartitionPosition
from app.platform.broker.edges import RegisteredEdge
from app.platform.db.standby_reads import StandbyReadsState
from app.platform.runtime.heartbeat import HeartbeatRow

_ROLES_OF_LOCKS = {"maintainer": "maintain", "consumer": "ingest"}
_IDLE_STATES = ("standby", "starting", "waiting")


def build_cluster(
    snapshot: ClusterSnapshot, now: datetime, standby_reads: StandbyReadsState
) -> dict[str, Any]:
    """Return the fields of `ClusterOut`.

    Args:
        snapshot: The state.
        now: The time of the database.
        standby_reads: The reads of this process that may run on a standby.
    """
    rows = snapshot.rows or InstallationRows()
    return {
        "mode": "cluster" if snapshot.has_several_machines else "single",
        "problems": [
            {**problem._asdict(), "runbook": problem.runbook} for problem in find_problems(snapshot, now)
        ],
        "edges": [build_edge(edge) for edge in rows.edges],
        "partitions": build_partitions(snapshot, rows),
        "workers": build_workers(rows),
        "database_hosts": [
            {
                "host": host.host,
                "role": host.role,
                "lag_bytes": host.lag_bytes,
                "lag_s": host.lag_s,
                "synchronous": host.is_synchronous,
            }
            for host in snapshot.hosts
        ],
        "standby_reads": build_standby_reads(standby_reads),
        "processes": [each._asdict() for each in sorted(rows.heartbeats)],
        "locks": [build_lock(lock, rows) for lock in rows.locks],
    }


def build_standby_reads(state: StandbyReadsState) -> dict[str, Any]:
    """Return the fields of `ClusterStandbyReadsOut`."""
    primary = sum(state.fallbacks.values())
    total = state.standby_count + primary
    share = round(100 * state.standby_count / total, 1) if total else None
    return {**state._asdict(), "primary_count": primary, "standby_percent": share}


def build_edge(edge: RegisteredEdge) -> dict[str, Any]:
    """Return the fields of `ClusterEdgeOut`."""
    fields = edge._asdict()
    del fields["silent_s"]
    return {**fields, "state": "alive" if edge.is_alive else "silent"}


def build_partitions(snapshot: ClusterSnapshot, rows: InstallationRows) -> list[dict[str, Any]]:
    """Return the fields of `ClusterPartitionOut` for each partition that the database or the log knows."""
    positions = {each.partition: each for each in rows.positions}
    statuses = {each.partition: each for each in snapshot.statuses or ()}
    newest = map_newest_positions(snapshot)
    return [
        _build_partition(number, positions.get(number), statuses.get(number), newest.get(number))
        for number in sorted(positions.keys() | statuses.keys())
    ]


def _build_partition(
    number: int, position: PartitionPosition | None, status: PartitionStatus | None, newest: int | None
) -> dict[str, Any]:
    committed = 0 if position is None else position.position
    return {
        "number": number,
        "worker": None if position is None else position.worker,
        "owned": position is not None and position.is_owned,
        "position": committed,
        "newest_position": newest,
        # A database that was restored, or a log that was recreated, may be ahead.
        "lag_records": None if newest is None else max(0, newest - committed),
        "committed_at": None if position is None else position.committed_at,
        "leader": None if status is None else status.leader,
        "replicas": [] if status is None else list(status.replicas),
        "in_sync": [] if status is None else list(status.in_sync),
        "bytes": None if status is None or status.leader is None else status.size,
        "lost_records": 0 if position is None else position.lost_records,
        "lost_at": None if position is None else position.lost_at,
    }


def build_workers(rows: InstallationRows) -> list[dict[str, Any]]:
    """Return the fields of `ClusterWorkerOut`: those that hold partitions, and those that wait for some."""
    if not rows.positions:
        return []
    held = Counter(each.worker for each in rows.positions if each.is_owned and each.worker is not None)
    # A heartbeat names the same process as `machine:pid`, a worker as `machine-pid`.
    alive = {
        "-".join(each.instance.rsplit(":", 1))
        for each in rows.heartbeats
        if each.role == "ingest" and each.fresh
    }
    return [{"name": name, "partitions": held[name]} for name in sorted(alive | held.keys())]


def build_lock(lock: HeldLock, rows: InstallationRows) -> dict[str, Any]:
    """Return the fields of `ClusterLockOut`."""
    role = _ROLES_OF_LOCKS.get(lock.name)
    holders = sorted(each.instance for each in rows.heartbeats if each.role == role and _works(each))
    return {"name": lock.name, "held": lock.holders > 0, "holders": holders if lock.holders else []}


def _works(heartbeat: HeartbeatRow) -> bool:
    return heartbeat.fresh and not heartbeat.state.startswith(_IDLE_STATES)
