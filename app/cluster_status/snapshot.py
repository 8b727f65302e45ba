"""Reads the state of all machines of an installation at one time.

A part that cannot be read is left out with the reason; the rest is shown. Everything is read at the same
time, and nothing takes longer than two seconds.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final, NamedTuple

from app.cluster_status.database_hosts import DatabaseHost, read_database_hosts
from app.cluster_status.log_monitor import LogMonitor
from app.message_log.log_ownership import LogInUse, LogSettingsError, find_difference, find_log_in_use
from app.message_log.message_log import LogUnavailableError, PartitionStatus
from app.message_log.positions import PartitionPosition, list_positions
from app.message_log.settings import MessageLogSettings
from app.platform.broker.edges import RegisteredEdge, list_edges
from app.platform.db.advisory_lock_keys import CONFIG_PUBLISHER, CONSUMER, MAINTAINER
from app.platform.db.database import RawConnection
from app.platform.db.primary_connection import split_hosts
from app.platform.runtime.heartbeat import HeartbeatRow, list_heartbeats

DATABASE_TIMEOUT_S: Final = 1.0
"""How long the database may take to answer (seconds)."""

_LOCK_NAMES: Final = {
    MAINTAINER: "maintainer",
    CONSUMER: "consumer",
    CONFIG_PUBLISHER: "configuration_publisher",
}
_LOCKS: Final = """
SELECT wanted.key, count(l.pid) FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (key, place)
LEFT JOIN pg_locks l ON l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32 | l.objid::bigint) = wanted.key
GROUP BY wanted.key, wanted.place ORDER BY wanted.place
"""


class HeldLock(NamedTuple):
    """A lock that selects the process which does a task.

    Attributes:
        name: The task.
        holders: Number of processes that hold it: several only where they share it.
    """

    name: str
    holders: int


class InstallationRows(NamedTuple):
    """The rows of the tables that describe the installation.

    Attributes:
        edges: The edges.
        positions: The partitions of the log, and their workers.
        heartbeats: The processes.
        locks: The locks.
        log: The log in use.
    """

    edges: Sequence[RegisteredEdge] = ()
    positions: Sequence[PartitionPosition] = ()
    heartbeats: Sequence[HeartbeatRow] = ()
    locks: Sequence[HeldLock] = ()
    log: LogInUse = LogInUse(0, "")


class ClusterSnapshot(NamedTuple):
    """The state of an installation.

    Attributes:
        settings: The settings of the log.
        rows: The rows of the tables; None: the database does not answer.
        statuses: The status of each partition of the log; None: it does not answer, or there is none.
        log_fault: The error of the log.
        hosts: The hosts of the database.
    """

    settings: MessageLogSettings
    rows: InstallationRows | None
    statuses: Sequence[PartitionStatus] | None
    log_fault: str | None
    hosts: Sequence[DatabaseHost]

    @property
    def has_log(self) -> bool:
        """Whether a replicated log stands between several brokers and the workers."""
        return self.settings.engine != "none"

    @property
    def has_several_machines(self) -> bool:
        """Whether there is a log, or a database on several hosts."""
        return self.has_log or len(self.hosts) > 1

    @property
    def settings_difference(self) -> LogSettingsError | None:
        """The differences between the settings and the log in use."""
        return None if self.rows is None else find_difference(self.settings, self.rows.log)


async def read_installation_rows(connection: RawConnection) -> InstallationRows:
    """Read edges, partitions, heartbeats and locks."""
    locks = await connection.fetch(_LOCKS, list(_LOCK_NAMES))
    return InstallationRows(
        await list_edges(connection),
        await list_positions(connection),
        await list_heartbeats(connection),
        [HeldLock(_LOCK_NAMES[key], number) for key, number in locks],
        await find_log_in_use(connection),
    )


async def read_snapshot(
    reading: Awaitable[InstallationRows | None],
    settings: MessageLogSettings,
    monitor: LogMonitor,
    *,
    database_url: str,
    database_role: str | None,
) -> ClusterSnapshot:
    """Read the tables, the log and the hosts of the database.

    Args:
        reading: Reads the tables within `DATABASE_TIMEOUT_S`; None: the database does not answer.
        settings: The settings of the log.
        monitor: The connection to the log.
        database_url: The address of the database.
        database_role: The database role to use at its hosts; None: that of the login.
    """
    hosts, (rows, statuses, fault) = await asyncio.gather(
        read_database_hosts(database_url, role=database_role), _read_and_describe(reading, settings, monitor)
    )
    return ClusterSnapshot(settings, rows, statuses, fault, hosts)


async def _read_and_describe(
    reading: Awaitable[InstallationRows | None], settings: MessageLogSettings, monitor: LogMonitor
) -> tuple[InstallationRows | None, list[PartitionStatus] | None, str | None]:
    """Read the tables, then describe the log, unless this would create its partitions."""
    rows = await reading
    is_used = monitor.is_open if rows is None else rows.log.partitions == settings.partitions
    if settings.engine == "none" or not is_used:
        return rows, None, None
    try:
        return rows, await monitor.describe(), None
    except (LogUnavailableError, ValueError) as error:
        return rows, None, str(error)


def has_several_hosts(database_url: str) -> bool:
    """Return whether a database address names several hosts."""
    return len(split_hosts(database_url)) > 1
