"""Finds the cluster of a backup command: that of the settings, or the one of `vigie up`.

It also configures WAL archiving for `vigie up`, and prepares a new data directory for a restored cluster.
"""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.backups.backup_target import SUPERUSER, BackupError, BackupTarget
from app.backups.pgbackrest_config import list_archive_settings
from app.backups.recovery_bundle import RecoveryBundle
from app.backups.repository_setup import set_up_repository
from app.backups.settings import BackupSettings
from app.platform.kernel.atomic_files import replace_file_text
from app.standalone.data_directory import DataDirectory, open_data_directory, place_services
from app.standalone.free_ports import LOOPBACK
from app.standalone.private_postgres import MAJOR, find_postgres_binaries
from app.standalone.service_directories import make_folder
from app.standalone.unprivileged_accounts import (
    StandaloneError,
    SystemAccount,
    build_run_as_command,
    find_program,
    find_service_account,
)

_CONFIG: Final = "pgbackrest.conf"
_PASSWORDS: Final = "passwords.json"


@dataclass(frozen=True, slots=True)
class BackupInstallation:
    """The cluster that a command refers to.

    Attributes:
        target: the cluster and its repository.
        layout: the data directory, if it is the cluster of `vigie up`.
    """

    target: BackupTarget
    layout: DataDirectory | None


def find_backup_installation(data_dir: Path | None, settings: BackupSettings) -> BackupInstallation:
    """Find the cluster that a command refers to.

    Args:
        data_dir: The data directory of `vigie up`. None: VIGIE_BACKUP__CLUSTER_DIR, else the stack in
            `.vigie`.
        settings: The settings of backups.

    Raises:
        StandaloneError: There is no cluster, or this account may not read it.
    """
    if data_dir is None and settings.cluster_dir is not None:
        account = _find_owner(settings.cluster_dir)
        target = _make_target(
            settings, settings.cluster_dir, settings.config_file, account, host=str(settings.socket_dir)
        )
        return BackupInstallation(target, None)
    layout = DataDirectory((data_dir or Path(".vigie")).absolute())
    home = _find_home(layout)
    if not (home / _PASSWORDS).exists():
        raise StandaloneError(
            f"no stack with a database was started on {layout.root}: name another with --data-dir, or set "
            "VIGIE_BACKUP__CLUSTER_DIR to PostgreSQL's data directory"
        )
    return BackupInstallation(_make_stack_target(settings, home), layout)


def _find_home(layout: DataDirectory) -> Path:
    return Path(os.path.realpath(layout.services)) / "postgres"


def _make_stack_target(settings: BackupSettings, home: Path) -> BackupTarget:
    """Make the target of a private cluster, whose files may not be complete yet."""
    passwords = json.loads(_read_text(home / _PASSWORDS) or "{}")
    port = int(_read_text(home / "port") or 0)
    return _make_target(
        settings.model_copy(
            # Of this stack alone: others on this machine have the same stanza.
            update={"port": port, "database": "vigie", "lock_dir": home / "pgbackrest-lock"}
        ),
        home / "data",
        home / _CONFIG,
        find_service_account("postgres"),
        host=LOOPBACK,
        password=passwords.get(SUPERUSER, ""),
    )


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _make_target(
    settings: BackupSettings,
    cluster_dir: Path,
    config_file: Path,
    account: SystemAccount | None,
    *,
    host: str,
    password: str | None = None,
) -> BackupTarget:
    binaries = find_postgres_binaries()
    if binaries is None:
        raise StandaloneError(f"PostgreSQL {MAJOR} is missing: apt-get install postgresql-{MAJOR}")
    return BackupTarget(
        settings=settings,
        cluster_dir=cluster_dir,
        config_file=config_file,
        scratch_dir=settings.scratch_dir,
        binaries=binaries,
        host=host,
        port=settings.port,
        # The child ends with this process: an orphaned backup would hold locks for no purpose.
        run_as=tuple(build_run_as_command(account, [])) if account is not None else (),
        owner=None if account is None else (account.uid, account.gid),
        password=password,
    )


def _find_owner(cluster_dir: Path) -> SystemAccount | None:
    """Find the account of a cluster; None if it is the account of this process."""
    try:
        found = cluster_dir.stat()
    except FileNotFoundError:
        return find_service_account("postgres")
    except OSError as error:
        raise StandaloneError(f"{cluster_dir} cannot be read: {error.strerror}") from error
    if found.st_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise StandaloneError(
            f"{cluster_dir} belongs to another account: run the command as that one, or as root"
        )
    return SystemAccount("postgres", found.st_uid, found.st_gid)


def prepare_stack_archive(layout: DataDirectory, settings: BackupSettings) -> Mapping[str, str] | None:
    """Write pgBackRest's configuration for `vigie up`; returns PostgreSQL's settings, None without backups.

    Raises:
        StandaloneError: pgBackRest is missing, or the repository cannot be prepared.
    """
    if settings.public_key is None:
        return None
    if find_program("pgbackrest") is None:
        # Without pgBackRest archiving would fail, and PostgreSQL would retain all WAL.
        raise StandaloneError("backups: pgBackRest is missing: apt-get install pgbackrest")
    home = _find_home(layout)
    make_folder(home, 0o750, find_service_account("postgres"), group_only=True)
    target = _make_stack_target(settings, home)
    try:
        set_up_repository(target)
    except BackupError as error:
        raise StandaloneError(f"backups: {error}") from error
    return list_archive_settings(target.config_file)


def list_bundle_variables(
    layout: DataDirectory, settings: BackupSettings, *, services: bool
) -> dict[str, str]:
    """List the variable that adds the secrets of `vigie up` to the recovery bundle; empty without backups."""
    if settings.public_key is None or not services:
        return {}
    own = (layout.secrets_file, _find_home(layout) / _PASSWORDS)
    files = [*map(str, settings.maintain_include), *(str(path.absolute()) for path in own)]
    return {"VIGIE_BACKUP__MAINTAIN_INCLUDE": json.dumps(list(dict.fromkeys(files)))}


def make_restored_stack(data_dir: Path, settings: BackupSettings) -> BackupInstallation:
    """Make a new data directory of `vigie up`, without a cluster yet.

    Raises:
        StandaloneError: it has a cluster already.
    """
    layout = open_data_directory(data_dir)
    place_services(layout, find_service_account("postgres"), find_service_account("mosquitto", "nobody"))
    home = _find_home(layout)
    make_folder(home, 0o750, find_service_account("postgres"), group_only=True)
    if (home / _PASSWORDS).exists():
        raise StandaloneError(f"{layout.root} has a stack already: choose a new --data-dir")
    return BackupInstallation(_make_stack_target(settings, home), layout)


def complete_restored_stack(layout: DataDirectory, bundle: RecoveryBundle) -> None:
    """Write the secrets of a restored stack, so that `vigie up` starts on it.

    Raises:
        StandaloneError: the bundle has no secrets of `vigie up`: it is that of another installation.
    """
    stored, passwords = bundle.find_file(layout.secrets_file.name), bundle.find_file(_PASSWORDS)
    if stored is None or passwords is None:
        raise StandaloneError(
            "the backup is not of `vigie up`: restore it with --cluster-dir, and start the roles yourself"
        )
    content = json.loads(stored)
    known = {content.get("encryption_key"), *content.get("former_encryption_keys", ())}
    keys = [base64.b64encode(key).decode() for key in bundle.encryption_keys]
    # The bundle may have keys of an administrator's own settings, which the new machine may lack.
    content["former_encryption_keys"] = [
        *content.get("former_encryption_keys", ()),
        *(key for key in keys if key not in known),
    ]
    replace_file_text(layout.secrets_file, json.dumps(content, indent=1), mode=0o600)
    replace_file_text(_find_home(layout) / _PASSWORDS, passwords.decode(), mode=0o600)
