import base64
import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.config.platform_settings import InvalidSettingsError
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.secrets.sealing import (
    SealingError,
    SecretSealer,
    derive_key_name,
    generate_encryption_key,
    is_sealed,
)
from app.settings import read_settings

OLD, NEW = b"o" * 32, b"n" * 32


def test_what_is_sealed_opens_for_what_it_was_sealed_for() -> None:
    sealer = SecretSealer([NEW])
    sealed = sealer.seal("hunter2 é", "row:1")
    assert sealer.open(sealed, "row:1") == "hunter2 é"
    assert is_sealed(sealed)
    assert "hunter2" not in sealed
    assert sealed.startswith(sealer.current or "none")
    for context in ("row:2", "", "row:1 "):
        with pytest.raises(SealingError, match="damaged, or was sealed for something else"):
            sealer.open(sealed, context)


def test_nothing_is_sealed_alike_twice() -> None:
    sealer = SecretSealer([NEW])
    assert len({sealer.seal("a", "b") for _ in range(100)}) == 100


def test_each_bit_counts() -> None:
    sealer = SecretSealer([NEW])
    sealed = sealer.seal("hunter2", "row:1")
    head, _, text = sealed.rpartition(":")
    raw = base64.b64decode(text)
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(SealingError):
            sealer.open(f"{head}:{base64.b64encode(changed).decode()}", "row:1")


@pytest.mark.parametrize("text", ["", "whsec_x", "sealed:1:", "sealed:1:abc", "sealed:2:abc:def"])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(SealingError):
        SecretSealer([NEW]).open(text, "row:1")


@pytest.mark.parametrize("text", ["", "AAAA", "é", "=" * 40])
def test_what_is_cut_or_no_base64_does_not_open(text: str) -> None:
    with pytest.raises(SealingError):
        SecretSealer([NEW]).open(f"sealed:1:{derive_key_name(NEW)}:{text}", "row:1")


def test_the_first_key_seals_and_all_of_them_open() -> None:
    old, both = SecretSealer([OLD]), SecretSealer([NEW, OLD])
    sealed = old.seal("hunter2", "row:1")
    assert both.open(sealed, "row:1") == "hunter2"
    anew = both.seal("hunter2", "row:1")
    assert SecretSealer([NEW]).open(anew, "row:1") == "hunter2"
    with pytest.raises(SealingError, match=f"the key {derive_key_name(OLD)}, which is not among") as caught:
        SecretSealer([NEW]).open(sealed, "row:1")
    assert "hunter2" not in str(caught.value)


def test_without_a_key_nothing_is_sealed() -> None:
    sealer = SecretSealer([])
    assert (sealer.ready, sealer.current) == (False, None)
    with pytest.raises(SealingError, match="VIGIE_ENCRYPTION__KEYS"):
        sealer.seal("a", "b")
    with pytest.raises(SealingError):
        sealer.open(SecretSealer([NEW]).seal("a", "b"), "b")


def test_keys_come_from_the_settings_or_a_file(tmp_path: Path) -> None:
    one, other = generate_encryption_key(), generate_encryption_key()
    file = tmp_path / "keys"
    file.write_text(f"{one}\n{other}\n")
    by_file = EncryptionSettings(keys_file=file)
    sealed = SecretSealer.of(by_file).seal("a", "b")
    assert SecretSealer.of(EncryptionSettings.model_validate({"keys": [one]})).open(sealed, "b") == "a"
    assert len(by_file.key_bytes()) == 2
    both = EncryptionSettings.model_validate({"keys": [other], "keys_file": tmp_path / "absent"})
    assert both.key_bytes() == [base64.b64decode(other)]
    assert not SecretSealer.of(EncryptionSettings()).ready
    file.unlink()
    with pytest.raises(SealingError, match="cannot be read"):
        SecretSealer.of(by_file)


@pytest.mark.parametrize("text", ["", "short", base64.b64encode(b"a" * 31).decode(), "é" * 44, "a" * 43])
def test_what_is_no_key_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    for body in ({"keys": [text]}, {"keys_file": file}):
        with pytest.raises(ValidationError) as caught:
            EncryptionSettings.model_validate(body)
        message = caught.value.errors(include_input=False)[0]["msg"]
        assert "bytes in base64" in message or "holds no key" in message
        assert not text or text not in message


def test_the_variable_at_fault_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIGIE_ENCRYPTION__KEYS", '["hunter2"]')
    with pytest.raises(
        InvalidSettingsError, match="VIGIE_ENCRYPTION__KEYS: a key must be 32 bytes"
    ) as caught:
        read_settings()
    assert "hunter2" not in str(caught.value)
    monkeypatch.delenv("VIGIE_ENCRYPTION__KEYS")
    monkeypatch.setenv("VIGIE_ENCRYPTION__KEYS_FILE", str(tmp_path / "absent"))
    with pytest.raises(
        InvalidSettingsError, match=r"VIGIE_ENCRYPTION__KEYS_FILE: .* cannot be read: No such"
    ):
        read_settings()


def _replace(file: Path, *keys: str) -> None:
    replace_file_text(file, "\n".join(keys))


def test_the_file_is_followed(tmp_path: Path) -> None:
    """A key that is put first there seals from then on, without a restart."""
    first, second = generate_encryption_key(), generate_encryption_key()
    file = tmp_path / "keys"
    _replace(file, first)
    one, other = (SecretSealer.of(EncryptionSettings(keys_file=file)) for _ in range(2))
    before = one.seal("a", "row")
    _replace(file, second, first)
    after = one.seal("a", "row")
    assert after.split(":")[2] != before.split(":")[2]
    assert one.names == [after.split(":")[2], before.split(":")[2]]
    # Who has not looked since finds the key when it meets what was sealed with it.
    assert other.open(after, "row") == other.open(before, "row") == "a"
    _replace(file, second)
    assert one.names == [after.split(":")[2]]
    with pytest.raises(SealingError, match="not among"):
        one.open(before, "row")


def test_a_file_that_is_spoiled_changes_nothing_and_is_told_of_once(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key = generate_encryption_key()
    _replace(file, key)
    sealer = SecretSealer.of(EncryptionSettings(keys_file=file))
    names = sealer.names
    with capture_logs() as logs:
        for spoilt in ("hunter2", None, ""):
            file.unlink() if spoilt is None else _replace(file, spoilt)
            assert (sealer.names, sealer.names) == (names, names)
            assert sealer.open(sealer.seal("a", "b"), "b") == "a"
    assert [line["event"] for line in logs] == ["encryption_keys_not_read"] * 3
    assert "hunter2" not in str(logs)
    _replace(file, generate_encryption_key(), key)
    assert len(sealer.names) == 2


def test_a_fingerprint_is_known_again_by_who_has_the_key_alone() -> None:
    old, both = SecretSealer([OLD]), SecretSealer([NEW, OLD])
    (made,) = old.fingerprints(b"hunter2")
    assert both.fingerprints(b"hunter2")[1] == made
    assert made not in both.fingerprints(b"hunter3")
    # Not a bare hash, which would tell a password to who tries a million of them.
    assert made not in {*SecretSealer([NEW]).fingerprints(b"hunter2"), hashlib.sha256(b"hunter2").digest()}
