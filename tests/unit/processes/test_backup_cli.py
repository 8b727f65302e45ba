from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner

from app.backups.backup_catalogue import BackupEntry
from app.backups.recovery_key import RecoveryPrivateKey, RecoveryPublicKey
from app.processes.backup_cli import app, format_bytes, format_list

AT = datetime(2026, 11, 29, 2, 1, tzinfo=UTC)
ENTRY = BackupEntry("20261129-020000F", "full", AT, AT, 2 * 2**30, 3 * 2**20, False, "point", {}, AT)


def test_a_list_for_people() -> None:
    assert list(format_list([])) == ["The repository has no backup."]
    _, line = format_list([ENTRY])
    assert line.split() == [
        *("20261129-020000F", "full", "2026-11-29", "02:01", "2", "GiB", "3", "MiB", "2026-11-29", "02:01")
    ]
    assert format_bytes(2**50) == "1024.0 TiB"


def test_keygen_writes_the_private_part_to_a_new_file_and_prints_the_public_one(tmp_path: Path) -> None:
    out = tmp_path / "key"
    result = CliRunner().invoke(app, ["keygen", "--out", str(out)])
    assert result.exit_code == 0
    private = RecoveryPrivateKey.parse(out.read_text())
    assert out.stat().st_mode & 0o777 == 0o600
    assert private.reveal() not in result.output
    public = result.output.partition("VIGIE_BACKUP__RECOVERY_KEY=")[2].strip()
    assert RecoveryPublicKey.parse(public) == private.public
    again = CliRunner().invoke(app, ["keygen", "--out", str(out)])
    assert again.exit_code == 2
    assert RecoveryPrivateKey.parse(out.read_text()) == private
