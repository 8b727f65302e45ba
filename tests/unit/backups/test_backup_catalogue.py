import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.backups.backup_catalogue import (
    BackupEntry,
    UnreadableRepositoryError,
    choose_kind,
    compare_tables,
    decode_tables,
    encode_tables,
    find_recent_backup,
    parse_backups,
)

NOW = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
TABLES = {"samples": (3, "12345678901234567890123"), "boxes": (0, "0")}


def listed(**changes: Any) -> str:  # noqa: ANN401 (whatever pgBackRest lists)
    backup = {
        "label": "20261129-020000F",
        "type": "full",
        "error": False,
        "timestamp": {"start": 1795917600, "stop": 1795917660},
        "info": {"size": 1000, "repository": {"delta": 100, "size": 100}},
    } | changes
    return json.dumps([{"name": "vigie", "backup": [backup]}])


def test_a_backup_of_the_program_has_its_checksums() -> None:
    notes = {
        "vigie-restore-point": "vigie-20261129-020000F-abcd",
        "vigie-tables": encode_tables(TABLES),
        "vigie-verified": "2026-11-29T03:00:00+00:00",
    }
    (found,) = parse_backups(listed(annotation=notes))
    assert found.restore_point == "vigie-20261129-020000F-abcd"
    assert found.tables == TABLES
    assert found.verified_at == datetime(2026, 11, 29, 3, tzinfo=UTC)
    assert found.as_json() == {
        "label": "20261129-020000F",
        "type": "full",
        "started_at": "2026-11-29T02:00:00Z",
        "finished_at": "2026-11-29T02:01:00Z",
        "database_bytes": 1000,
        "repository_bytes": 100,
        "damaged_pages": False,
        "restore_point": "vigie-20261129-020000F-abcd",
        "tables": 2,
        "verified_at": "2026-11-29T03:00:00Z",
    }


def test_a_backup_by_hand_has_none() -> None:
    (found,) = parse_backups(listed(error=True))
    assert (found.restore_point, found.tables, found.verified_at) == (None, {}, None)
    assert found.has_error
    assert parse_backups("[]") == []
    assert parse_backups('[{"name": "vigie"}]') == []


def test_a_repository_that_cannot_be_read_is_not_an_empty_one() -> None:
    # `pgbackrest info` exits with 0, for example with another passphrase.
    unreadable = {"name": "vigie", "repo": [{"status": {"code": 99, "message": "CryptoError"}}], "backup": []}
    with pytest.raises(UnreadableRepositoryError, match="CryptoError"):
        parse_backups(json.dumps([unreadable]))
    missing = {"name": "vigie", "repo": [{"status": {"code": 1, "message": "missing stanza path"}}]}
    assert parse_backups(json.dumps([missing])) == []


def test_fingerprints_of_many_tables_fit_into_one_argument() -> None:
    many = {f"table_{number:03}": (10**9 + number, str(-(10**27) + number)) for number in range(1000)}
    text = encode_tables(many)
    assert decode_tables(text) == many
    assert len(text) < 128 * 1024


def test_each_difference_is_named() -> None:
    assert compare_tables(TABLES, dict(TABLES)) == []
    restored = {"samples": (2, "1"), "boxes": (0, "5"), "extra": (1, "1")}
    assert compare_tables({**TABLES, "sites": (1, "1")}, restored) == [
        "table boxes has its 0 rows, but with other values",
        "table extra is in the restored copy, but was not in the backup",
        "table samples had 3 rows at the backup, and has 2",
        "table sites is missing",
    ]


def backups(*ages: tuple[str, float], has_checksums: bool = True) -> list[BackupEntry]:
    made = []
    for kind, days in ages:
        stop = (NOW - timedelta(days=days)).timestamp()
        notes = {"vigie-restore-point": "point"} if has_checksums else {}
        times = {"start": int(stop), "stop": int(stop)}
        made += parse_backups(listed(type=kind, timestamp=times, annotation=notes))
    return made


def test_one_backup_is_made_a_night() -> None:
    assert find_recent_backup([], NOW, "all") is None
    # The last run of the timer is at 06:45, the next first one at 02:15.
    assert find_recent_backup(backups(("full", 3), ("diff", 19.5 / 24)), NOW, "all") is None
    tonight = backups(("full", 3), ("diff", 4.5 / 24))
    assert find_recent_backup(tonight, NOW, "all") == tonight[1]
    # By hand at 18:45: the run at 02:00 makes the one of the night.
    assert find_recent_backup(backups(("diff", 7.25 / 24)), NOW, "all") is None


def test_a_backup_without_the_checksums_that_it_should_have_is_repeated() -> None:
    full, diff = (backups((kind, 1 / 24), has_checksums=False) for kind in ("full", "diff"))
    assert find_recent_backup(full, NOW, "full") is None
    assert find_recent_backup(diff, NOW, "all") is None
    assert find_recent_backup(diff, NOW, "full") == diff[0]


def test_the_kind_follows_the_age_of_the_newest_full_backup() -> None:
    assert choose_kind([], NOW, 7) == "full"
    assert choose_kind(backups(("full", 6)), NOW, 7) == "diff"
    assert choose_kind(backups(("full", 7.01), ("diff", 1)), NOW, 7) == "full"
    assert choose_kind(backups(("full", 6.99)), NOW, 7) == "full"  # a timer some minutes early
    assert choose_kind(backups(("full", 20), ("full", 1)), NOW, 7) == "diff"
