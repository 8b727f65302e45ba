"""Reads and writes `ingest_positions`: how far each partition is committed, and which worker reads it.

A worker holds the advisory lock of each partition that it reads. The lock ends with its connection. The row
fences a worker whose connection ended without its knowledge: a batch commits only while the row still names
the worker and the position from which the batch was read.

The rows also name the log that they belong to (`log_ownership` compares it with the settings), and have a
digest of the record at the position, by which a worker recognises a log that has lost its newest records.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from app.platform.db.advisory_lock_keys import CONSUMER, PARTITION_CLASS
from app.platform.db.database import RawConnection
from app.platform.db.process_lock import END_SILENT_SESSION

_JOIN: Final = f"SELECT pg_try_advisory_lock_shared({CONSUMER})"
_WORKERS: Final = """
SELECT count(DISTINCT pid) FILTER (WHERE pid < pg_backend_pid()), count(DISTINCT pid) FROM pg_locks
WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND objsubid = 1
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (classid::bigint << 32 | objid::bigint) = $1
"""
_TRY_LOCK: Final = f"SELECT pg_try_advisory_lock({PARTITION_CLASS}, $1)"
_UNLOCK: Final = f"SELECT pg_advisory_unlock({PARTITION_CLASS}, $1)"
# An outdated log id means that the log was recreated, where positions start again.
_TAKE: Final = """
UPDATE ingest_positions p SET worker = $2, acquired_at = now(), log_id = $3,
    position = CASE WHEN p.log_id IN ('', $3) THEN p.position ELSE 0 END,
    record_digest = CASE WHEN p.log_id IN ('', $3) THEN p.record_digest END,
    kept_from = CASE WHEN p.log_id IN ('', $3) THEN p.kept_from ELSE 0 END,
    next_kept_from = CASE WHEN p.log_id IN ('', $3) THEN p.next_kept_from ELSE 0 END,
    lost_at = CASE WHEN p.log_id IN ('', $3) OR p.position = 0 THEN p.lost_at ELSE now() END
FROM ingest_positions former
WHERE p.partition = $1 AND former.partition = $1
RETURNING p.position, p.record_digest, former.log_id NOT IN ('', $3) AND former.position > 0
"""
_ADVANCE: Final = """
UPDATE ingest_positions p SET position = c.position, record_digest = c.digest, committed_at = now()
FROM unnest($1::int[], $2::bigint[], $3::bigint[], $5::bigint[]) AS c (partition, former, position, digest)
WHERE p.partition = c.partition AND p.position = c.former AND p.worker = $4
"""
_NOTE_LOST: Final = """
UPDATE ingest_positions SET lost_records = lost_records + $2, lost_at = now()
WHERE partition = $1 AND worker = $3
"""
# Records that were committed at the step before the last one may be removed: they are retained for one to
# two steps.
_STEP: Final = """
UPDATE ingest_positions SET kept_from = next_kept_from, next_kept_from = position, next_kept_at = now()
WHERE partition = ANY ($1::int[]) AND next_kept_at <= now() - $2::interval
"""
_KEPT_FROM: Final = "SELECT partition, kept_from FROM ingest_positions WHERE partition = ANY ($1::int[])"
_RESET: Final = """
UPDATE ingest_positions SET position = 0, record_digest = NULL, kept_from = 0, next_kept_from = 0
WHERE partition = ANY ($1::int[]) AND worker = $2
"""
_POSITIONS: Final = "SELECT partition, position FROM ingest_positions WHERE partition = ANY ($1::int[])"
_ALL: Final = """
SELECT p.partition, p.position, p.worker, p.acquired_at, p.committed_at, p.lost_records, p.lost_at, EXISTS (
    SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.classid::bigint = $1 AND l.objid::bigint = p.partition
) AS owned
FROM ingest_positions p ORDER BY p.partition
"""


class FencedError(Exception):
    """Another worker has taken over a partition of this batch. Nothing of the batch is committed."""


class LogChangedError(Exception):
    """The log is not the one that was read: recreated, closed, or without its newest records. Join again."""


class TakenPartition(NamedTuple):
    """A partition that a worker has taken.

    Attributes:
        position: The position of its last committed record; 0: none.
        digest: The digest of that record; None: not known.
        is_recreated: Whether the log is another one than that of the former position, which is 0 now. Records
            of the former log that were not read are lost.
    """

    position: int
    digest: int | None
    is_recreated: bool


class PositionAdvance(NamedTuple):
    """The part of a batch that one partition has.

    Attributes:
        former: The position before the batch.
        position: The position of its last record.
        digest: The digest of that record.
    """

    former: int
    position: int
    digest: int


class PartitionPosition(NamedTuple):
    """The committed position of a partition.

    Attributes:
        partition: Its number.
        position: The position of the last committed record; 0: none.
        worker: The worker that reads it, or did so last.
        acquired_at: Since when.
        committed_at: When the position last advanced.
        lost_records: Records that the log has removed before they were read, since it came into use.
        lost_at: When that was last found, or that the log was recreated or has lost its newest records; None:
            never.
        is_owned: Whether that worker still holds its lock.
    """

    partition: int
    position: int
    worker: str | None
    acquired_at: datetime | None
    committed_at: datetime | None
    lost_records: int
    lost_at: datetime | None
    is_owned: bool


async def join_workers(connection: RawConnection) -> bool:
    """Become one of the workers, until the connection ends. False while a consumer without log works.

    From here on the server ends a connection that is silent for ten seconds: use it every second.
    """
    joined: bool = await connection.fetchval(_JOIN)
    if joined:
        await connection.execute(END_SILENT_SESSION)
    return joined


async def count_fair_share(connection: RawConnection, partitions: int) -> int:
    """Return how many partitions this worker should have. The shares of all workers add up to all."""
    before, workers = await connection.fetchrow(_WORKERS, CONSUMER) or (0, 1)
    least, rest = divmod(partitions, max(workers, 1))
    return least + (before < rest)


async def take_partition(
    connection: RawConnection, partition: int, *, worker: str, log_id: str
) -> TakenPartition | None:
    """Take a partition; None if another worker has it."""
    if not await connection.fetchval(_TRY_LOCK, partition):
        return None
    row = await connection.fetchrow(_TAKE, partition, worker, log_id)
    return None if row is None else TakenPartition(*row)


async def release_partition(connection: RawConnection, partition: int) -> None:
    """Release a partition that this connection has."""
    await connection.execute(_UNLOCK, partition)


async def advance_positions(
    connection: RawConnection, worker: str, advances: Mapping[int, PositionAdvance]
) -> None:
    """Advance positions in the transaction of the batch that was read up to there.

    Args:
        connection: The connection of the transaction.
        worker: The name under which the partitions were taken.
        advances: The advances by partition.

    Raises:
        FencedError: Another worker has taken one of them.
    """
    partitions = sorted(advances)
    ordered = [advances[partition] for partition in partitions]
    status = await connection.execute(
        _ADVANCE,
        partitions,
        [each.former for each in ordered],
        [each.position for each in ordered],
        worker,
        [each.digest for each in ordered],
    )
    if status != f"UPDATE {len(ordered)}":
        raise FencedError(f"{status} of {len(ordered)} positions")


async def reset_positions(connection: RawConnection, partitions: Collection[int], worker: str) -> None:
    """Let partitions of this worker be read from the oldest record again: the log has lost its newest ones.

    Records that are read again are recognised as stored.
    """
    await connection.execute(_RESET, partitions, worker)


async def note_lost_records(connection: RawConnection, partition: int, count: int, worker: str) -> None:
    """Note records of a partition of this worker that the log removed before they were read."""
    await connection.execute(_NOTE_LOST, partition, count, worker)


async def read_positions(connection: RawConnection, partitions: Collection[int]) -> dict[int, int]:
    """Read the committed positions of partitions, whoever has them."""
    rows = await connection.fetch(_POSITIONS, partitions)
    return {row["partition"]: row["position"] for row in rows}


async def find_kept_positions(
    connection: RawConnection, partitions: Collection[int], keep: timedelta
) -> dict[int, int]:
    """Return up to which position each partition may be trimmed: records that were committed long enough ago.

    Args:
        connection: The connection.
        partitions: The partitions of this worker.
        keep: How long committed records are kept at least; they are kept for twice that at most.
    """
    await connection.execute(_STEP, partitions, keep)
    rows = await connection.fetch(_KEPT_FROM, partitions)
    return {row["partition"]: row["kept_from"] for row in rows}


async def list_positions(connection: RawConnection) -> list[PartitionPosition]:
    """List the position and the worker of each partition; empty if there is no log."""
    return [PartitionPosition(*row) for row in await connection.fetch(_ALL, PARTITION_CLASS)]
