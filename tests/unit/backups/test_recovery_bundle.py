import base64
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.backups import recovery_bundle
from app.backups.backup_repository import BundlePart, StoredBundle
from app.backups.backup_target import BackupError
from app.backups.recovery_bundle import RecoveryBundle, collect_files, collect_keys, open_bundles
from app.backups.recovery_key import RecoveryKeyError, RecoveryPrivateKey
from app.settings import VigieSettings

KEY = RecoveryPrivateKey.generate()


def settings_with(tmp_path: Path) -> VigieSettings:
    static = tmp_path / "passwords.static"
    static.write_text("ingest:hash\n")
    return VigieSettings.model_validate(
        {
            "encryption": {"keys": [base64.b64encode(b"k" * 32).decode()]},
            "broker": {"static_password_file": static},
        }
    )


def test_keys_accounts_and_files_survive_sealing(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.env").write_text("A=1\n")
    (folder / "sub" / "b.key").write_bytes(b"\x00\xff")
    bundle, unreadable = collect_keys(settings_with(tmp_path), [folder])
    assert unreadable == []
    opened = RecoveryBundle.open(KEY.public.seal(bundle.encode()), KEY)
    assert opened.encryption_keys == [b"k" * 32]
    assert opened.files == {
        str(tmp_path / "passwords.static"): b"ingest:hash\n",
        str(folder / "a.env"): b"A=1\n",
        str(folder / "sub" / "b.key"): b"\x00\xff",
    }
    assert opened.digest == bundle.digest
    assert opened.find_file("b.key") == b"\x00\xff"
    out = tmp_path / "out"
    written = opened.write(out)
    assert (out / "encryption-keys").read_text().strip() == base64.b64encode(b"k" * 32).decode()
    assert (out / "files" / str(folder / "sub" / "b.key").lstrip("/")).read_bytes() == b"\x00\xff"
    assert all(path.stat().st_mode & 0o077 == 0 for path in [out, *written])


def test_what_cannot_be_read_is_named_and_the_rest_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_bundle, "_LIMIT_BYTES", 100)
    big = tmp_path / "big"
    big.write_bytes(b"x" * 200)
    bundle, unreadable = collect_keys(settings_with(tmp_path), [tmp_path / "none", big])
    assert list(bundle.files) == [str(tmp_path / "passwords.static")]
    assert unreadable == [
        f"{tmp_path}/none: No such file or directory",
        f"{big}: the bundle would exceed 0 KiB",
    ]


def test_a_closed_folder_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PostgreSQL's account finds /etc/vigie."""

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    bundle, unreadable = collect_files([tmp_path])
    assert (bundle.files, unreadable) == ({}, [f"{tmp_path}: Permission denied"])


def test_a_path_in_a_bundle_does_not_leave_the_folder(tmp_path: Path) -> None:
    bundle = RecoveryBundle([], {"/../../escape": b"x", "/ok": b"y"})
    assert bundle.write(tmp_path / "out") == [tmp_path / "out" / "files" / "ok"]
    assert not (tmp_path / "escape").exists()


def test_a_bundle_of_a_newer_release_is_refused() -> None:
    with pytest.raises(RecoveryKeyError, match="newer release"):
        RecoveryBundle.open(KEY.public.seal(b'{"version": 2}'), KEY)


def seal_part(bundle: RecoveryBundle, key: RecoveryPrivateKey) -> StoredBundle:
    at = datetime(2026, 11, 29, tzinfo=UTC)
    return StoredBundle(key.public.name, [], [], at, at, key.public.seal(bundle.encode()))


def test_each_part_opens_with_the_recovery_key_for_which_it_was_sealed() -> None:
    new, said = RecoveryPrivateKey.generate(), list[str]()
    keys, files = RecoveryBundle([b"k" * 32], {"/static": b"s"}), RecoveryBundle([], {"/a.env": b"A=1"})
    parts: dict[BundlePart, StoredBundle] = {"files": seal_part(files, KEY), "keys": seal_part(keys, new)}
    assert open_bundles(parts, [KEY, new], said.append) == RecoveryBundle(
        [b"k" * 32], {"/static": b"s", "/a.env": b"A=1"}
    )
    assert said == []
    assert open_bundles(parts, [new], said.append) == keys
    (warning,) = said
    assert (
        f"the files of VIGIE_BACKUP__INCLUDE stay sealed, for the recovery key {KEY.public.name}" in warning
    )
    with pytest.raises(BackupError, match=f"give the private part of {new.public.name}"):
        open_bundles(parts, [KEY], said.append)
    damaged = replace(parts["keys"], content=b"x" * 100)
    with pytest.raises(RecoveryKeyError, match="is damaged"):
        open_bundles({"keys": damaged}, [new], said.append)
