import base64
import json
from pathlib import Path

import pytest

from app.backups.recovery_bundle import RecoveryBundle
from app.backups.recovery_key import RecoveryPrivateKey
from app.backups.settings import BackupSettings
from app.standalone.backup_installation import (
    complete_restored_stack,
    find_backup_installation,
    list_bundle_variables,
    prepare_stack_archive,
)
from app.standalone.data_directory import DataDirectory
from app.standalone.unprivileged_accounts import StandaloneError


def made(tmp_path: Path) -> tuple[DataDirectory, BackupSettings]:
    layout = DataDirectory(tmp_path / "stack")
    (layout.services / "postgres").mkdir(parents=True)
    settings = BackupSettings(
        recovery_key=str(RecoveryPrivateKey.generate().public),
        cipher_pass_file=tmp_path / "pass",
        path=tmp_path / "repository",
        maintain_include=[Path("/etc/mine")],
    )
    return layout, settings


def test_without_a_recovery_key_the_stack_does_not_archive(tmp_path: Path) -> None:
    layout, _ = made(tmp_path)
    assert prepare_stack_archive(layout, BackupSettings()) is None
    assert list_bundle_variables(layout, BackupSettings(), services=True) == {}


def test_with_one_it_archives_and_maintain_seals_the_secrets_of_the_stack(tmp_path: Path) -> None:
    layout, settings = made(tmp_path)
    archive = prepare_stack_archive(layout, settings)
    assert archive is not None
    config = layout.services / "postgres" / "pgbackrest.conf"
    assert str(config) in archive["archive_command"]
    assert config.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "pass").read_text().strip() in config.read_text()
    assert prepare_stack_archive(layout, settings) == archive
    variables = list_bundle_variables(layout, settings, services=True)
    assert json.loads(variables["VIGIE_BACKUP__MAINTAIN_INCLUDE"]) == [
        "/etc/mine",
        str(layout.secrets_file),
        str(layout.services / "postgres" / "passwords.json"),
    ]
    assert list_bundle_variables(layout, settings, services=False) == {}


def test_a_restored_stack_gets_its_secrets_and_the_keys_of_its_operator(tmp_path: Path) -> None:
    layout, _ = made(tmp_path)
    own, stack = (base64.b64encode(each * 32).decode() for each in (b"o", b"s"))
    secrets = {"admin_key": "vg_x", "encryption_key": stack, "former_encryption_keys": []}
    files = {"/old/secrets.json": json.dumps(secrets).encode(), "/old/services/passwords.json": b"{}"}
    complete_restored_stack(layout, RecoveryBundle([b"o" * 32, b"s" * 32], files))
    assert json.loads(layout.secrets_file.read_text()) == {**secrets, "former_encryption_keys": [own]}
    assert (layout.services / "postgres" / "passwords.json").read_text() == "{}"
    with pytest.raises(StandaloneError, match="not of `vigie up`: restore it with --cluster-dir"):
        complete_restored_stack(layout, RecoveryBundle([], {}))


def test_a_cluster_of_nobody_is_named_with_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(StandaloneError, match="set VIGIE_BACKUP__CLUSTER_DIR to PostgreSQL's data directory"):
        find_backup_installation(tmp_path / "none", BackupSettings())
