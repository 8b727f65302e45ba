"""Records what a stack uses while it runs: memory, descriptors, connections, WAL, disk, and its delays."""

import time
from typing import Final

import asyncpg
import psutil

from app.standalone.private_postgres import PrivatePostgres
from tools.rehearsals.city_load import CityLoad
from tools.rehearsals.http_load import HttpLoad
from tools.rehearsals.report import RehearsalError
from tools.rehearsals.role_processes import RehearsedServices
from tools.rehearsals.soak_slopes import SoakRecord

_MIB: Final = 1_048_576
_DATABASE: Final = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
          AND pid <> pg_backend_pid()) AS connections,
       pg_current_wal_lsn() - '0/0'::pg_lsn AS wal,
       (SELECT sum(size) FROM pg_ls_waldir()) AS wal_files,
       (SELECT count(*) FROM deliveries WHERE state = 'pending') AS pending,
       hypertable_size('samples') AS samples
"""
_GROUPS: Final = """
SELECT CASE WHEN relname ~ '^(alert|incident)' THEN 'alerts'
            WHEN relname ~ '^(outbox|deliver|webhook|endpoint)' THEN 'outbox and deliveries'
            ELSE 'other tables' END AS part,
       sum(pg_total_relation_size(oid))::bigint AS bytes
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace GROUP BY 1
"""


class SoakRecorder:
    """Records the resource use and delays of a running stack.

    Args:
        services: database, broker and processes.
        load: the load by MQTT and HTTP.
        others: further load by HTTP, by name.
        connection: of a superuser, for all records.
    """

    def __init__(
        self,
        services: RehearsedServices,
        load: CityLoad,
        others: dict[str, HttpLoad],
        connection: asyncpg.Connection,
    ) -> None:
        self._services = services
        self._load = load
        self._calls = {"api": load.http, **others}
        self._connection = connection
        self._began = self._last_at = time.monotonic()
        self._last_wal = 0.0
        self.records: list[SoakRecord] = []

    async def take(self) -> None:
        """Add a record. The first call only sets the base of rates."""
        now = time.monotonic()
        database = await self._connection.fetchrow(_DATABASE)
        if database is None:
            raise RehearsalError("the database did not answer")
        wal = float(database["wal"])
        values = {
            **self._read_processes(),
            "connections": float(database["connections"]),
            "WAL rate": (wal - self._last_wal) / (now - self._last_at) / _MIB if self._last_wal else 0.0,
            "disk WAL files": float(database["wal_files"]) / _MIB,
            "disk samples": float(database["samples"]) / _MIB,
            "pending deliveries": float(database["pending"]),
            "longest ack": self._load.mqtt.take_longest_ack_s() * 1000,
        }
        for row in await self._connection.fetch(_GROUPS):
            values[f"disk {row['part']}"] = row["bytes"] / _MIB
        for name, calls in self._calls.items():
            if calls.latencies_s:
                ordered = sorted(calls.latencies_s)
                values[f"p95 {name}"] = ordered[int(len(ordered) * 0.95)] * 1000
                calls.latencies_s.clear()
        if self._last_wal:
            self.records.append(SoakRecord(now - self._began, values))
        self._last_wal, self._last_at = wal, now

    def _read_processes(self) -> dict[str, float]:
        values = dict[str, float]()
        for role in self._services.running:
            process = psutil.Process(role.pid)
            values[f"memory {role.role}"] = process.memory_info().rss / _MIB
            values[f"descriptors {role.role}"] = float(process.num_fds())
        broker = psutil.Process(self._services.mosquitto.pid)
        values["memory Mosquitto"] = broker.memory_info().rss / _MIB
        values["descriptors Mosquitto"] = float(broker.num_fds())
        # Private memory: shared buffers fill up, and each backend would count them again.
        values["memory PostgreSQL"] = sum(map(_read_private_bytes, self._find_backends())) / _MIB
        return values

    def _find_backends(self) -> list[psutil.Process]:
        postgres = self._services.postgres
        if not isinstance(postgres, PrivatePostgres):
            raise TypeError("a soak records the processes of one private PostgreSQL")
        postmaster = psutil.Process(postgres.pid)
        return [postmaster, *postmaster.children(recursive=True)]


def _read_private_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0  # it has ended meanwhile
