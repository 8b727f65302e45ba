"""Makes a backup that can be verified exactly: `vigie backup`."""

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg

from app.backups.backup_catalogue import (
    RESTORE_POINT,
    TABLES,
    BackupEntry,
    BackupKind,
    choose_kind,
    encode_tables,
    find_recent_backup,
    has_checksums,
)
from app.backups.backup_repository import (
    BundlePart,
    StoredBundle,
    compute_age_s,
    delete_files_bundle,
    read_bundles,
    replace_backup_list,
    store_bundle,
)
from app.backups.backup_target import BackupError, BackupTarget, NotDueError, ProgressSink
from app.backups.pgbackrest_client import PgBackRest
from app.backups.pgbackrest_config import STANZA_OPTION
from app.backups.recovery_bundle import collect_files
from app.backups.table_fingerprints import fingerprint_at_restore_point

NO_RECOVERY_KEY: Final = (
    "no recovery key is set up: without it a restore would lack the encryption keys. Run `vigie backup "
    "keygen`, keep the private part elsewhere, and set VIGIE_BACKUP__RECOVERY_KEY to the public part"
)
# The database lives, and its disk is full, or an administrator made it read-only.
_CANNOT_WRITE: Final = (asyncpg.DiskFullError, asyncpg.ReadOnlySQLTransactionError)
_CONNECT_S: Final = 10.0
_BUNDLE_STALE_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class FinishedBackup:
    """The result of a backup.

    Attributes:
        entry: the backup as the repository lists it.
        paused_s: how long writers were paused for the exact point.
        took_s: the total duration.
    """

    entry: BackupEntry
    paused_s: float
    took_s: float


async def connect_to_cluster(target: BackupTarget) -> asyncpg.Connection:
    """Connect to the live database as the superuser (BackupError)."""
    try:
        with target.acting_as_owner():
            return await asyncpg.connect(target.url, timeout=_CONNECT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise BackupError(
            f"the database {target.settings.database} at {target.host}, port {target.port}, cannot be "
            f"reached: {type(error).__name__}. Check that PostgreSQL runs, and VIGIE_BACKUP__SOCKET_DIR, "
            "…__PORT and …__DATABASE; run the command as root or as PostgreSQL's account"
        ) from None


async def connect_to_primary(target: BackupTarget) -> asyncpg.Connection:
    """Connect as `connect_to_cluster` does, and refuse a standby (NotDueError)."""
    connection = await connect_to_cluster(target)
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        await connection.close()
        raise NotDueError(
            "PostgreSQL on this host is a standby: the primary's host makes, seals and verifies the backups"
        )
    return connection


async def seal_files(target: BackupTarget, connection: asyncpg.Connection, report: ProgressSink) -> None:
    """Seal the files of `VIGIE_BACKUP__INCLUDE`, which this process must be able to read.

    A process that may not read them uses those that were sealed before. Without files to seal, those that
    were sealed before are deleted: they may need a former recovery key.

    Raises:
        BackupError: none were sealed before, or no recovery key is set up.
    """
    public = target.settings.public_key
    if public is None:
        raise BackupError(NO_RECOVERY_KEY)
    stored = (await _read_parts(connection)).get("files")
    if not target.settings.include:
        if stored is not None:
            await _delete_files(connection, report)
        return
    bundle, unreadable = collect_files(target.settings.include)
    is_usable = stored is not None and stored.recipient == public.name
    if not unreadable or (os.geteuid() == 0 and bundle.files):
        content = public.seal(bundle.encode())
        try:
            await store_bundle(
                connection,
                "files",
                recipient=public.name,
                key_names=[],
                unreadable=unreadable,
                content=content,
            )
        except _CANNOT_WRITE as error:
            # Better a backup with an older bundle than none, above all now.
            if stored is None or not is_usable:
                raise
            at = f"{stored.sealed_at:%Y-%m-%d %H:%M} UTC"
            report(f"warning: the files are as they were sealed on {at}: {error}")
    elif not is_usable:
        raise BackupError(
            f"the files of VIGIE_BACKUP__INCLUDE are not sealed: {unreadable[0]}. Run `vigie backup seal` as "
            "an account that may read them, such as root"
        )
    else:
        unreadable = list(stored.unreadable) if stored is not None else []
    for each in unreadable:
        report(f"warning: not in the backup: {each}")


async def _delete_files(connection: asyncpg.Connection, report: ProgressSink) -> None:
    try:
        await delete_files_bundle(connection)
    except _CANNOT_WRITE as error:
        report(f"warning: files that were sealed before stay in the backup: {error}")
    else:
        report("VIGIE_BACKUP__INCLUDE is empty: the files that were sealed before are deleted")


async def _read_parts(connection: asyncpg.Connection) -> dict[BundlePart, StoredBundle]:
    try:
        return await read_bundles(connection)
    except asyncpg.UndefinedTableError:
        raise BackupError("the database has no tables of backups: run `vigie migrate` first") from None


async def make_backup(
    target: BackupTarget, kind: BackupKind | None, report: ProgressSink, *, scheduled: bool = False
) -> FinishedBackup:
    """Make a backup, and record count and checksum of each table at a point of the WAL after it.

    Args:
        target: the cluster and its repository.
        kind: the kind; None: differential while a full backup is young enough.
        report: takes lines of progress.
        scheduled: whether a timer runs it, on each host of the database: a complete backup of the last
            six hours makes another one superfluous.

    Raises:
        NotDueError: this host is a standby, or none is due.
        BackupError: backups are not set up, or this one failed.
    """
    began = time.monotonic()
    pgbackrest = PgBackRest(target, report)
    connection = await connect_to_primary(target)
    try:
        await _require_set_up(target, connection, report)
        await pgbackrest.create_stanza()
        backups = await pgbackrest.list_backups()
        checksums = target.settings.checksums
        if scheduled and (recent := find_recent_backup(backups, datetime.now(UTC), checksums)):
            # A primary that was lost after its backup may not have recorded it.
            await replace_backup_list(connection, backups)
            raise NotDueError(
                f"the backup {recent.label} began less than six hours ago: `vigie backup` makes one anyway"
            )
        kind = kind or choose_kind(backups, datetime.now(UTC), target.settings.full_every_days)
        report(f"{kind} backup …")
        label = await pgbackrest.back_up(kind)
        paused_s = 0.0
        if has_checksums(kind, checksums):
            paused_s = await _add_checksums(pgbackrest, connection, label, report)
        entries = await pgbackrest.list_backups()
        try:
            await replace_backup_list(connection, entries)
        except _CANNOT_WRITE as error:
            report(f"warning: the backup is complete, but the metrics do not show it: {error}")
    finally:
        await connection.close()
    entry = next(each for each in entries if each.label == label)
    return FinishedBackup(entry, paused_s, time.monotonic() - began)


async def _add_checksums(
    pgbackrest: PgBackRest, connection: asyncpg.Connection, label: str, report: ProgressSink
) -> float:
    """Add count and checksum of each table to a backup; returns how long writers were paused."""
    report(f"{label}: checksums of the tables …")
    point = await fingerprint_at_restore_point(connection, label, report)
    # The point must be in the archive: a verification recovers to it.
    await pgbackrest.check()
    await pgbackrest.annotate(
        label, {RESTORE_POINT: point.restore_point, TABLES: encode_tables(point.tables)}
    )
    return point.paused_s


async def _require_set_up(target: BackupTarget, connection: asyncpg.Connection, report: ProgressSink) -> None:
    """Refuse a backup that a restore could not use."""
    public = target.settings.public_key
    if public is None:
        raise BackupError(NO_RECOVERY_KEY)
    mode = await connection.fetchval("SHOW archive_mode")
    command = await connection.fetchval("SHOW archive_command")
    if mode == "off" or STANZA_OPTION not in command:
        raise BackupError(
            "PostgreSQL does not archive its WAL to this repository: `vigie backup setup` shows how to "
            "configure it. A copy that `vigie restore` made without --take-over does not archive either"
        )
    bundle = (await _read_parts(connection)).get("keys")
    if bundle is None or bundle.recipient != public.name:
        raise BackupError(
            f"the encryption keys are not sealed for the recovery key {public.name} yet: `vigie maintain` "
            "does that within ten seconds. Check that it runs, with the same VIGIE_BACKUP__RECOVERY_KEY"
        )
    # Warn only: a backup with an older bundle is better than no backup.
    if compute_age_s(bundle.checked_at) > _BUNDLE_STALE_S:
        at = f"{bundle.checked_at:%Y-%m-%d %H:%M} UTC"
        report(f"warning: `vigie maintain` last checked the sealed keys at {at}")
    if not bundle.key_names:
        report("warning: `vigie maintain` has no encryption key, so none is in the backup")
    for each in bundle.unreadable:
        report(f"warning: not in the backup: {each}")
    await seal_files(target, connection, report)
