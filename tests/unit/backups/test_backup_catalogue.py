import json
from datetime import UTC, datetime, timedelta
from typing import Any

from app.backups.backup_catalogue import (
    BackupEntry,
    choose_kind,
    compare_tables,
    decode_tables,
    encode_tables,
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


def backups(*ages: tuple[str, float]) -> list[BackupEntry]:
    made = []
    for kind, days in ages:
        stop = (NOW - timedelta(days=days)).timestamp()
        made += parse_backups(listed(type=kind, timestamp={"start": int(stop), "stop": int(stop)}))
    return made


def test_the_kind_follows_the_age_of_the_newest_full_backup() -> None:
    assert choose_kind([], NOW, 7) == "full"
    assert choose_kind(backups(("full", 6)), NOW, 7) == "diff"
    assert choose_kind(backups(("full", 7.01), ("diff", 1)), NOW, 7) == "full"
    assert choose_kind(backups(("full", 6.99)), NOW, 7) == "full"  # a timer some minutes early
    assert choose_kind(backups(("full", 20), ("full", 1)), NOW, 7) == "diff"
