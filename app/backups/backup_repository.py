"""Reads and writes the tables of backups. `maintain` reads the list; a superuser writes it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import asyncpg

from app.backups.backup_catalogue import BackupEntry
from app.backups.pgbackrest_config import STANZA_OPTION
from app.platform.secrets.resealing import count_sealed_values

_BUNDLE: Final = """
INSERT INTO recovery_bundles (part, recipient, key_names, unreadable, sealed_at, checked_at, content)
VALUES ($1, $2, $3, $4, now(), now(), $5)
ON CONFLICT (part) DO UPDATE SET recipient = excluded.recipient, key_names = excluded.key_names,
    unreadable = excluded.unreadable, sealed_at = excluded.sealed_at, checked_at = excluded.checked_at,
    content = excluded.content
"""


BundlePart = Literal["keys", "files"]
"""`maintain` seals the `keys`, which it has. `vigie backup seal` seals the `files`, which it may read."""


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A sealed part of the recovery bundle.

    Attributes:
        recipient: the name of the recovery key that opens it.
        key_names: the names of the encryption keys in it.
        unreadable: files that should be in it, and could not be read.
        sealed_at: when it was sealed.
        checked_at: when `maintain` last found that it is up to date.
        content: the sealed bytes.
    """

    recipient: str
    key_names: Sequence[str]
    unreadable: Sequence[str]
    sealed_at: datetime
    checked_at: datetime
    content: bytes


async def store_bundle(
    connection: asyncpg.Connection,
    part: BundlePart,
    *,
    recipient: str,
    key_names: Sequence[str],
    unreadable: Sequence[str],
    content: bytes,
) -> None:
    """Replace a part of the bundle."""
    await connection.execute(_BUNDLE, part, recipient, list(key_names), list(unreadable), content)


async def delete_files_bundle(connection: asyncpg.Connection) -> None:
    """Delete the part with the files."""
    await connection.execute("DELETE FROM recovery_bundles WHERE part = 'files'")


async def mark_keys_checked(connection: asyncpg.Connection) -> None:
    """Record that the sealed keys are up to date; at most every ten minutes, to write little WAL."""
    await connection.execute(
        "UPDATE recovery_bundles SET checked_at = now() "
        "WHERE part = 'keys' AND checked_at < now() - interval '10 minutes'"
    )


async def read_bundles(connection: asyncpg.Connection) -> dict[BundlePart, StoredBundle]:
    """Read the parts that were sealed."""
    rows = await connection.fetch(
        "SELECT part, recipient, key_names, unreadable, sealed_at, checked_at, content FROM recovery_bundles"
    )
    return {part: StoredBundle(*row) for part, *row in rows}


async def find_lost_keys(connection: asyncpg.Connection, key_names: Collection[str]) -> list[str]:
    """Return the keys of the sealed bundle that values of the database need, and a process does not have.

    A key that no value needs is none of them: `vigie secrets forget` removes such keys.

    Args:
        connection: A connection of `maintain`'s role.
        key_names: The names of the keys that the process has.
    """
    stored = (await read_bundles(connection)).get("keys")
    absent = set() if stored is None else set(stored.key_names) - set(key_names)
    if not absent:
        return []
    return sorted(absent & {use.key for use in await count_sealed_values(connection) if use.key is not None})


async def replace_backup_list(connection: asyncpg.Connection, backups: Sequence[BackupEntry]) -> None:
    """Replace the database's list of backups by the repository's, which has newer ones after a restore."""
    async with connection.transaction():
        labels = [each.label for each in backups]
        await connection.execute("DELETE FROM backups WHERE label <> ALL ($1)", labels)
        await connection.executemany(
            "INSERT INTO backups (label, kind, finished_at, verified_at) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (label) DO UPDATE SET finished_at = excluded.finished_at, "
            "verified_at = excluded.verified_at "
            "WHERE backups.verified_at IS DISTINCT FROM excluded.verified_at",
            [(each.label, each.kind, each.finished_at, each.verified_at) for each in backups],
        )


class BackupTimes(NamedTuple):
    """The end times of the newest backup and of the newest verified one; None: there is none."""

    newest: datetime | None
    verified: datetime | None


async def read_backup_times(connection: asyncpg.Connection) -> BackupTimes:
    """Read when the newest backups ended."""
    row = await connection.fetchrow(
        "SELECT max(finished_at), max(finished_at) FILTER (WHERE verified_at IS NOT NULL) FROM backups"
    )
    return BackupTimes(*row) if row else BackupTimes(None, None)


class ArchiveState(NamedTuple):
    """The state of the WAL archive.

    Attributes:
        is_failing: archiving to the repository is off, or the newest attempt failed.
        failures: failed attempts since the statistics were reset.
        lag_bytes: WAL that is written, and not archived.
    """

    is_failing: bool
    failures: int
    lag_bytes: int


# `last_archived_wal` may also be a history or backup file, whose first 24 characters name a segment, or
# only a timeline.
# The statistics are those of this host: from before, if it was the primary earlier.
_ARCHIVE: Final = """
SELECT current_setting('archive_mode') = 'off'
        OR strpos(current_setting('archive_command'), $1) = 0
        OR coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS is_failing,
    failed_count AS failures,
    CASE WHEN last_archived_wal ~ '^[0-9A-F]{24}' THEN greatest(0, (pg_current_wal_lsn() - '0/0'
        - ((('x' || substr(last_archived_wal, 9, 8))::bit(32)::bigint::numeric * 4294967296)
        + (('x' || substr(last_archived_wal, 17, 8))::bit(32)::bigint + 1)
        * pg_size_bytes(current_setting('wal_segment_size'))))) ELSE 0 END::bigint AS lag_bytes
FROM pg_stat_archiver
"""


async def read_archive_state(connection: asyncpg.Connection) -> ArchiveState:
    """Read the state of the WAL archive."""
    row = await connection.fetchrow(_ARCHIVE, STANZA_OPTION)
    return ArchiveState(*row) if row else ArchiveState(is_failing=True, failures=0, lag_bytes=0)


def compute_age_s(at: datetime) -> float:
    """Return the age of a time (seconds)."""
    return (datetime.now(UTC) - at).total_seconds()
