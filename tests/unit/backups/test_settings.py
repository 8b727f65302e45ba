from pathlib import Path

import pytest
from pydantic import ValidationError

from app.backups.recovery_key import RecoveryPrivateKey
from app.backups.settings import BackupSettings, S3Settings

KEY = str(RecoveryPrivateKey.generate().public)


def test_backups_are_off_by_default() -> None:
    assert BackupSettings().public_key is None


def test_a_recovery_key_needs_a_passphrase_and_must_be_the_public_part() -> None:
    with pytest.raises(ValidationError, match="cipher_pass_file must be set"):
        BackupSettings(recovery_key=KEY)
    with pytest.raises(ValidationError, match="begins with vgrp_"):
        BackupSettings(recovery_key=RecoveryPrivateKey.generate().reveal(), cipher_pass_file=Path("/pass"))
    made = BackupSettings(recovery_key=KEY, cipher_pass_file=Path("/pass"))
    assert str(made.public_key) == KEY


def test_s3_needs_all_of_its_parts() -> None:
    s3 = S3Settings(endpoint="s3.example.com", bucket="b", region="r")
    with pytest.raises(ValidationError, match=r"s3\.key_file must be set"):
        BackupSettings(recovery_key=KEY, cipher_pass_file=Path("/pass"), repository="s3", s3=s3)
