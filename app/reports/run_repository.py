"""Plans, leases and records the mails of scheduled reports, for the worker, without a tenant scope.

Mails are planned in one transaction, and leased in another. A lease is the due time of the next attempt: if
the process dies, the mail is due again after it.
"""

from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id
from app.reports.report_input import ReportLanguage, ReportLength
from app.reports.schedule_times import find_next_due, find_reported_period, list_due_times

LEASE: Final = timedelta(minutes=5)
"""The longest time of an attempt: a report is made in 50 s, a mail sent in 25 s."""

_KEPT: Final = timedelta(days=400)
_BATCH: Final = 100
_DUE_SCHEDULES: Final = """
SELECT schedule.id, schedule.organisation_id, schedule.site_id, schedule.report, schedule.hour,
    schedule.next_at, site.timezone, now() AS clock
FROM report_schedules AS schedule JOIN registry_sites AS site ON site.id = schedule.site_id
WHERE schedule.enabled AND schedule.next_at <= now()
ORDER BY schedule.next_at LIMIT $1
FOR UPDATE OF schedule SKIP LOCKED
"""
_INSERT: Final = """
INSERT INTO report_runs (id, schedule_id, organisation_id, site_id, report, first_day, last_day, requested,
    due_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, false, now(), now())
ON CONFLICT (schedule_id, report, first_day) WHERE NOT requested DO NOTHING
"""
_ADVANCE: Final = "UPDATE report_schedules SET next_at = $2 WHERE id = $1"
_IS_DUE: Final = "SELECT EXISTS (SELECT FROM report_runs WHERE state = 'pending' AND due_at <= now())"
_LEASE: Final = """
UPDATE report_runs AS run SET due_at = now() + $1::interval, attempts = attempts + 1
FROM report_schedules AS schedule
WHERE schedule.id = run.schedule_id AND run.id = (
    SELECT id FROM report_runs WHERE state = 'pending' AND due_at <= now()
    ORDER BY requested, due_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING run.id, run.schedule_id, run.organisation_id, run.site_id, run.report, run.first_day, run.last_day,
    run.attempts, run.created_at, schedule.recipients, schedule.formats, schedule.language, schedule.alerts
"""
_SENT: Final = """
WITH sent AS (
    UPDATE report_runs SET state = 'sent', sent_at = now(), due_at = NULL, error = NULL, status = $2,
        answer = $3
    WHERE id = $1 RETURNING schedule_id
)
UPDATE report_schedules SET last_sent_at = now(), last_error = NULL
WHERE id = (SELECT schedule_id FROM sent)
"""
_FAILED: Final = """
WITH failed AS (
    UPDATE report_runs SET error = $2, status = $3, answer = $4, due_at = now() + $5::interval,
        state = CASE WHEN $5::interval IS NULL THEN 'failed' ELSE 'pending' END
    WHERE id = $1 RETURNING schedule_id
)
UPDATE report_schedules SET last_error = $2 WHERE id = (SELECT schedule_id FROM failed)
"""
_WAITS: Final = """
WITH waits AS (
    UPDATE report_runs SET error = $2, status = NULL, answer = NULL, due_at = now() + $3::interval,
        attempts = attempts - 1
    WHERE id = $1 RETURNING schedule_id
)
UPDATE report_schedules SET last_error = $2 WHERE id = (SELECT schedule_id FROM waits)
"""
_PRUNE: Final = "DELETE FROM report_runs WHERE state <> 'pending' AND created_at < now() - $1::interval"


class LeasedRun(NamedTuple):
    """A mail that is being made, with what its schedule says now.

    Attributes:
        attempts: The number of this attempt, from 1.
        created_at: When it became due, or was requested.
    """

    id: UUID
    schedule_id: UUID
    organisation_id: UUID
    site_id: UUID
    report: ReportLength
    first_day: date
    last_day: date
    attempts: int
    created_at: datetime
    recipients: list[str]
    formats: list[Any]
    language: ReportLanguage
    alerts: bool


async def plan_due_runs(connection: RawConnection) -> int:
    """Make a pending mail of each period that is due, and compute the next due times, in one transaction.

    Returns:
        The number of schedules that were due.
    """
    async with connection.transaction():
        rows = await connection.fetch(_DUE_SCHEDULES, _BATCH)
        for row in rows:
            zone = ZoneInfo(row["timezone"])
            times = (row["report"], row["hour"], zone)
            for due_at in list_due_times(*times, row["next_at"], row["clock"]):
                period = find_reported_period(row["report"], zone, due_at)
                await connection.execute(
                    _INSERT,
                    new_id(),
                    row["id"],
                    row["organisation_id"],
                    row["site_id"],
                    row["report"],
                    period.first,
                    period.last,
                )
            await connection.execute(_ADVANCE, row["id"], find_next_due(*times, row["clock"]))
    return len(rows)


async def is_run_due(connection: RawConnection) -> bool:
    """Return whether a mail is due."""
    return bool(await connection.fetchval(_IS_DUE))


async def lease_due_run(connection: RawConnection) -> LeasedRun | None:
    """Lease the mail that has been due longest; None: no mail is due.

    Mails that people requested come last: an organisation may request many, and all share one worker.
    """
    row = await connection.fetchrow(_LEASE, LEASE)
    return None if row is None else LeasedRun(**row)


async def record_sent(
    connection: RawConnection, run_id: UUID, status: int | None, answer: str | None
) -> None:
    """Record that the mail server accepted a mail."""
    await connection.execute(_SENT, run_id, status, answer)


async def record_failure(
    connection: RawConnection,
    run_id: UUID,
    error: str,
    *,
    status: int | None = None,
    answer: str | None = None,
    retry_after: timedelta | None,
) -> None:
    """Record that an attempt failed.

    Args:
        connection: The connection.
        run_id: The mail.
        error: The reason, as a code.
        status: The mail server's reply code.
        answer: The mail server's response.
        retry_after: The time until the next attempt; None: the mail is given up.
    """
    await connection.execute(_FAILED, run_id, error, status, answer, retry_after)


async def record_wait(connection: RawConnection, run_id: UUID, error: str, wait: timedelta) -> None:
    """Record that a mail waits, with the reason as a code: it was not tried, so no attempt is used up."""
    await connection.execute(_WAITS, run_id, error, wait)


async def delete_old_runs(connection: RawConnection) -> None:
    """Delete mails that are finished and older than a year."""
    await connection.execute(_PRUNE, _KEPT)
