"""Reads and writes `ingest_positions`: how far each partition is committed, and which worker reads it.

A worker holds the advisory lock of each partition that it reads. The lock ends with its connection. The row
fences a worker whose connection ended without its knowledge: a batch commits only while the row still names
the worker and the position from which the batch was read.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from app.platform.db.advisory_lock_keys import CONSUMER, PARTITION_CLASS
from app.platform.db.database import RawConnection

_CREATE: Final = """
INSERT INTO ingest_positions (partition)
SELECT generate_series(0, $1::integer - 1) WHERE NOT EXISTS (SELECT FROM ingest_positions)
ON CONFLICT DO NOTHING
"""
_COUNT: Final = "SELECT count(*) FROM ingest_positions"
_JOIN: Final = f"SELECT pg_try_advisory_lock_shared({CONSUMER})"
_WORKERS: Final = """
SELECT count(DISTINCT pid) FILTER (WHERE pid < pg_backend_pid()), count(DISTINCT pid) FROM pg_locks
WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND objsubid = 1
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (classid::bigint << 32 | objid::bigint) = $1
"""
# The server ends the session of a worker that is silent: one that was suspended, or whose machine is gone.
_END_IF_SILENT: Final = """
SELECT set_config('idle_session_timeout', '10s', false),
       set_config('idle_in_transaction_session_timeout', '10s', false),
       set_config('tcp_keepalives_idle', '3', false), set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10000', false)
"""
_TRY_LOCK: Final = f"SELECT pg_try_advisory_lock({PARTITION_CLASS}, $1)"
_UNLOCK: Final = f"SELECT pg_advisory_unlock({PARTITION_CLASS}, $1)"
# An outdated log id means that the log was made anew, where positions start again.
_TAKE: Final = """
UPDATE ingest_positions SET worker = $2, acquired_at = now(), log_id = $3,
    position = CASE WHEN log_id IN ('', $3) THEN position ELSE 0 END,
    kept_from = CASE WHEN log_id IN ('', $3) THEN kept_from ELSE 0 END,
    next_kept_from = CASE WHEN log_id IN ('', $3) THEN next_kept_from ELSE 0 END
WHERE partition = $1 RETURNING position
"""
_ADVANCE: Final = """
UPDATE ingest_positions p SET position = c.position, committed_at = now()
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS c (partition, former, position)
WHERE p.partition = c.partition AND p.position = c.former AND p.worker = $4
"""
# What was committed at the step before the last one may go: committed records are kept for one to two steps.
_STEP: Final = """
UPDATE ingest_positions SET kept_from = next_kept_from, next_kept_from = position, next_kept_at = now()
WHERE partition = ANY ($1::int[]) AND next_kept_at <= now() - $2::interval
"""
_KEPT_FROM: Final = "SELECT partition, kept_from FROM ingest_positions WHERE partition = ANY ($1::int[])"
_RESET: Final = """
UPDATE ingest_positions SET position = 0, kept_from = 0, next_kept_from = 0
WHERE partition = ANY ($1::int[]) AND worker = $2
"""
_POSITIONS: Final = "SELECT partition, position FROM ingest_positions WHERE partition = ANY ($1::int[])"
_ALL: Final = """
SELECT p.partition, p.position, p.worker, p.acquired_at, p.committed_at, EXISTS (
    SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.classid::bigint = $1 AND l.objid::bigint = p.partition
) AS owned
FROM ingest_positions p ORDER BY p.partition
"""


class FencedError(Exception):
    """Another worker has taken over a partition of this batch. Nothing of the batch is committed."""


class PartitionCountError(Exception):
    """The settings name another number of partitions than the database."""


class PartitionPosition(NamedTuple):
    """How far a partition is committed.

    Attributes:
        partition: Its number.
        position: The position of the last committed record; 0: none.
        worker: The worker that reads it, or did so last.
        acquired_at: Since when.
        committed_at: When the position last advanced.
        is_owned: Whether that worker still holds its lock.
    """

    partition: int
    position: int
    worker: str | None
    acquired_at: datetime | None
    committed_at: datetime | None
    is_owned: bool


async def create_positions(connection: RawConnection, partitions: int) -> None:
    """Create the rows of all partitions when there are none.

    Raises:
        PartitionCountError: There are rows for another number of partitions.
    """
    await connection.execute(_CREATE, partitions)
    found: int = await connection.fetchval(_COUNT)
    if found != partitions:
        raise PartitionCountError(
            f"VIGIE_MESSAGE_LOG__PARTITIONS is {partitions}, but the log was begun with {found} partitions."
        )


async def check_partition_count(connection: RawConnection, partitions: int) -> None:
    """Refuse a number of partitions other than that of the database.

    Raises:
        PartitionCountError: There are rows for another number of partitions.
    """
    found: int = await connection.fetchval(_COUNT)
    if found and found != partitions:
        raise PartitionCountError(
            f"VIGIE_MESSAGE_LOG__PARTITIONS is {partitions}, but the log was begun with {found} partitions."
        )


async def join_workers(connection: RawConnection) -> bool:
    """Become one of the workers, until the connection ends. False while a consumer without log works.

    From here on the server ends a connection that is silent for ten seconds: use it every second.
    """
    joined: bool = await connection.fetchval(_JOIN)
    if joined:
        await connection.execute(_END_IF_SILENT)
    return joined


async def count_fair_share(connection: RawConnection, partitions: int) -> int:
    """Return how many partitions this worker should have. The shares of all workers add up to all."""
    before, workers = await connection.fetchrow(_WORKERS, CONSUMER) or (0, 1)
    least, rest = divmod(partitions, max(workers, 1))
    return least + (before < rest)


async def take_partition(
    connection: RawConnection, partition: int, *, worker: str, log_id: str
) -> int | None:
    """Take a partition that no worker has.

    Returns:
        The position of its last committed record; None if another worker has it.
    """
    if not await connection.fetchval(_TRY_LOCK, partition):
        return None
    position: int = await connection.fetchval(_TAKE, partition, worker, log_id)
    return position


async def release_partition(connection: RawConnection, partition: int) -> None:
    """Release a partition that this connection has."""
    await connection.execute(_UNLOCK, partition)


async def advance_positions(
    connection: RawConnection, worker: str, advances: Mapping[int, tuple[int, int]]
) -> None:
    """Advance positions in the transaction of the batch that was read up to there.

    Args:
        connection: The connection of the transaction.
        worker: The name under which the partitions were taken.
        advances: partition → (position before the batch, position of its last record).

    Raises:
        FencedError: Another worker has taken one of them.
    """
    ordered = sorted(advances.items())
    status = await connection.execute(
        _ADVANCE,
        [partition for partition, _ in ordered],
        [former for _, (former, _) in ordered],
        [position for _, (_, position) in ordered],
        worker,
    )
    if status != f"UPDATE {len(ordered)}":
        raise FencedError(f"{status} of {len(ordered)} positions")


async def reset_positions(connection: RawConnection, partitions: Collection[int], worker: str) -> None:
    """Begin partitions of this worker anew with the oldest record: the log has lost its newest ones.

    What is read again is found to be stored.
    """
    await connection.execute(_RESET, partitions, worker)


async def read_positions(connection: RawConnection, partitions: Collection[int]) -> dict[int, int]:
    """Read the committed positions of partitions, whoever has them."""
    rows = await connection.fetch(_POSITIONS, partitions)
    return {row["partition"]: row["position"] for row in rows}


async def find_kept_positions(
    connection: RawConnection, partitions: Collection[int], keep: timedelta
) -> dict[int, int]:
    """Return up to which position each partition may be trimmed: what was committed for long enough.

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
