"""Counts attempts at codes and passwords, by who makes them and by what they are at: nobody is to guess.

Owns `claim_attempts`. An attempt is counted before it is looked at, in a transaction of its own, and taken
back when it succeeded: whoever claims many boxes is not held up, whoever tries many codes at once is. What is
tried, and how often in how long, is the business of the room that asks. That something was counted is no part
of what a request does: an `Idempotency-Key` stays free.
"""

import math
from collections.abc import Mapping
from typing import Final

from sqlalchemy import text

from app.platform.db.database import Database, suspend_commit_step
from app.platform.kernel.errors import TooManyRequestsError

# Asked first, and without a lock: whoever goes on regardless must not keep the database waiting.
_SHUT: Final = text(
    "SELECT max(extract(epoch FROM a.until - now()))"
    " FROM unnest(CAST(:subjects AS text[]), CAST(:limits AS bigint[])) AS each (subject, most)"
    " JOIN claim_attempts a USING (subject) WHERE a.attempts > each.most AND a.until > now()"
)
# What is over is taken by whoever comes next; what another one is at is left to it.
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
_TAKE_BACK: Final = text(
    "UPDATE claim_attempts SET attempts = attempts - 1 WHERE subject = :subject AND attempts > 0"
)


def make_code_subject(digest: bytes) -> str:
    """By what a code is counted."""
    return f"code:{digest.hex()}"


async def limit_attempt(database: Database, subject: str, *, most: int, window_s: float) -> None:
    """Count an attempt.

    Args:
        database: Where it is counted.
        subject: By what.
        most: How many are allowed in a window.
        window_s: How long a window is, from its first attempt on (seconds).

    Raises:
        TooManyRequestsError: `too_many_attempts`, until the window is over.
    """
    await limit_attempts(database, {subject: most}, window_s=window_s)


async def limit_attempts(database: Database, limits: Mapping[str, int], *, window_s: float) -> None:
    """Count an attempt by several things at once; by none where one of them is used up already.

    Args:
        database: Where it is counted.
        limits: How many are allowed in a window, by what is counted.
        window_s: How long a window is, from its first attempt on (seconds).

    Raises:
        TooManyRequestsError: `too_many_attempts`, until the last window that is used up is over.
    """
    async with database.read() as reader:
        known = {"subjects": list(limits), "limits": list(limits.values())}
        rest_s = (await reader.execute(_SHUT, known)).scalar_one_or_none()
    if rest_s is not None:
        raise _too_many(rest_s)
    used_up = []
    with suspend_commit_step():
        async with database.write() as session:
            # In one order, or two of them could wait for each other.
            for subject in sorted(limits):
                values = {"subject": subject, "window": window_s}
                attempts, rest_s = (await session.execute(_COUNT, values)).one()
                if attempts > limits[subject]:
                    used_up.append(rest_s)
            # Last: whoever holds what it cleared away waits for nobody any more.
            await session.execute(_CLEAR)
    if used_up:
        raise _too_many(max(used_up))


def _too_many(rest_s: float) -> TooManyRequestsError:
    wait_s = max(1, math.ceil(rest_s))
    return TooManyRequestsError(f"Too many attempts: wait {wait_s} s.", retry_after_s=wait_s)


async def forget_attempt(database: Database, *subjects: str) -> None:
    """Forget an attempt that succeeded."""
    with suspend_commit_step():
        async with database.write() as session:
            for subject in sorted(subjects):
                await session.execute(_TAKE_BACK, {"subject": subject})
