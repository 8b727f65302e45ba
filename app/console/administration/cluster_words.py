"""Holds the words of the page on all machines for values of the API, and prepares its rows. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from app.console.framework.page_translation import mark_text

SILENT_S: Final = 10.0
"""A process whose heartbeat is older is silent (seconds), as in `GET /v1/cluster`."""

PROBLEMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "database_unavailable": mark_text("The database does not answer"),
        "database_host_unreachable": mark_text("A database host does not answer"),
        "no_primary": mark_text("The database has no primary"),
        "several_primaries": mark_text("The database has several primaries"),
        "no_synchronous_standby": mark_text("No standby is synchronous"),
        "standby_lags": mark_text("A standby is behind"),
        "replication_not_visible": mark_text("The replication is not visible"),
        "log_unavailable": mark_text("The message log does not answer"),
        "partition_without_majority": mark_text("Partitions cannot be written"),
        "replica_out_of_sync": mark_text("A replica is missing or behind"),
        "partition_without_owner": mark_text("Nobody reads some partitions"),
        "partition_behind": mark_text("Messages wait in the log"),
        "log_records_lost": mark_text("The message log has lost records"),
        "log_settings_differ": mark_text("The settings name another message log"),
        "partitions_setting_differs": mark_text("The number of partitions differs"),
        "no_edge": mark_text("No edge reports"),
        "edge_silent": mark_text("An edge is silent"),
        "edge_has_problem": mark_text("An edge cannot work"),
    }
)
"""The title of each problem, by its code."""
SUBJECTS: Final[Mapping[str, str]] = MappingProxyType(
    {"database": mark_text("database"), "edges": mark_text("edges"), "log": mark_text("log")}
)
"""The subjects of problems that are words; the others are names and numbers."""
EDGE_PROBLEMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "broker_unreachable": mark_text("no connection to its broker"),
        "log_unavailable": mark_text("no connection to the log"),
        "log_full": mark_text("the log is full"),
        "name_in_use": mark_text("its name is in use"),
    }
)
"""Why an edge cannot work, by its code."""
DATABASE_ROLES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "primary": (mark_text("primary"), "good"),
        "standby": (mark_text("standby"), ""),
        "unreachable": (mark_text("does not answer"), "bad"),
    }
)
"""Text and colour of each role of a database host."""
TASKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "maintainer": mark_text("Periodic jobs"),
        "consumer": mark_text("Storing messages"),
    }
)
"""The tasks that a lock gives to a process, or to the workers of the log."""

_API_STATES: Final = "serving"
_ORDINARY_STATES: Final = frozenset({"consuming", "draining", "delivering", "working", "standby"})
_OF_LOG: Final = ("log_", "partition_", "replica_")


class ClusterTotals(NamedTuple):
    """The figures above the tables.

    Attributes:
        edges: The number of edges.
        edges_alive: Those that report.
        boxes: Clients of all brokers; None: not known.
        unsent_messages: Messages that the log does not have yet.
        lag_records: Records of the log that are not stored yet; None: not known.
        hosts: The number of database hosts.
        hosts_reached: Those that answer.
    """

    edges: int
    edges_alive: int
    boxes: int | None
    unsent_messages: int
    lag_records: int | None
    hosts: int
    hosts_reached: int


def count_totals(cluster: Mapping[str, Any]) -> ClusterTotals:
    """Count the figures of an installation, as `GET /v1/cluster` describes it."""
    edges, hosts = cluster["edges"], cluster["database_hosts"]
    alive = [edge for edge in edges if edge["state"] == "alive"]
    boxes = [edge["boxes"] for edge in alive if edge["boxes"] is not None]
    lags = [each["lag_records"] for each in cluster["partitions"] if each["lag_records"] is not None]
    return ClusterTotals(
        edges=len(edges),
        edges_alive=len(alive),
        boxes=sum(boxes) if boxes else None,
        unsent_messages=sum(edge["unsent_messages"] for edge in alive),
        lag_records=sum(lags) if lags else None,
        hosts=len(hosts),
        hosts_reached=sum(host["role"] != "unreachable" for host in hosts),
    )


class WorkerShare(NamedTuple):
    """The partitions of the message log that one ingest process stores.

    Attributes:
        worker: The process; None: no process stores these partitions.
        partitions: Their numbers.
        lag_records: Records that are not stored yet; None: not known.
        committed_at: When it last stored some; None: never.
    """

    worker: str | None
    partitions: Sequence[int]
    lag_records: int | None
    committed_at: str | None


def list_shares(cluster: Mapping[str, Any]) -> list[WorkerShare]:
    """List the shares of all workers by name, then the partitions that no worker stores."""
    held: dict[str | None, list[Mapping[str, Any]]] = {each["name"]: [] for each in cluster["workers"]}
    for each in cluster["partitions"]:
        held.setdefault(each["worker"] if each["owned"] else None, []).append(each)
    return [_make_share(name, held[name]) for name in sorted(held, key=lambda name: (name is None, name))]


def _make_share(worker: str | None, partitions: Sequence[Mapping[str, Any]]) -> WorkerShare:
    lags = [each["lag_records"] for each in partitions if each["lag_records"] is not None]
    times = [each["committed_at"] for each in partitions if each["committed_at"] is not None]
    return WorkerShare(
        worker,
        [each["number"] for each in partitions],
        sum(lags) if lags or not partitions else None,
        max(times, key=datetime.fromisoformat, default=None),
    )


def is_log_wrong(cluster: Mapping[str, Any]) -> bool:
    """Return whether a problem concerns the message log: then its partitions are shown."""
    return any(each["code"].startswith(_OF_LOG) for each in cluster["problems"])


def is_ordinary(state: str) -> bool:
    """Return whether a process with this state works or stands by."""
    return state in _ORDINARY_STATES or state.startswith(_API_STATES)


def group_processes(
    processes: Sequence[Mapping[str, Any]],
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Group processes by their machine, in the order of names and roles."""
    machines: dict[str, list[Mapping[str, Any]]] = {}
    for each in sorted(processes, key=lambda process: (process["instance"], process["role"])):
        machines.setdefault(each["instance"].rpartition(":")[0], []).append(each)
    return [
        (name, sorted(found, key=lambda process: process["role"])) for name, found in sorted(machines.items())
    ]
