"""Verifies a backup by restoring it into a scratch cluster: `vigie backup verify`.

The copy is recovered to the point at which the backup's checksums were computed. Its tables must have these
checksums. Then the audit log's chains and the encrypted secrets are checked. The copy is removed.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from app.audit.hash_chain import ChainVerifier
from app.audit.verification import verify_log
from app.backups.backup_catalogue import VERIFIED, BackupEntry, compare_tables
from app.backups.backup_repository import BundlePart, StoredBundle, read_bundles, replace_backup_list
from app.backups.backup_run import connect_to_cluster, connect_to_primary
from app.backups.backup_target import (
    BackupError,
    BackupTarget,
    DamagedBackupError,
    NotDueError,
    ProgressSink,
)
from app.backups.pgbackrest_client import PgBackRest
from app.backups.recovery_bundle import open_bundles
from app.backups.recovery_key import RecoveryKeyError, RecoveryPrivateKey
from app.backups.scratch_cluster import ScratchCluster
from app.backups.sealed_value_check import (
    SealedValue,
    open_sealed_values,
    request_value_check,
    sample_sealed_values,
)
from app.backups.table_fingerprints import fingerprint_tables
from app.platform.secrets.sealing import UNKNOWN_KEY, SecretSealer

_FINDINGS_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class VerifiedBackup:
    """The result of a successful verification.

    Attributes:
        label: the backup.
        tables: number of tables that are equal.
        rows: number of their rows.
        audit_entries: entries of the audit log.
        sealed_values: secrets that were opened.
        opened_with: the keys that opened them.
        restore_s: duration of restoring and recovering.
        took_s: the total duration.
    """

    label: str
    tables: int
    rows: int
    audit_entries: int
    sealed_values: int
    opened_with: str
    restore_s: float
    took_s: float


@dataclass(slots=True)
class _CopyContents:
    """Findings and values that were read from the restored copy."""

    findings: list[str] = field(default_factory=list)
    audit_entries: int = 0
    values: list[SealedValue] = field(default_factory=list)
    bundles: dict[BundlePart, StoredBundle] = field(default_factory=dict)
    restore_s: float = 0.0


async def verify_backup(
    target: BackupTarget,
    label: str | None,
    report: ProgressSink,
    *,
    recovery_keys: Sequence[RecoveryPrivateKey],
    sealer: SecretSealer | None,
) -> VerifiedBackup:
    """Restore a backup, compare it with the original, and record the result.

    Args:
        target: the cluster and its repository.
        label: the backup; None: the newest one.
        report: takes lines of progress.
        recovery_keys: open the bundle in the copy; its encryption keys then open the secrets.
        sealer: the keys of this process, if it has any. Without both, `maintain` opens the secrets.

    Raises:
        NotDueError: this host is a standby.
        DamagedBackupError: the backup is damaged; the message names the damaged parts.
        BackupError: nothing could be verified.
    """
    began = time.monotonic()
    await _refuse_standby(target)
    pgbackrest = PgBackRest(target, report)
    entry = _choose_backup(await pgbackrest.list_backups(), label)
    folder = Path(await asyncio.to_thread(_make_scratch_folder, target))
    try:
        copy = await _examine_copy(target, entry, folder, pgbackrest, report)
    except DamagedBackupError as error:
        raise await pgbackrest.explain_damage(error) from error
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if copy.findings:
        raise DamagedBackupError(_format_findings(entry.label, copy.findings))
    failures, opened_with = await _open_values(target, copy, recovery_keys, sealer, report)
    if failures:
        raise _explain_failures(entry.label, failures, are_own_keys=not recovery_keys)
    await pgbackrest.annotate(entry.label, {VERIFIED: datetime.now(UTC).isoformat(timespec="seconds")})
    await _record(target, await pgbackrest.list_backups(), report)
    rows = sum(count for count, _ in entry.tables.values())
    return VerifiedBackup(
        label=entry.label,
        tables=len(entry.tables),
        rows=rows,
        audit_entries=copy.audit_entries,
        sealed_values=len(copy.values),
        opened_with=opened_with,
        restore_s=copy.restore_s,
        took_s=time.monotonic() - began,
    )


async def _refuse_standby(target: BackupTarget) -> None:
    """Refuse to verify on a standby, which cannot record the result (NotDueError)."""
    try:
        connection = await connect_to_primary(target)
    except NotDueError:
        raise
    except BackupError:
        return  # it verifies, too, while the database is lost
    await connection.close()


def _choose_backup(backups: list[BackupEntry], label: str | None) -> BackupEntry:
    if not backups:
        raise BackupError("the repository has no backup: make one with `vigie backup`")
    # With VIGIE_BACKUP__CHECKSUMS=full, the newest backups may have no checksums.
    newest = next((each for each in reversed(backups) if each.restore_point), backups[-1])
    found = newest if label is None else next((each for each in backups if each.label == label), None)
    if found is None:
        raise BackupError(f"the repository has no backup {label}: `vigie backup list` names them")
    if found.restore_point is None:
        raise BackupError(
            f"the backup {found.label} has no checksums, so nothing can be compared: "
            "VIGIE_BACKUP__CHECKSUMS is full, `vigie backup` was interrupted, or pgBackRest was run by hand. "
            "Make another one with `vigie backup --type full`"
        )
    return found


def _make_scratch_folder(target: BackupTarget) -> str:
    try:
        folder = tempfile.mkdtemp(prefix="vigie-verify-", dir=target.scratch_dir)
        target.set_owner(Path(folder))
    except OSError as error:
        raise BackupError(
            f"no folder can be made in {target.scratch_dir}: {error.strerror}. VIGIE_BACKUP__SCRATCH_DIR "
            "names one that PostgreSQL's account may write"
        ) from error
    return folder


async def _examine_copy(
    target: BackupTarget, entry: BackupEntry, folder: Path, pgbackrest: PgBackRest, report: ProgressSink
) -> _CopyContents:
    copy = _CopyContents()
    data = target.make_folder(folder / "data")
    began = time.monotonic()
    report(f"restoring {entry.label} …")
    await pgbackrest.restore(
        data,
        f"--set={entry.label}",
        "--type=name",
        f"--target={entry.restore_point}",
        "--target-action=promote",
        # The timeline of the backup: a later restore may have begun another one before this point.
        "--target-timeline=current",
        "--archive-mode=off",
        # On a disk, a retry after 20 s reads the same damaged bytes. Over a network it may succeed.
        *(["--job-retry=0"] if target.settings.repository == "posix" else []),
    )
    report("recovering …")
    async with ScratchCluster(target, data, folder, durable=False) as cluster:
        copy.restore_s = time.monotonic() - began
        connection = await cluster.connect()
        try:
            report("comparing …")
            copy.findings = compare_tables(entry.tables, await fingerprint_tables(connection, report))
            await _verify_audit_log(connection, copy, report)
            copy.values = await sample_sealed_values(connection)
            copy.bundles = await read_bundles(connection)
        except asyncpg.PostgresError as error:
            # For example, the checksum of a page is wrong.
            raise DamagedBackupError(f"the backup {entry.label} is damaged: {error}") from error
        finally:
            await connection.close()
    return copy


async def _verify_audit_log(
    connection: asyncpg.Connection, copy: _CopyContents, report: ProgressSink
) -> None:
    verifier = ChainVerifier([], partial=False)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL enable_sort = off")
        async for finding in verify_log(
            connection, verifier, None, lambda entries: report(f"{entries} entries …")
        ):
            copy.findings.append(
                f"audit log of {finding.organisation_id}, position {finding.position}: {finding.code}"
            )
    copy.audit_entries = verifier.entries


async def _open_values(
    target: BackupTarget,
    copy: _CopyContents,
    recovery_keys: Sequence[RecoveryPrivateKey],
    sealer: SecretSealer | None,
    report: ProgressSink,
) -> tuple[list[str], str]:
    """Open the secrets; returns the failures, and a description of the keys (BackupError)."""
    keys = copy.bundles.get("keys")
    if keys is None:
        return ["the recovery bundle is missing"], ""
    if recovery_keys:
        try:
            bundle = open_bundles(copy.bundles, recovery_keys, report)
        except RecoveryKeyError as error:
            return [f"recovery bundle: {error}"], ""
        sealer = SecretSealer(bundle.encryption_keys)
        return open_sealed_values(copy.values, sealer), "the backed-up keys"
    # Values whose key is not in the bundle could not be opened after a restore.
    lost = [
        f"{each['column']} of {','.join(each['key'])}: its key is not in the recovery bundle"
        for each in copy.values
        if each["stored"].split(":")[2] not in keys.key_names
    ]
    if lost or not copy.values:
        return lost, "no key"
    if sealer is not None and sealer.ready:
        return open_sealed_values(copy.values, sealer), "the keys of this machine"
    connection = await connect_to_cluster(target)
    try:
        return await request_value_check(connection, copy.values), "the keys of `maintain`"
    finally:
        await connection.close()


def _explain_failures(label: str, failures: list[str], *, are_own_keys: bool) -> BackupError:
    if are_own_keys and all(each.endswith(UNKNOWN_KEY) for each in failures):
        # The keys were replaced after the backup. The bundle in it has those of its time.
        return BackupError(
            f"{len(failures)} secrets of the backup {label} are sealed with keys that are in its recovery "
            "bundle, and no longer on this machine: verify it with --recovery-key FILE, or make a new "
            f"backup. The first one: {failures[0]}"
        )
    return DamagedBackupError(_format_findings(label, failures))


async def _record(target: BackupTarget, backups: list[BackupEntry], report: ProgressSink) -> None:
    """Copy the list into the live database. If the database is lost, print a warning instead of failing."""
    try:
        connection = await connect_to_cluster(target)
    except BackupError as error:
        report(f"warning: the metrics do not show this verification: {error}")
        return
    try:
        await replace_backup_list(connection, backups)
    finally:
        await connection.close()


def _format_findings(label: str, findings: list[str]) -> str:
    shown = "\n".join(f"  {each}" for each in findings[:_FINDINGS_SHOWN])
    more = len(findings) - _FINDINGS_SHOWN
    rest = f"\n  and {more} more" if more > 0 else ""
    return f"the backup {label} is damaged:\n{shown}{rest}"
