"""Leases queued back-tests to workers and records their outcomes in SQL.

The database clock decides when a lease expires. The attempt number identifies a lease: a worker whose lease
expired, or whose back-test was cancelled, updates no row.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.platform.db.database import RawConnection
from app.rules.backtests.backtest_run import BacktestProgress, BacktestRequest
from app.rules.backtests.prometheus_metrics import BACKTESTS_FINISHED

LEASE_S: Final = 60.0
RESULT_RETENTION_DAYS: Final = 7
ATTEMPTS_LIMIT: Final = 3
"""A back-test fails after so many attempts: it may be the cause why its workers die."""

# Expired leases come first. Then the organisation whose last back-test started longest ago comes first.
_CLAIM: Final = """
WITH turn AS (
    SELECT b.id FROM backtests b
    WHERE (b.state = 'queued' OR (b.state = 'running' AND b.leased_until < now()))
        AND b.organisation_id <> ALL ($3::uuid[])
    ORDER BY b.state = 'running' DESC,
        (SELECT max(o.started_at) FROM backtests o WHERE o.organisation_id = b.organisation_id) NULLS FIRST,
        b.id
    LIMIT 1
    FOR UPDATE OF b SKIP LOCKED
)
UPDATE backtests b SET
    state = CASE WHEN b.attempts >= $2 THEN 'failed' ELSE 'running' END,
    error = CASE WHEN b.attempts >= $2 THEN 'interrupted' END,
    finished_at = CASE WHEN b.attempts >= $2 THEN now() END,
    started_at = now(),
    leased_until = now() + make_interval(secs => $1),
    attempts = b.attempts + 1,
    samples_total = NULL, samples_done = 0, boxes_total = NULL, boxes_done = 0
FROM turn WHERE b.id = turn.id
RETURNING b.id, b.attempts, b.state, b.organisation_id, b.site_id, b.rule::text AS rule,
    b.against::text AS against, b.boxes, b.begins_at, b.ends_at
"""
_HELD: Final = "id = $1 AND attempts = $2 AND state = 'running'"
_RENEW: Final = f"""
UPDATE backtests SET leased_until = now() + make_interval(secs => $3),
    samples_total = $4, samples_done = $5, boxes_total = $6, boxes_done = $7
WHERE {_HELD} RETURNING id
"""  # noqa: S608 (constants)
_FINISH: Final = f"""
UPDATE backtests SET state = $3, result = $4::jsonb, error = $5, finished_at = now(), leased_until = NULL,
    samples_total = $6, samples_done = $7, boxes_total = $8, boxes_done = $9
WHERE {_HELD}
"""  # noqa: S608 (constants)
_RELEASE: Final = f"""
UPDATE backtests SET state = 'queued', leased_until = NULL, attempts = attempts - 1 WHERE {_HELD}
"""  # noqa: S608 (constants)
_COUNT: Final = """
SELECT count(*) FILTER (WHERE state = 'queued') AS waiting,
    count(*) FILTER (WHERE state = 'running') AS running,
    min(created_at) FILTER (WHERE state = 'queued') AS oldest, now() AS now
FROM backtests WHERE state IN ('queued', 'running')
"""
_PRUNE: Final = "DELETE FROM backtests WHERE finished_at < now() - make_interval(days => $1)"


class BacktestLease(NamedTuple):
    """A back-test that this process runs for as long as it renews the lease."""

    id: UUID
    attempt: int
    request: BacktestRequest


class BacktestBacklog(NamedTuple):
    """The numbers of queued and running back-tests, and the age of the oldest queued one (s)."""

    waiting: int
    running: int
    oldest_s: float


async def lease_backtest(connection: RawConnection, busy: Collection[UUID] = ()) -> BacktestLease | None:
    """Lease the next back-test; None if the queue is empty. `busy`: organisations to skip."""
    while (row := await connection.fetchrow(_CLAIM, LEASE_S, ATTEMPTS_LIMIT, list(busy))) is not None:
        if row["state"] != "running":
            BACKTESTS_FINISHED.labels(row["state"]).inc()
            continue
        request = BacktestRequest(
            row["organisation_id"],
            row["site_id"],
            msgspec.json.decode(row["rule"]),
            None if row["against"] is None else msgspec.json.decode(row["against"]),
            row["boxes"],
            row["begins_at"],
            row["ends_at"],
        )
        return BacktestLease(row["id"], row["attempts"], request)
    return None


async def renew_lease(connection: RawConnection, held: BacktestLease, progress: BacktestProgress) -> bool:
    """Renew a lease and record the progress; False if the lease was lost."""
    renewed = await connection.fetchval(_RENEW, held.id, held.attempt, LEASE_S, *_numbers(progress))
    return renewed is not None


async def finish_backtest(
    connection: RawConnection,
    held: BacktestLease,
    progress: BacktestProgress,
    *,
    result: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Record the outcome of a back-test, unless the lease was lost.

    Args:
        connection: to the database.
        held: the lease.
        progress: the final progress.
        result: the result as JSON; None if it failed.
        error: the error code; None if it succeeded.
    """
    state = "done" if error is None else "failed"
    encoded = None if result is None else msgspec.json.encode(result).decode()
    tag = await connection.execute(_FINISH, held.id, held.attempt, state, encoded, error, *_numbers(progress))
    if tag != "UPDATE 0":
        BACKTESTS_FINISHED.labels(state).inc()


async def release_lease(connection: RawConnection, held: BacktestLease) -> None:
    """Put a back-test back into the queue immediately, without counting the attempt."""
    await connection.execute(_RELEASE, held.id, held.attempt)


async def count_unfinished(connection: RawConnection) -> BacktestBacklog:
    """Count the queued and running back-tests."""
    (row,) = await connection.fetch(_COUNT)
    oldest = row["now"] if row["oldest"] is None else row["oldest"]
    return BacktestBacklog(row["waiting"], row["running"], (row["now"] - oldest).total_seconds())


async def prune_backtests(connection: RawConnection) -> None:
    """Delete back-tests that finished more than RESULT_RETENTION_DAYS ago."""
    await connection.execute(_PRUNE, RESULT_RETENTION_DAYS)


def _numbers(progress: BacktestProgress) -> tuple[int | None, int, int | None, int]:
    return progress.samples_total, progress.samples_done, progress.boxes_total, progress.boxes_done
