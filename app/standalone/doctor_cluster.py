"""Checks the machines of an installation for `vigie doctor`: edges, message log, hosts of the database.

Nothing is checked on an installation with one broker and one database.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import asyncpg

from app.standalone.doctor import DoctorFinding
from app.standalone.doctor_database import find_named_database

if TYPE_CHECKING:
    from app.cluster_status.problems import ClusterProblem
    from app.cluster_status.snapshot import ClusterSnapshot, InstallationRows
    from app.settings import VigieSettings

type _State = Literal["ok", "note", "missing"]

_TIMEOUT_S: Final = 5.0
_OK: Final = "ok"
_NOTE: Final = "note"


def check_cluster() -> Iterator[DoctorFinding]:
    """Yield the state of all machines, then the problems with what to do; nothing if there is one machine."""
    # Imported here, because its dependencies may be missing.
    from app.cluster_status.snapshot import has_several_hosts  # noqa: PLC0415
    from app.settings import read_settings  # noqa: PLC0415

    if find_named_database() is None:
        return
    settings = read_settings()
    if settings.message_log.engine == "none" and not has_several_hosts(settings.database.url):
        return
    yield from describe_cluster(asyncio.run(_read_snapshot(settings)), datetime.now(UTC))


async def _read_snapshot(settings: "VigieSettings") -> "ClusterSnapshot":
    from app.cluster_status.log_monitor import LogMonitor  # noqa: PLC0415 (as above)
    from app.cluster_status.snapshot import read_snapshot  # noqa: PLC0415 (as above)

    # There is only one question: it may take as long as the settings allow.
    monitor = LogMonitor(settings.message_log, client="doctor", wait_s=_TIMEOUT_S)
    try:
        return await read_snapshot(
            _read_rows(settings.database.url),
            settings.message_log,
            monitor,
            database_url=settings.database.url,
            database_role=None,
        )
    finally:
        await monitor.close()


async def _read_rows(url: str) -> "InstallationRows | None":
    from app.cluster_status.snapshot import read_installation_rows  # noqa: PLC0415 (as above)
    from app.standalone.login_privilege_reader import (  # noqa: PLC0415 (as above)
        CONNECTION_ERRORS,
        connect_with_timeout,
    )

    try:
        async with connect_with_timeout(url, _TIMEOUT_S) as connection:
            await connection.execute("SELECT set_config('vigie.reach', 'all', false)")
            return await read_installation_rows(connection)
    except (*CONNECTION_ERRORS, asyncpg.PostgresError):
        return None


def describe_cluster(snapshot: "ClusterSnapshot", now: datetime) -> Iterator[DoctorFinding]:
    """Yield one line for each edge, node of the log, partition that lags and host, then the problems."""
    from app.cluster_status.problems import find_problems  # noqa: PLC0415 (as above)

    yield from _describe_edges(snapshot)
    yield from _describe_log(snapshot)
    for host in snapshot.hosts:
        lag = "" if host.lag_s is None else f", {host.lag_s:.1f} s behind"
        waits = {True: ", synchronous", False: ", asynchronous", None: ""}[host.is_synchronous]
        state: _State = _OK if host.role != "unreachable" else _NOTE
        yield DoctorFinding(state, f"database host {host.host}", f"{host.role}{lag}{waits}")
    yield from map(_make_finding, find_problems(snapshot, now))


def _make_finding(problem: "ClusterProblem") -> DoctorFinding:
    state: _State = "missing" if problem.severity == "critical" else "note"
    return DoctorFinding(state, problem.subject, f"{problem.code}: {problem.detail}", problem.action)


def _describe_edges(snapshot: "ClusterSnapshot") -> Iterator[DoctorFinding]:
    for edge in () if snapshot.rows is None else snapshot.rows.edges:
        boxes = "boxes not known" if edge.boxes is None else f"{edge.boxes} boxes"
        shown = f"{edge.host}:{edge.port}, {boxes}, {edge.unsent_messages} messages not appended"
        if edge.is_alive:
            yield DoctorFinding("ok", f"edge {edge.name}", shown)
        else:
            yield DoctorFinding("note", f"edge {edge.name}", f"silent for {edge.silent_s:.0f} s")


def _describe_log(snapshot: "ClusterSnapshot") -> Iterator[DoctorFinding]:
    from app.cluster_status.problems import map_newest_positions  # noqa: PLC0415 (as above)

    statuses = snapshot.statuses or ()
    for node in sorted({name for status in statuses for name in status.replicas}):
        held = sum(node in status.replicas for status in statuses)
        in_sync = sum(node in status.in_sync for status in statuses)
        led = sum(status.leader == node for status in statuses)
        state: _State = _OK if in_sync == held else _NOTE
        yield DoctorFinding(
            state, f"log node {node}", f"{in_sync} of {held} partitions up to date, leads {led}"
        )
    newest = map_newest_positions(snapshot)
    positions = () if snapshot.rows is None else snapshot.rows.positions
    for each in positions:
        lag = max(0, newest.get(each.partition, 0) - each.position)
        if lag:
            yield DoctorFinding(
                "ok", f"partition {each.partition}", f"{lag} records to commit, worker {each.worker}"
            )
    if positions and not any(newest.get(each.partition, 0) > each.position for each in positions):
        yield DoctorFinding("ok", "partitions", f"{len(positions)}, all records are committed")
