"""Encryption keys in files: put before the others, and taken away, whoever does it at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.secrets.resealing import SealingKeyUsage
from app.platform.secrets.sealing import SecretSealer, derive_key_name, generate_encryption_key
from app.settings import VigieSettings
from app.standalone.data_directory import DataDirectory, open_data_directory
from app.standalone.secret_rotation import (
    SETTLE_S,
    RotationTarget,
    add_encryption_key,
    find_rotation_target,
    list_key_names,
    remove_unused_keys,
)
from app.standalone.secret_store import load_or_create_secrets, lock_secrets, write_key_file
from app.standalone.secrets_cli import app, format_status_lines
from app.standalone.unprivileged_accounts import StandaloneError

URL = "postgresql://vigie:Rk2-aVw81nq@127.0.0.1:1/vigie"


def _settings(**encryption: Any) -> VigieSettings:  # noqa: ANN401 (of several types)
    return VigieSettings.model_validate({"encryption": encryption})


def _stack(root: Path, **encryption: Any) -> tuple[DataDirectory, RotationTarget]:  # noqa: ANN401 (likewise)
    layout = open_data_directory(root)
    load_or_create_secrets(layout.secrets_file, None)
    settings = _settings(**encryption)
    with lock_secrets(layout.secrets_file):
        write_key_file(layout, settings.encryption)
    return layout, find_rotation_target(root, settings)


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, RotationTarget]:
    """Roles of one's own, with a file of one key."""
    file = tmp_path / "keys"
    file.write_text(generate_encryption_key())
    file.chmod(0o640)
    settings = VigieSettings.model_validate({"database": {"url": URL}, "encryption": {"keys_file": file}})
    return file, find_rotation_target(None, settings)


def test_a_key_is_put_first_in_a_file_of_ones_own(own: tuple[Path, RotationTarget]) -> None:
    file, where = own
    (first,) = list_key_names(where)
    sealer = SecretSealer.of(where.encryption)
    new, former = add_encryption_key(where)
    assert former == first
    assert sealer.names == [new, first]
    # Whose file it is, and who may read it, was decided by whoever made it.
    assert file.stat().st_mode & 0o777 == 0o640


def test_what_is_in_use_is_left(own: tuple[Path, RotationTarget]) -> None:
    file, where = own
    add_encryption_key(where)
    third, second, first = add_encryption_key(where)
    now = file.stat().st_mtime
    with pytest.raises(StandaloneError, match="the keys were changed 59 s ago"):
        remove_unused_keys(where, [], now + SETTLE_S - 1)
    later = now + SETTLE_S
    assert list_key_names(where) == [third, second, first]
    assert remove_unused_keys(where, [first], later) == [second]
    assert list_key_names(where) == [third, first]
    # The first one seals: it stays, whether or not it has sealed anything yet.
    assert remove_unused_keys(where, [], later + SETTLE_S) == [first]
    assert list_key_names(where) == [third]


def test_the_keys_of_a_stack_are_kept_with_its_secrets(tmp_path: Path) -> None:
    layout, where = _stack(tmp_path)
    (first,) = list_key_names(where)
    second, _ = add_encryption_key(where)
    third, *_ = add_encryption_key(where)
    assert list_key_names(where) == [third, second, first]
    kept = json.loads(layout.secrets_file.read_text())
    assert len(kept["former_encryption_keys"]) == 2
    assert remove_unused_keys(where, [second], layout.keys_file.stat().st_mtime + SETTLE_S) == [first]
    # The next start makes the same file.
    write_key_file(layout, EncryptionSettings())
    assert list_key_names(where) == [third, second]


def test_of_two_that_rotate_at_once_no_key_is_lost(tmp_path: Path, own: tuple[Path, RotationTarget]) -> None:
    _, stack = _stack(tmp_path / "d")
    for where in (stack, own[1]):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _, place=where: add_encryption_key(place), range(8)))
        assert len(set(list_key_names(where))) == 9


def test_keys_by_value_are_the_operators_to_replace(tmp_path: Path) -> None:
    key = generate_encryption_key()
    by_value = VigieSettings.model_validate({"database": {"url": URL}, "encryption": {"keys": [key]}})
    for settings in (by_value, VigieSettings.model_validate({"database": {"url": URL}})):
        with pytest.raises(StandaloneError, match="VIGIE_ENCRYPTION__KEYS has the keys, or none are set"):
            add_encryption_key(find_rotation_target(None, settings))
    layout, where = _stack(tmp_path, keys=[key])
    before = layout.secrets_file.read_text()
    # Also where this shell does not have the variable that `vigie up` was started with.
    for again in (where, find_rotation_target(tmp_path, _settings())):
        with pytest.raises(StandaloneError, match="put a new one before it there"):
            add_encryption_key(again)
    assert layout.secrets_file.read_text() == before


def test_where_there_is_nothing_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    for command in ("status", "rotate", "reseal", "forget"):
        done = runner.invoke(app, [command])
        assert done.exit_code == 2
        assert done.stderr.startswith(f"vigie: no stack was started on {tmp_path}/.vigie: name another")
    monkeypatch.setenv("VIGIE_DATABASE__URL", URL)
    # There is an installation now, and no database at this address.
    told = runner.invoke(app, ["status"]).stderr
    assert told.startswith("vigie: the database at 127.0.0.1:1 cannot be reached: Connection refused. Check")
    refused = runner.invoke(app, ["rotate", "--what", "broker"])
    assert (refused.exit_code, "secrets of `vigie up`" in refused.stderr) == (2, True)


def test_what_is_sealed_with_which_key_is_said_in_full() -> None:
    one, two, three, lost = (derive_key_name(bytes([number]) * 32) for number in range(4))
    found = [
        SealingKeyUsage("t.a", one, 2),
        SealingKeyUsage("t.b", one, 1),
        SealingKeyUsage("t.a", two, 4),
        SealingKeyUsage("t.a", lost, 5),
        SealingKeyUsage("t.b", None, 6),
    ]
    assert list(format_status_lines([one, two, three], found)) == [
        f"{one}  seals; 3 (t.a 2, t.b 1)",
        f"{two}  opens only; 4 (t.a 4)",
        f"{three}  opens only; nothing: it can be removed (`vigie secrets forget`)",
        f"{lost}  is not here; 5 (t.a 5) cannot be opened",
        "in clear: 6 (t.b 6)",
    ]
    assert list(format_status_lines([], [])) == ["There is no key."]
