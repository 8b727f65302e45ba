import pytest

from app.backups.recovery_key import RecoveryKeyError, RecoveryPrivateKey, RecoveryPublicKey


def test_what_the_public_part_seals_the_private_part_opens() -> None:
    key = RecoveryPrivateKey.generate()
    public = RecoveryPublicKey.parse(str(key.public))
    sealed = public.seal(b"encryption keys")
    assert b"encryption" not in sealed
    assert sealed != public.seal(b"encryption keys")
    assert RecoveryPrivateKey.parse(f" {key.reveal()}\n").open(sealed) == b"encryption keys"
    assert public.name == key.public.name


def test_another_key_does_not_open_it_nor_does_a_changed_byte_pass() -> None:
    key, other = RecoveryPrivateKey.generate(), RecoveryPrivateKey.generate()
    sealed = bytearray(key.public.seal(b"secret"))
    with pytest.raises(RecoveryKeyError, match=f"{other.public.name} does not open it"):
        other.open(bytes(sealed))
    sealed[-1] ^= 1
    with pytest.raises(RecoveryKeyError, match="or is damaged"):
        key.open(bytes(sealed))
    with pytest.raises(RecoveryKeyError):
        key.open(b"")


def test_a_mistyped_key_is_named_without_being_shown() -> None:
    text = RecoveryPrivateKey.generate().reveal()
    wrong = text[:9] + ("A" if text[9] != "A" else "B") + text[10:]
    with pytest.raises(
        RecoveryKeyError, match="private part of the recovery key has a typing error"
    ) as caught:
        RecoveryPrivateKey.parse(wrong)
    assert wrong[5:20] not in str(caught.value)
    with pytest.raises(RecoveryKeyError, match="public part of a recovery key begins with vgrp_"):
        RecoveryPublicKey.parse(text)
    with pytest.raises(RecoveryKeyError, match="typing error"):
        RecoveryPublicKey.parse("vgrp_%")


def test_the_private_part_does_not_show_in_logs() -> None:
    key = RecoveryPrivateKey.generate()
    assert key.reveal() not in repr(key)
    assert repr(key) == f"RecoveryPrivateKey({key.public.name})"
