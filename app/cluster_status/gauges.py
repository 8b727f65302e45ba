"""Sets the Prometheus metrics of all machines: a job of the maintainer."""

import asyncio
from contextlib import suppress
from typing import Final

import asyncpg

from app.cluster_status import prometheus_metrics as metrics
from app.cluster_status.log_monitor import LogMonitor
from app.cluster_status.problems import is_without_majority
from app.cluster_status.snapshot import (
    ClusterSnapshot,
    InstallationRows,
    has_several_hosts,
    read_installation_rows,
    read_snapshot,
)
from app.message_log.settings import MessageLogSettings

EVERY_S: Final = 10.0
"""How often the gauges are set (seconds)."""

_ROLE: Final = "vigie_maintain"


class ClusterGauges:
    """Reads the state of all machines, and sets the gauges.

    Args:
        settings: The settings of the log.
        database_url: The address of the database.
    """

    def __init__(self, settings: MessageLogSettings, database_url: str) -> None:
        self._settings = settings
        self._database_url = database_url
        self._monitor = LogMonitor(settings, client="maintain")
        self._standbys: set[str] = set()
        self._reading: asyncio.Task[None] | None = None

    @property
    def is_needed(self) -> bool:
        """Whether there are several machines."""
        return self._settings.engine != "none" or has_several_hosts(self._database_url)

    async def tick(self, connection: asyncpg.Connection) -> None:
        """Read the tables, and the rest in the background: a host that hangs delays no other job."""
        if self._reading is None or self._reading.done():
            rows = await read_installation_rows(connection)
            self._reading = asyncio.create_task(self._update(rows))

    async def _update(self, rows: InstallationRows) -> None:
        async def known() -> InstallationRows:
            return rows

        snapshot = await read_snapshot(
            known(),
            self._settings,
            self._monitor,
            database_url=self._database_url,
            database_role=_ROLE,
        )
        set_gauges(snapshot)
        self._set_lags(snapshot)

    def _set_lags(self, snapshot: ClusterSnapshot) -> None:
        lags = {host.host: host for host in snapshot.hosts if host.role == "standby"}
        for name in self._standbys - lags.keys():
            metrics.REPLICATION_LAG_BYTES.labels(name).set(0)
            metrics.REPLICATION_LAG_SECONDS.labels(name).set(0)
        self._standbys = set(lags)
        for name, host in lags.items():
            metrics.REPLICATION_LAG_BYTES.labels(name).set(host.lag_bytes or 0)
            metrics.REPLICATION_LAG_SECONDS.labels(name).set(host.lag_s or 0.0)

    async def close(self) -> None:
        """Disconnect from the log, and set the gauges to 0: another process sets them now."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        await self._monitor.close()
        for gauge in _GAUGES:
            gauge.set(0)
        for name in self._standbys:
            metrics.REPLICATION_LAG_BYTES.labels(name).set(0)
            metrics.REPLICATION_LAG_SECONDS.labels(name).set(0)
        self._standbys = set()


_GAUGES: Final = (
    *(metrics.EDGES_ALIVE, metrics.EDGES_SILENT, metrics.PARTITIONS_UNOWNED, metrics.PARTITIONS_STOPPED),
    *(metrics.REPLICAS_IN_SYNC, metrics.REPLICAS_MISSING, metrics.LOG_UNREACHABLE),
    *(metrics.HOSTS_UNREACHABLE, metrics.STANDBY_NOT_SYNCHRONOUS),
)


def set_gauges(snapshot: ClusterSnapshot) -> None:
    """Set the gauges without labels."""
    rows, statuses, hosts = snapshot.rows, snapshot.statuses or (), snapshot.hosts
    edges = () if rows is None else rows.edges
    alive = sum(edge.is_alive for edge in edges)
    metrics.EDGES_ALIVE.set(alive)
    metrics.EDGES_SILENT.set(len(edges) - alive)
    metrics.PARTITIONS_UNOWNED.set(sum(not each.is_owned for each in (rows.positions if rows else ())))
    metrics.LOG_UNREACHABLE.set(int(snapshot.log_fault is not None))
    metrics.PARTITIONS_STOPPED.set(sum(map(is_without_majority, statuses)))
    metrics.REPLICAS_IN_SYNC.set(sum(len(each.in_sync) for each in statuses))
    metrics.REPLICAS_MISSING.set(sum(len(each.replicas) - len(each.in_sync) for each in statuses))
    metrics.HOSTS_UNREACHABLE.set(sum(host.role == "unreachable" for host in hosts))
    states = [host.is_synchronous for host in hosts if host.role == "standby"]
    has_primary = any(host.role == "primary" for host in hosts)
    # An owner without the right to see it (None) is no alarm: `vigie doctor` names it.
    metrics.STANDBY_NOT_SYNCHRONOUS.set(
        int(len(hosts) > 1 and has_primary and not any(states) and None not in states)
    )
