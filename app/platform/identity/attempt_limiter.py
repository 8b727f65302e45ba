"""Limits attempts at codes and passwords per client and per code, against guessing.

Holds `claim_attempts`. An attempt is counted before it is checked, in a separate transaction, and uncounted
when it succeeds: an installer who claims many boxes is not delayed, a client that tries many codes is.
Callers define the limits and windows. Counting is not part of a request's change: it does not use up an
`Idempotency-Key`.
"""

import math
from collections.abc import Mapping
from typing import Final

from sqlalchemy import text

from app.platform.db.commit_steps import suspend_commit_step
from app.platform.db.database import Database, RawConnection
from app.platform.kernel.errors import TooManyRequestsError

# Checked first, without a lock: clients that ignore refusals must not block the database.
_SHUT: Final = text(
    "SELECT max(extract(epoch FROM a.until - now()))"
    " FROM unnest(CAST(:subjects AS text[]), CAST(:limits AS bigint[])) AS each (subject, most)"
    " JOIN claim_attempts a USING (subject) WHERE a.attempts > each.most AND a.until > now()"
)
# Any attempt deletes expired windows, and skips those that another transaction holds.
_CLEAR: Final = text(
    "DELETE FROM claim_attempts WHERE subject IN"
    " (SELECT subject FROM claim_attempts WHERE until < now() LIMIT 100 FOR UPDATE SKIP LOCKED)"
)
_COUNT: Final = text(
    "INSERT INTO claim_attempts AS a (subject, attempts, until)"
    " VALUES (:subject, 1, now() + make_interval(secs => :window))"
    " ON CONFLICT (subject) DO UPDATE SET"
    " attempts = CASE WHEN a.until < now() THEN 1 ELSE a.attempts + 1 END,"
    " until = CASE WHEN a.until < now() THEN excluded.until ELSE a.until END"
    " RETURNING attempts, extract(epoch FROM until - now())"
)
_DELETE: Final = text("DELETE FROM claim_attempts WHERE subject = :subject")
_TAKE_BACK: Final = text(
    "UPDATE claim_attempts SET attempts = attempts - 1 WHERE subject = :subject AND attempts > 0"
)


def make_code_subject(digest: bytes) -> str:
    """Return the subject under which attempts at a code are counted."""
    return f"code:{digest.hex()}"


async def limit_attempt(database: Database, subject: str, *, most: int, window_s: float) -> None:
    """Count an attempt, and refuse it above the limit.

    Args:
        database: Where attempts are counted.
        subject: The client or the code.
        most: Attempts that are allowed in a window.
        window_s: Length of a window, from its first attempt on (seconds).

    Raises:
        TooManyRequestsError: `too_many_attempts`, until the window ends.
    """
    await limit_attempts(database, {subject: most}, window_s=window_s)


async def limit_attempts(database: Database, limits: Mapping[str, int], *, window_s: float) -> None:
    """Count an attempt under several subjects; under none if one of them is over its limit.

    Args:
        database: Where attempts are counted.
        limits: Attempts that are allowed in a window, by subject.
        window_s: Length of a window, from its first attempt on (seconds).

    Raises:
        TooManyRequestsError: `too_many_attempts`, until the last exceeded window ends.
    """
    async with database.read() as reader:
        known = {"subjects": list(limits), "limits": list(limits.values())}
        rest_s = (await reader.execute(_SHUT, known)).scalar_one_or_none()
    if rest_s is not None:
        raise _too_many(rest_s)
    used_up = []
    with suspend_commit_step():
        async with database.write() as session:
            # In a fixed order, to avoid deadlocks.
            for subject in sorted(limits):
                values = {"subject": subject, "window": window_s}
                attempts, rest_s = (await session.execute(_COUNT, values)).one()
                if attempts > limits[subject]:
                    used_up.append(rest_s)
            # Last: a transaction that holds deleted rows must not wait for others.
            await session.execute(_CLEAR)
    if used_up:
        raise _too_many(max(used_up))


def _too_many(rest_s: float) -> TooManyRequestsError:
    wait_s = max(1, math.ceil(rest_s))
    return TooManyRequestsError(f"Too many attempts. Wait {wait_s} s.", retry_after_s=wait_s)


async def forget_attempt(database: Database, *subjects: str) -> None:
    """Uncount an attempt that succeeded."""
    with suspend_commit_step():
        async with database.write() as session:
            for subject in sorted(subjects):
                await session.execute(_TAKE_BACK, {"subject": subject})


async def clear_attempts(database: Database, subject: str) -> None:
    """Delete the count of a subject, so that none of its limits is reached."""
    with suspend_commit_step():
        async with database.write() as session:
            await session.execute(_DELETE, {"subject": subject})


async def delete_expired_attempts(connection: RawConnection) -> None:
    """Delete the counts of expired windows."""
    await connection.execute("DELETE FROM claim_attempts WHERE until < now()")
