"""Restores the cluster to a moment, into an empty folder: `vigie restore`.

The restored cluster recovers on a private socket and is stopped again. So a restore fails before a process
uses the cluster, and no client connects during recovery.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg
import psutil

from app.audit.verification import read_heads
from app.backups.backup_repository import BundlePart, StoredBundle, read_bundles, replace_backup_list
from app.backups.backup_target import (
    BackupError,
    BackupTarget,
    DamagedBackupError,
    ProgressSink,
    TargetNotReachedError,
)
from app.backups.pgbackrest_client import PgBackRest
from app.backups.scratch_cluster import ScratchCluster

_OF_CLUSTER: Final = ("PG_VERSION", "backup.manifest")  # the second one while a restore was interrupted
# In each log: its entries after the moment are gone, and only this entry says why. The superuser calls the
# function of the triggers: programs may record only reads and refusals.
_RECORD: Final = """
SELECT audit_enter($1::uuid[], 'database.restored', '{"kind": "database", "id": null}'::jsonb, NULL,
    jsonb_build_object('requested', $2::timestamptz, 'last_transaction', $3::timestamptz), 'program')
"""
# pgBackRest wrote them into postgresql.auto.conf. A standby copied from the cluster would end its recovery by
# them.
_OF_RECOVERY: Final = (
    "restore_command",
    "recovery_target_time",
    "recovery_target_action",
    "recovery_target_timeline",
)
_TIMELINE: Final = "SELECT timeline_id FROM pg_control_checkpoint()"


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """The moment to restore, and the target folder.

    Attributes:
        to: the moment; None: the newest WAL in the archive.
        cluster_dir: the new data directory.
        run_dir: a folder for the socket and log of the recovery, outside of `cluster_dir`.
        label: the backup to begin with; None: the newest one before the moment.
        timeline: the timeline to follow; None: the newest one.
        take_over: whether the restored cluster continues the archive of the lost one.
        overwrite: whether a folder with another cluster may be overwritten.
    """

    to: datetime | None
    cluster_dir: Path
    run_dir: Path
    label: str | None = None
    timeline: int | None = None
    take_over: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class RestoredCluster:
    """The result of a restore. The cluster does not run.

    Attributes:
        last_commit: the time of the last transaction in it.
        bundles: the sealed parts of the recovery bundle in it.
        restore_s: duration of copying the backup.
        recovery_s: duration of replaying WAL.
    """

    last_commit: datetime | None
    bundles: dict[BundlePart, StoredBundle]
    restore_s: float
    recovery_s: float


async def restore_cluster(
    target: BackupTarget, request: RestoreRequest, report: ProgressSink
) -> RestoredCluster:
    """Restore and recover a cluster.

    Raises:
        BackupError: the folder is in use, the moment is not in the archive, or the backup is damaged.
    """
    _require_free_folder(request)
    pgbackrest = PgBackRest(target, report)
    backups = await pgbackrest.list_backups()
    if not backups:
        raise BackupError("the repository has no backup: check VIGIE_BACKUP__PATH and …__CIPHER_PASS_FILE")
    first = backups[0].finished_at
    # pgBackRest compares whole seconds, and takes a backup that ended in an earlier one.
    if request.to is not None and request.to < first + timedelta(seconds=1):
        raise BackupError(f"the oldest backup ended at {first:%Y-%m-%dT%H:%M:%SZ}: choose a later moment")
    target.make_folder(request.cluster_dir)
    try:
        return await _restore_and_recover(target, request, pgbackrest, report)
    except BackupError as error:
        if not request.overwrite:
            # The folder was empty before: leave it so for another attempt.
            shutil.rmtree(request.cluster_dir, ignore_errors=True)
        if isinstance(error, TargetNotReachedError):
            raise BackupError(
                f"the archive ends before this moment: its last transaction is of {error.last_transaction}. "
                "`--to latest` restores all of it"
            ) from error
        if isinstance(error, DamagedBackupError):
            raise await pgbackrest.explain_damage(error) from error
        raise


async def _restore_and_recover(
    target: BackupTarget, request: RestoreRequest, pgbackrest: PgBackRest, report: ProgressSink
) -> RestoredCluster:
    began = time.monotonic()
    report("restoring …")
    await pgbackrest.restore(request.cluster_dir, *_list_options(request))
    restored = time.monotonic()
    report("recovering …")
    run_dir = target.make_folder(request.run_dir)
    async with ScratchCluster(target, request.cluster_dir, run_dir, durable=True) as cluster:
        recovered = time.monotonic()
        connection = await cluster.connect()
        try:
            last_commit = await connection.fetchval("SELECT pg_last_xact_replay_timestamp()")
            timeline = await connection.fetchval(_TIMELINE)
            for name in _OF_RECOVERY:
                await connection.execute(f"ALTER SYSTEM RESET {name}")
            await _record_restore(connection, request, last_commit)
            # The restored list ends at the moment; the repository also lists newer backups.
            await replace_backup_list(connection, await pgbackrest.list_backups())
            bundles = await read_bundles(connection)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
            bundles = {}  # a backup of a release without these tables
        finally:
            await connection.close()
    if request.take_over:
        _archive_timeline(target, request.cluster_dir, timeline)
    return RestoredCluster(last_commit, bundles, restored - began, recovered - restored)


async def _record_restore(
    connection: asyncpg.Connection, request: RestoreRequest, last_commit: datetime | None
) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL vigie.reach = 'all'")
        logs = [head.organisation_id for head in await read_heads(connection, None)]
        await connection.execute(_RECORD, logs, request.to, last_commit)


def _list_options(request: RestoreRequest) -> Sequence[str]:
    options = []
    if request.to is None:
        options.append("--type=default")
    else:
        moment = request.to.isoformat(sep=" ", timespec="microseconds")
        options += ["--type=time", f"--target={moment}", "--target-action=promote"]
    if request.label is not None:
        options.append(f"--set={request.label}")
    if request.timeline is not None:
        options.append(f"--target-timeline={request.timeline}")
    if request.overwrite:
        options.append("--delta")
    if not request.take_over:
        # Archiving would write the copy's timeline into the repository of the original.
        options.append("--archive-mode=off")
    return options


def _require_free_folder(request: RestoreRequest) -> None:
    folder = request.cluster_dir
    try:
        is_empty = not folder.exists() or not any(folder.iterdir())
        pid_file = folder / "postmaster.pid"
        pid = int(pid_file.read_text().split("\n")[0]) if pid_file.exists() else None
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} cannot be read: {error}") from error
    if pid is not None and psutil.pid_exists(pid):
        raise BackupError(f"a PostgreSQL runs on {folder} (process {pid}): stop it, or choose another folder")
    if not is_empty and not request.overwrite:
        raise BackupError(
            f"{folder} is not empty: choose a new folder, or add --overwrite-cluster to replace what is in it"
        )
    # Before the folder gets another owner. pgBackRest itself refuses later.
    if not is_empty and not any((folder / name).exists() for name in _OF_CLUSTER):
        raise BackupError(f"{folder} has no cluster of PostgreSQL that could be overwritten: choose another")


def _archive_timeline(target: BackupTarget, cluster_dir: Path, timeline: int) -> None:
    """Mark the history of the new timeline as due for the archive.

    Recovery ran without archiving, so PostgreSQL did not mark it. A later restore needs the history file to
    follow this timeline.
    """
    wal = cluster_dir / "pg_wal"
    name = f"{timeline:08X}.history"
    if (wal / name).exists():
        ready = wal / "archive_status" / f"{name}.ready"
        ready.touch(mode=0o600)
        target.set_owner(ready)
