from pathlib import Path

import pytest

from app.core.encryption_settings import EncryptionSettings
from app.core.keys import well_formed
from app.core.sealing import Sealer, generate_encryption_key
from app.embedded.account import EmbeddedError
from app.embedded.kept import encryption_keys, keep_secrets
from app.embedded.runfile import Reach, remove_run_file, write_run_file


def test_secrets_are_made_once_and_kept_closed(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = keep_secrets(path, None)
    assert well_formed(first.admin_key)
    assert first.gateway_password != first.ingest_password
    assert path.stat().st_mode & 0o777 == 0o600
    assert keep_secrets(path, None) == first


def test_a_key_from_the_settings_wins_and_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = keep_secrets(path, None)
    second = keep_secrets(path, "vg_given_by_the_operator")
    assert second.admin_key == "vg_given_by_the_operator"
    assert second.gateway_password == first.gateway_password
    assert keep_secrets(path, None) == second


def test_what_the_kept_key_sealed_opens_whatever_keys_the_operator_gives(tmp_path: Path) -> None:
    kept, own, older = (generate_encryption_key() for _ in range(3))
    sealed = Sealer.of(EncryptionSettings.model_validate({"keys": [kept]})).seal("secret", "context")
    file = tmp_path / "keys"
    file.write_text(f"{own}\n{older}\n")
    for given, keys in (
        ({}, [kept]),
        ({"keys": [own]}, [own, kept]),
        ({"keys_file": file}, [own, older, kept]),
        ({"keys": [kept, own]}, [kept, own]),
    ):
        found = encryption_keys(EncryptionSettings.model_validate(given), kept)
        assert found == keys
        sealer = Sealer.of(EncryptionSettings.model_validate({"keys": found}))
        assert sealer.open(sealed, "context") == "secret"
        assert sealer.current == Sealer.of(EncryptionSettings.model_validate({"keys": keys[:1]})).current
    settings = EncryptionSettings.model_validate({"keys_file": file})
    file.unlink()
    with pytest.raises(EmbeddedError, match="VIGIE_ENCRYPTION__KEYS_FILE"):
        encryption_keys(settings, kept)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text)
    with pytest.raises(EmbeddedError, match=r"secrets\.json"):
        keep_secrets(path, None)


def test_the_run_file_is_closed_to_others_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    reach = Reach("http://127.0.0.1:1", "vg_k", "127.0.0.1", 2, "gateway", "pw", "postgresql://x")
    write_run_file(path, reach, {"api": 3})
    assert path.stat().st_mode & 0o777 == 0o600
    assert '"api": 3' in path.read_text()
    remove_run_file(path)
    remove_run_file(path)
    assert not path.exists()
