"""Defines the JSON schemas of the state of an installation."""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

_HOST: Final = "10.0.0.1"
_RUNBOOK: Final = "runbooks/VigieEdgeSilent"
_SEEN_AT: Final = "2026-11-24T10:00:00Z"
_EXAMPLE: Final[dict[str, Any]] = {
    "mode": "cluster",
    "problems": [
        {
            "code": "edge_silent",
            "severity": "warning",
            "subject": "edge-c",
            "detail": "The edge has not reported for 42 s.",
            "action": "On its machine: systemctl status vigie-edge. If it is gone for good: "
            "DELETE /v1/cluster/edges/edge-c",
            "runbook": _RUNBOOK,
        }
    ],
    "edges": [
        {
            "name": "edge-a",
            "host": _HOST,
            "port": 1883,
            "state": "alive",
            "connected": True,
            "boxes": 5120,
            "unsent_messages": 12,
            "drained_at": "2026-11-24T09:59:59Z",
            "seen_at": _SEEN_AT,
            "started_at": "2026-11-20T08:00:00Z",
            "problem": "log_full",
        }
    ],
    "partitions": [
        {
            "number": 0,
            "worker": "machine-a-4711",
            "owned": True,
            "position": 90412,
            "newest_position": 90415,
            "lag_records": 3,
            "committed_at": _SEEN_AT,
            "leader": "log-a",
            "replicas": ["log-a", "log-b", "log-c"],
            "in_sync": ["log-a", "log-b", "log-c"],
            "bytes": 73400320,
            "lost_records": 2,
            "lost_at": "2026-10-02T16:20:00Z",
        }
    ],
    "workers": [{"name": "machine-a-4711", "partitions": 6}],
    "database_hosts": [
        {"host": "db-b:5432", "role": "standby", "lag_bytes": 0, "lag_s": 0.0, "synchronous": True},
    ],
    "standby_reads": {
        "enabled": True,
        "host": "db-b:5432",
        "max_lag_s": 0.25,
        "standby_count": 4810,
        "primary_count": 21,
        "standby_percent": 99.6,
        "fallbacks": {"lag": 20, "conflict": 1},
        "fault": "lag",
    },
    "processes": [{"role": "maintain", "instance": "machine-a:4712", "state": "working", "age_s": 0.8}],
    "locks": [{"name": "maintainer", "held": True, "holders": ["machine-a:4712"]}],
}


class ClusterProblemOut(BaseModel):
    """Something that needs an operator, or that cannot be read now."""

    code: str = Field(description="A stable code", examples=["edge_silent"])
    severity: Literal["critical", "warning"] = Field(
        description="`critical`: data wait, or the next failure may lose some; `warning`: look at it today"
    )
    subject: str = Field(description="The edge, host or partitions that it concerns", examples=["edge-c"])
    detail: str = Field(description="What is wrong", examples=["The edge has not reported for 42 s."])
    action: str = Field(description="What to do", examples=["On its machine: systemctl status vigie-edge"])
    runbook: str = Field(
        description="Its runbook in the guides, below `/docs/guides/`", examples=["runbooks/VigieEdgeSilent"]
    )


class ClusterEdgeOut(BaseModel):
    """An edge: a broker, and the process that drains it into the log."""

    name: str = Field(description="Its name", examples=["edge-a"])
    host: str = Field(description="Where other machines reach its broker", examples=[_HOST])
    port: int = Field(description="The port", examples=[1883])
    state: Literal["alive", "silent"] = Field(description="`silent`: it has not reported for ten seconds")
    connected: bool = Field(description="Whether it was connected to its broker when it last reported")
    boxes: int | None = Field(description="Clients that are connected to its broker; null: not known")
    unsent_messages: int = Field(description="Messages that it has received and the log does not have yet")
    drained_at: datetime | None = Field(
        description="All that its broker had delivered by then is in the log; null: not known yet"
    )
    seen_at: datetime = Field(description="When it last reported")
    started_at: datetime = Field(description="When its process started")
    problem: str | None = Field(
        description="Why it cannot work: `broker_unreachable`, `log_unavailable`, `log_full`, `name_in_use`; "
        "null: it works"
    )


class ClusterPartitionOut(BaseModel):
    """A partition of the message log."""

    number: int = Field(description="Its number")
    worker: str | None = Field(
        description="The worker that reads it, or did so last; null: none yet", examples=["machine-a-4711"]
    )
    owned: bool = Field(description="Whether that worker holds it now")
    position: int = Field(description="Position of the last record that is committed in the database")
    newest_position: int | None = Field(
        description="Position of the newest record of the log; null: not known"
    )
    lag_records: int | None = Field(
        description="Records that are not committed yet; with RabbitMQ and Kafka, where positions measure "
        "bytes, an upper bound; null: not known"
    )
    committed_at: datetime | None = Field(description="When the position last advanced; null: never")
    leader: str | None = Field(description="The node of the log that leads it; null: none, or not known")
    replicas: list[str] = Field(description="The nodes that hold it; empty: not known")
    in_sync: list[str] = Field(description="Those that are up to date; empty: not known")
    bytes: int | None = Field(
        description="Bytes of the records that were not trimmed, as they count against "
        "`VIGIE_MESSAGE_LOG__MAX_BYTES`; null: not known"
    )
    lost_records: int = Field(
        description="Records that the log removed before they were read, since it came into use; with "
        "RabbitMQ and Kafka an upper bound"
    )
    lost_at: datetime | None = Field(
        description="When the log was last found to have lost records; null: never"
    )


class ClusterWorkerOut(BaseModel):
    """An ingest worker that reads the message log."""

    name: str = Field(description="Its machine and process id", examples=["machine-a-4711"])
    partitions: int = Field(description="Number of partitions that it holds")


class ClusterDatabaseHostOut(BaseModel):
    """A host of the database."""

    host: str = Field(description="Its name and port", examples=["db-a:5432"])
    role: Literal["primary", "standby", "unreachable"] = Field(description="Its role now")
    lag_bytes: int | None = Field(
        description="Of a standby: the write-ahead log that it has not replayed; null: not known"
    )
    lag_s: float | None = Field(
        description="Of a standby: age of its newest data, in seconds; 0 if it has all; null: not known"
    )
    synchronous: bool | None = Field(
        description="Of a standby: whether commits wait for it; null: the primary does not show it"
    )


class ClusterStandbyReadsOut(BaseModel):
    """Reads that may run on a standby of the database, of the API process that answers, since it started."""

    enabled: bool = Field(description="Whether they may (`VIGIE_DATABASE__STANDBY_READS`)")
    host: str | None = Field(
        description="The standby that the process connected to last; null: none", examples=["db-b:5432"]
    )
    max_lag_s: float = Field(
        description="How long a read waits until the standby has all that was committed before, in seconds"
    )
    standby_count: int = Field(description="Number of reads that a standby answered")
    primary_count: int = Field(description="Number of reads that the primary answered instead")
    standby_percent: float | None = Field(description="Share of those of the standby; null: there were none")
    fallbacks: dict[str, int] = Field(
        description="Those that the primary answered, by reason: `lag`, `unreachable`, `no_answer` (the "
        "standby did not answer), `conflict` (its recovery ended the read), `slow` (a statement took too "
        "long), `timeline`, `promoted`, `busy`, `primary_unreachable`"
    )
    fault: str | None = Field(description="The reason why reads run on the primary now; null: there is none")


class ClusterProcessOut(BaseModel):
    """A process, by its last heartbeat. One that ended in good order has none."""

    role: str = Field(description="Its role", examples=["ingest"])
    instance: str = Field(description="Its machine and process id", examples=["machine-a:4711"])
    state: str = Field(description="What it said of itself", examples=["consuming"])
    age_s: float = Field(description="Age of the heartbeat in seconds; above 10 the process is silent")


class ClusterLockOut(BaseModel):
    """A lock that selects the process which does a task."""

    name: Literal["maintainer", "consumer", "configuration_publisher"] = Field(
        description="The task: periodic jobs, ingest (shared by the workers of a log), configurations"
    )
    held: bool = Field(description="Whether a process holds it now")
    holders: list[str] = Field(
        description="The processes that do the task, by their heartbeats; empty: not known",
        examples=[["machine-a:4712"]],
    )


class ClusterOut(BaseModel):
    """The state of all machines. What cannot be read is empty or null, and named in `problems`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    mode: Literal["single", "cluster"] = Field(
        description="`cluster`: there is a message log, or a database on several hosts"
    )
    problems: list[ClusterProblemOut] = Field(description="Critical ones first")
    edges: list[ClusterEdgeOut] = Field(description="The edges, by name; empty with a single broker")
    partitions: list[ClusterPartitionOut] = Field(description="The partitions of the message log, by number")
    workers: list[ClusterWorkerOut] = Field(description="The workers that hold partitions, by name")
    database_hosts: list[ClusterDatabaseHostOut] = Field(description="The hosts of the database")
    standby_reads: ClusterStandbyReadsOut = Field(
        description="Which share of series, exports and the public register a standby answers. The metrics "
        "`vigie_database_standby_…` have it of all processes"
    )
    processes: list[ClusterProcessOut] = Field(description="All processes that have a heartbeat")
    locks: list[ClusterLockOut] = Field(description="The locks of which one process at a time has each")
