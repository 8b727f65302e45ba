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
)
from app.backups.backup_repository import compute_age_s, read_bundles, replace_backup_list, store_bundle
from app.backups.backup_target import BackupError, BackupTarget, ProgressSink
from app.backups.pgbackrest_client import PgBackRest
from app.backups.pgbackrest_config import STANZA
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


async def seal_files(target: BackupTarget, connection: asyncpg.Connection, report: ProgressSink) -> None:
    """Seal the files of `VIGIE_BACKUP__INCLUDE`, which this process must be able to read.

    A process that may not read them uses those that were sealed before.

    Raises:
        BackupError: none were sealed before, or no recovery key is set up.
    """
    public = target.settings.public_key
    if public is None:
        raise BackupError(NO_RECOVERY_KEY)
    if not target.settings.include:
        return
    bundle, unreadable = collect_files(target.settings.include)
    stored = (await read_bundles(connection)).get("files")
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


async def make_backup(target: BackupTarget, kind: BackupKind | None, report: ProgressSink) -> FinishedBackup:
    """Make a backup, and record count and checksum of each table at a point of the WAL after it.

    Args:
        target: the cluster and its repository.
        kind: the kind; None: differential while a full backup is young enough.
        report: takes lines of progress.

    Raises:
        BackupError: backups are not set up, or this one failed.
    """
    began = time.monotonic()
    pgbackrest = PgBackRest(target, report)
    connection = await connect_to_cluster(target)
    try:
        await _require_set_up(target, connection, report)
        await pgbackrest.create_stanza()
        if kind is None:
            backups = await pgbackrest.list_backups()
            kind = choose_kind(backups, datetime.now(UTC), target.settings.full_every_days)
        report(f"{kind} backup …")
        label = await pgbackrest.back_up(kind)
        has_checksums = kind == "full" or target.settings.checksums == "all"
        paused_s = await _add_checksums(pgbackrest, connection, label, report) if has_checksums else 0.0
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
    if mode == "off" or f"--stanza={STANZA} " not in command:
        raise BackupError(
            "PostgreSQL does not archive its WAL to this repository: `vigie backup setup` shows the lines "
            "for postgresql.conf; then restart PostgreSQL. A copy that `vigie restore` made without "
            "--take-over does not archive either"
        )
    try:
        bundle = (await read_bundles(connection)).get("keys")
    except asyncpg.UndefinedTableError:
        raise BackupError("the database has no tables of backups: run `vigie migrate` first") from None
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
