"""Reads the list of backups as pgBackRest prints it, with the annotations that Vigie adds. Pure.

The repository stores the annotations of a backup beside it, so they survive the loss of the database:

    vigie-restore-point   the named point in the WAL at which `vigie-tables` was computed
    vigie-tables          count and checksum of each table at that point
    vigie-verified        time at which a restore was last compared with `vigie-tables`
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

RESTORE_POINT: Final = "vigie-restore-point"
TABLES: Final = "vigie-tables"
VERIFIED: Final = "vigie-verified"
# The timer tries for four and a half hours from 02:15 on. A backup that was made by hand in the
# evening must not replace the one of the night: it would be 31 hours old when the next one begins.
_NIGHT: Final = timedelta(hours=6)

_UNREADABLE: Final = 99

BackupKind = Literal["full", "diff", "incr"]

type TableFingerprints = Mapping[str, tuple[int, str]]
"""Of each table: the number of its rows, and the sum of their hashes."""


class UnreadableRepositoryError(ValueError):
    """The repository cannot be read: another passphrase, no access. The message is pgBackRest's."""


@dataclass(frozen=True, slots=True)
class BackupEntry:
    """One backup in the repository.

    Attributes:
        label: its name in the repository.
        kind: full, differential (changes since the last full one) or incremental (since the last one).
        started_at: when it began.
        finished_at: when it ended.
        database_bytes: the size of the database.
        repository_bytes: what this backup adds to the repository.
        has_error: whether pgBackRest found damaged pages in the database.
        restore_point: the name of the point at which `tables` was computed; None: it cannot be compared.
        tables: count and checksum of each table at that point.
        verified_at: when a restore was last compared with it; None: never.
    """

    label: str
    kind: BackupKind
    started_at: datetime
    finished_at: datetime
    database_bytes: int
    repository_bytes: int
    has_error: bool
    restore_point: str | None
    tables: TableFingerprints
    verified_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `vigie backup list --json`."""
        return {
            "label": self.label,
            "type": self.kind,
            "started_at": _format_time(self.started_at),
            "finished_at": _format_time(self.finished_at),
            "database_bytes": self.database_bytes,
            "repository_bytes": self.repository_bytes,
            "damaged_pages": self.has_error,
            "restore_point": self.restore_point,
            "tables": len(self.tables),
            "verified_at": None if self.verified_at is None else _format_time(self.verified_at),
        }


def parse_backups(output: str) -> list[BackupEntry]:
    """Parse the output of `pgbackrest info --output=json`, the oldest backup first.

    Raises:
        UnreadableRepositoryError: pgBackRest cannot read the repository, for which `info` does not fail.
    """
    # Messages of errors may contain bare control characters.
    stanzas: list[dict[str, Any]] = json.loads(output, strict=False)
    for repository in (each for stanza in stanzas for each in stanza.get("repo", ())):
        if repository["status"]["code"] == _UNREADABLE:
            raise UnreadableRepositoryError(repository["status"]["message"])
    return [_parse_backup(each) for stanza in stanzas for each in stanza.get("backup", ())]


def _parse_backup(each: dict[str, Any]) -> BackupEntry:
    notes: dict[str, str] = each.get("annotation") or {}
    verified = notes.get(VERIFIED)
    info = each["info"]
    repository = info["repository"]
    return BackupEntry(
        label=each["label"],
        kind=each["type"],
        started_at=_from_epoch(each["timestamp"]["start"]),
        finished_at=_from_epoch(each["timestamp"]["stop"]),
        database_bytes=info["size"],
        # With block incremental backups pgBackRest reports no delta: it counts whole files.
        repository_bytes=repository.get("delta", 0),
        has_error=bool(each.get("error")),
        restore_point=notes.get(RESTORE_POINT),
        tables=decode_tables(notes[TABLES]) if TABLES in notes else {},
        verified_at=None if verified is None else datetime.fromisoformat(verified),
    )


def encode_tables(tables: TableFingerprints) -> str:
    """Encode fingerprints as the text of an annotation, which is an argument of at most 128 KiB."""
    text = json.dumps(tables, sort_keys=True, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def decode_tables(text: str) -> TableFingerprints:
    """Decode the fingerprints of an annotation."""
    found: dict[str, list[Any]] = json.loads(zlib.decompress(base64.b64decode(text)))
    return {table: (int(rows), str(checksum)) for table, (rows, checksum) in found.items()}


def compare_tables(expected: TableFingerprints, restored: TableFingerprints) -> list[str]:
    """Compare a restored database with the backup's fingerprints; returns one line for each difference."""
    findings = []
    for table in sorted(expected.keys() | restored.keys()):
        before, after = expected.get(table), restored.get(table)
        if before == after:
            continue
        if before is None or after is None:
            where = "is in the restored copy, but was not in the backup" if before is None else "is missing"
            findings.append(f"table {table} {where}")
        elif before[0] != after[0]:
            findings.append(f"table {table} had {before[0]} rows at the backup, and has {after[0]}")
        else:
            findings.append(f"table {table} has its {before[0]} rows, but with other values")
    return findings


def has_checksums(kind: BackupKind, checksums: Literal["all", "full"]) -> bool:
    """Return whether backups of a kind get checksums, by VIGIE_BACKUP__CHECKSUMS."""
    return kind == "full" or checksums == "all"


def find_recent_backup(
    backups: list[BackupEntry], now: datetime, checksums: Literal["all", "full"]
) -> BackupEntry | None:
    """Return the backup that makes another one of the same night superfluous; None: one is due.

    A backup that lacks its checksums, since computing them failed, cannot be verified: another one is due.
    """
    complete = [each for each in backups if each.restore_point or not has_checksums(each.kind, checksums)]
    newest = max(complete, key=lambda each: each.started_at, default=None)
    return newest if newest is not None and now - newest.started_at < _NIGHT else None


def choose_kind(backups: list[BackupEntry], now: datetime, full_every_days: int) -> BackupKind:
    """Choose the kind of the next backup: differential until the newest full one is `full_every_days` old."""
    newest = max((each.finished_at for each in backups if each.kind == "full"), default=None)
    # Half a day early: a timer at the same time of each day must not miss the limit by minutes.
    due = timedelta(days=full_every_days) - timedelta(hours=12)
    return "full" if newest is None or now - newest >= due else "diff"


def _from_epoch(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _format_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
