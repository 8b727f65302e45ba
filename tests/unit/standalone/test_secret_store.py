import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.kernel.secret_tokens import is_well_formed_key
from app.platform.secrets.sealing import SecretSealer, generate_encryption_key
from app.standalone.data_directory import (
    DemoAccess,
    StackAddresses,
    open_data_directory,
    remove_run_file,
    write_run_file,
)
from app.standalone.secret_store import (
    change_secrets,
    list_encryption_keys,
    load_or_create_secrets,
    lock_secrets,
    write_key_file,
)
from app.standalone.unprivileged_accounts import StandaloneError


def test_secrets_are_made_once_and_kept_closed(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = load_or_create_secrets(path, None)
    assert is_well_formed_key(first.admin_key)
    assert first.gateway_password != first.ingest_password
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_secrets(path, None) == first


def test_a_key_from_the_settings_wins_and_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = load_or_create_secrets(path, None)
    second = load_or_create_secrets(path, "vg_given_by_the_operator")
    assert second.admin_key == "vg_given_by_the_operator"
    assert second.gateway_password == first.gateway_password
    assert load_or_create_secrets(path, None) == second


def test_what_the_kept_key_sealed_opens_whatever_keys_the_operator_gives(tmp_path: Path) -> None:
    kept, own, older = (generate_encryption_key() for _ in range(3))
    stack = replace(load_or_create_secrets(tmp_path / "secrets.json", None), encryption_key=kept)
    sealed = SecretSealer.of(EncryptionSettings.model_validate({"keys": [kept]})).seal("secret", "context")
    file = tmp_path / "keys"
    file.write_text(f"{own}\n{older}\n")
    for given, keys in (
        ({}, [kept]),
        ({"keys": [own]}, [own, kept]),
        ({"keys_file": file}, [own, older, kept]),
        ({"keys": [kept, own]}, [kept, own]),
    ):
        found = list_encryption_keys(EncryptionSettings.model_validate(given), stack)
        assert found == keys
        sealer = SecretSealer.of(EncryptionSettings.model_validate({"keys": found}))
        assert sealer.open(sealed, "context") == "secret"
        assert (
            sealer.current == SecretSealer.of(EncryptionSettings.model_validate({"keys": keys[:1]})).current
        )
    settings = EncryptionSettings.model_validate({"keys_file": file})
    file.unlink()
    with pytest.raises(StandaloneError, match="VIGIE_ENCRYPTION__KEYS_FILE"):
        list_encryption_keys(settings, stack)


def test_the_secrets_of_an_older_version_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    old = {name: f"{name}-of-old" for name in ("admin_key", "gateway_password", "ingest_password")}
    path.write_text(json.dumps(old))
    found = load_or_create_secrets(path, None)
    assert (found.admin_key, found.ingest_password) == (old["admin_key"], old["ingest_password"])
    assert found.ingest_client_id == "vigie-ingest-b4f417d800793fef"
    # The queue is that session's: another password must not leave it behind.
    with lock_secrets(path):
        changed = change_secrets(path, ingest_password="another")
    assert load_or_create_secrets(path, None) == changed == replace(found, ingest_password="another")


def test_nobody_can_guess_the_name_of_the_consumers_session(tmp_path: Path) -> None:
    one, other = (load_or_create_secrets(tmp_path / f"{name}.json", None) for name in "ab")
    assert one.ingest_client_id != other.ingest_client_id
    assert one.ingest_password not in one.ingest_client_id


def test_the_roles_file_of_keys_is_closed_and_has_former_keys_too(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path)
    first = load_or_create_secrets(layout.secrets_file, None).encryption_key
    new, own = generate_encryption_key(), generate_encryption_key()
    with lock_secrets(layout.secrets_file):
        change_secrets(layout.secrets_file, encryption_key=new, former_encryption_keys=(first,))
    write_key_file(layout, EncryptionSettings())
    assert layout.keys_file.read_text().split() == [new, first]
    assert layout.keys_file.stat().st_mode & 0o777 == 0o600
    write_key_file(layout, EncryptionSettings.model_validate({"keys": [own]}))
    assert layout.keys_file.read_text().split() == [own, new, first]
    assert load_or_create_secrets(layout.secrets_file, None).former_encryption_keys == (first,)


def test_what_was_never_kept_cannot_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    for text in (None, '{"admin_key": "x"}'):
        if text is not None:
            path.write_text(text)
        with pytest.raises(StandaloneError, match="`vigie up` has to have run on it"):
            change_secrets(path, admin_key="y")


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text)
    with pytest.raises(StandaloneError, match=r"secrets\.json"):
        load_or_create_secrets(path, None)


def test_the_run_file_is_closed_to_others_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    reach = StackAddresses("http://127.0.0.1:1", "vg_k", "127.0.0.1", 2, "gateway", "pw", "postgresql://x")
    write_run_file(path, reach, {"api": 3})
    assert path.stat().st_mode & 0o777 == 0o600
    assert '"api": 3' in path.read_text()
    run = json.loads(path.read_text())
    assert (run["console"], run["sign_in"]) == ("http://127.0.0.1:1/console", None)
    write_run_file(path, reach, {}, DemoAccess("vg_d", "operator@demo.example", "k7mq-2vxp"))
    assert json.loads(path.read_text())["sign_in"] == {
        "email": "operator@demo.example",
        "password": "k7mq-2vxp",
    }
    remove_run_file(path)
    remove_run_file(path)
    assert not path.exists()
