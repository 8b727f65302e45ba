from datetime import UTC, datetime, timedelta

import pytest

from app.backups.backup_target import BackupError
from app.processes.restore_cli import parse_moment


def test_a_moment_has_a_zone() -> None:
    assert parse_moment("latest") is None
    assert parse_moment("2026-01-02T03:04:05.25+01:00") == datetime(2026, 1, 2, 2, 4, 5, 250_000, UTC)
    for text, said in (
        ("2026-01-02T03:04:05", "has no time zone"),
        ("yesterday", "write a time like"),
        ((datetime.now(UTC) + timedelta(hours=1)).isoformat(), "is in the future"),
    ):
        with pytest.raises(BackupError, match=said):
            parse_moment(text)
