"""Provides `vigie restore`: to a moment, into a new folder, and says what to do next."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from app.backups.backup_target import BackupError, BackupTarget
from app.backups.recovery_bundle import RecoveryBundle, open_bundles
from app.backups.recovery_key import RecoveryKeyError, RecoveryPrivateKey
from app.backups.repository_setup import set_up_repository
from app.backups.restore import RestoredCluster, RestoreRequest, restore_cluster
from app.backups.settings import BackupCommandSettings
from app.platform.config.platform_settings import read_valid_settings
from app.processes.backup_cli import (
    RecoveryKeyFiles,
    failing,
    read_recovery_keys,
    run_until_terminated,
    show_bundle,
)
from app.processes.command_output import report_progress
from app.standalone.backup_installation import (
    BackupInstallation,
    complete_restored_stack,
    find_backup_installation,
    make_restored_stack,
)

_LATEST: Final = "latest"


def restore(
    *,
    to: Annotated[str, typer.Option(help="A time with its zone, such as 2026-11-29T18:00:00Z; or latest")],
    data_dir: Annotated[
        Path | None, typer.Option(help="New data directory of `vigie up`; needs --recovery-key")
    ] = None,
    cluster_dir: Annotated[
        Path | None, typer.Option(help="New data directory of PostgreSQL, for your own roles")
    ] = None,
    recovery_key: RecoveryKeyFiles = None,
    bundle_dir: Annotated[
        Path | None, typer.Option(help="With --cluster-dir: new folder for the keys and files of the bundle")
    ] = None,
    label: Annotated[str | None, typer.Option("--set", help="Backup to begin with")] = None,
    timeline: Annotated[
        int | None, typer.Option(help="Timeline to follow; by default the newest one")
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="It replaces the lost cluster, and continues its archive")
    ] = False,
    overwrite_cluster: Annotated[
        bool,
        typer.Option("--overwrite-cluster", help="With --cluster-dir: replace the stopped cluster in it"),
    ] = False,
) -> None:
    """Restore the database to a moment, into a new folder. Nothing that runs is touched."""
    with failing("vigie restore"):
        moment = parse_moment(to)
        keys = read_recovery_keys(recovery_key)
        if bundle_dir is not None and bundle_dir.exists():
            raise BackupError(f"{bundle_dir} exists: name a new folder with --bundle-dir")
        found = _find_place(data_dir, cluster_dir, keys)
        with tempfile.TemporaryDirectory(prefix="vigie-restore-", dir=found.target.scratch_dir) as run_dir:
            request = RestoreRequest(
                moment,
                found.target.cluster_dir,
                Path(run_dir) / "run",
                label=label,
                timeline=timeline,
                take_over=take_over,
                overwrite=overwrite_cluster,
            )
            Path(run_dir).chmod(0o711)
            done = run_until_terminated(restore_cluster(found.target, request, report_progress))
        _show(done, found.target)
        bundle = _open_bundle(done, keys, found)
        if bundle is not None and found.layout is not None:
            complete_restored_stack(found.layout, bundle)
        elif bundle is not None:
            show_bundle(bundle, bundle_dir)
    for line in _list_next_steps(found, take_over=take_over, has_bundle=bundle is not None):
        typer.echo(line)


def parse_moment(text: str) -> datetime | None:
    """Parse the moment; None is the newest one (BackupError)."""
    if text == _LATEST:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BackupError(f"--to {text}: write a time like 2026-11-29T18:00:00Z, or latest") from None
    if moment.tzinfo is None:
        raise BackupError(f"--to {text} has no time zone: write 2026-11-29T18:00:00Z, or …+01:00")
    if moment > datetime.now(UTC):
        raise BackupError(f"--to {text} is in the future: choose an earlier time, or latest")
    return moment


def _find_place(
    data_dir: Path | None, cluster_dir: Path | None, keys: Sequence[RecoveryPrivateKey]
) -> BackupInstallation:
    settings = read_valid_settings(BackupCommandSettings).backup
    if (data_dir is None) == (cluster_dir is None):
        raise BackupError("name --data-dir for `vigie up`, or --cluster-dir for your own roles")
    if settings.cipher_pass_file is None or not settings.cipher_pass_file.exists():
        raise BackupError(
            "VIGIE_BACKUP__CIPHER_PASS_FILE must name the file with the passphrase of the repository: put "
            "your copy of it there"
        )
    if data_dir is not None:
        if not keys:
            raise BackupError("--data-dir needs --recovery-key FILE: the passwords of the stack are sealed")
        found = make_restored_stack(data_dir, settings)
    else:
        found = find_backup_installation(None, settings.model_copy(update={"cluster_dir": cluster_dir}))
    # The configuration also serves the archive of the cluster in the settings: it keeps naming that one.
    named = (
        settings.cluster_dir if found.layout is None and settings.cluster_dir else found.target.cluster_dir
    )
    set_up_repository(replace(found.target, cluster_dir=named))
    return found


def _open_bundle(
    done: RestoredCluster, keys: Sequence[RecoveryPrivateKey], found: BackupInstallation
) -> RecoveryBundle | None:
    if not keys:
        return None
    if not done.bundles:
        raise BackupError("the restored database has no recovery bundle: it is older than these")
    try:
        return open_bundles(done.bundles, keys, report_progress)
    except (BackupError, RecoveryKeyError) as error:
        if found.layout is None:
            raise BackupError(
                f"{error}. The restored cluster stays: start PostgreSQL on it, and open the bundle by "
                "`vigie backup unseal --recovery-key FILE --out FOLDER`"
            ) from None
        # Nothing can start on it without the passwords. Another attempt needs an empty folder.
        shutil.rmtree(found.target.cluster_dir, ignore_errors=True)
        raise BackupError(f"{error}. The restored cluster was removed: restore again with that key") from None


def _show(done: RestoredCluster, target: BackupTarget) -> None:
    typer.echo(f"Restored to {target.cluster_dir}.")
    if done.last_commit is not None:
        typer.echo(
            f"The last transaction in it is of {done.last_commit.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC."
        )
    typer.echo(f"Copied in {done.restore_s:.1f} s, recovered in {done.recovery_s:.1f} s.")


def _list_next_steps(found: BackupInstallation, *, take_over: bool, has_bundle: bool) -> list[str]:
    steps = []
    if found.layout is not None:
        steps.append(f"Next: vigie up --no-demo --data-dir {found.layout.root}")
    else:
        if not has_bundle:
            steps.append(
                "Next: open the sealed keys and files with --recovery-key FILE (or `vigie backup unseal`)."
            )
        steps.append("Next: start PostgreSQL on it, then the roles with the encryption keys of the bundle.")
    if not take_over:
        steps.append(
            "It is a copy: it does not archive (archive_mode in postgresql.auto.conf). To replace the lost "
            "cluster, restore with --take-over."
        )
    return steps
