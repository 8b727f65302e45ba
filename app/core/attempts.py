"""Counts attempts at codes and passwords, by who makes them and by what they are at: nobody is to guess.

Owns `claim_attempts`. An attempt is counted before it is looked at, in a transaction of its own, and taken
back when it succeeded: whoever claims many boxes is not held up, whoever tries many codes at once is. What is
tried, and how often in how long, is the business of the room that asks.
"""

import math
from typing import Final

from sqlalchemy import text

from app.core.database import Database
from app.core.errors import TooManyRequestsError

# Asked first, and without a lock: whoever goes on regardless must not keep the database waiting.
_SHUT: Final = text(
    "SELECT extract(epoch FROM until - now()) FROM claim_attempts"
    " WHERE subject = :subject AND attempts > :most AND until > now()"
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


def code_of(digest: bytes) -> str:
    """By what a code is counted."""
    return f"code:{digest.hex()}"


async def count(database: Database, subject: str, *, most: int, window_s: float) -> None:
    """Count an attempt.

    Args:
        database: Where it is counted.
        subject: By what.
        most: How many are allowed in a window.
        window_s: How long a window is, from its first attempt on (seconds).

    Raises:
        TooManyRequestsError: `too_many_attempts`, until the window is over.
    """
    async with database.read() as reader:
        known = {"subject": subject, "most": most}
        rest_s = (await reader.execute(_SHUT, known)).scalar_one_or_none()
    if rest_s is not None:
        raise _too_many(rest_s)
    async with database.write() as session:
        await session.execute(_CLEAR)
        values = {"subject": subject, "window": window_s}
        attempts, rest_s = (await session.execute(_COUNT, values)).one()
    if attempts > most:
        raise _too_many(rest_s)


def _too_many(rest_s: float) -> TooManyRequestsError:
    wait_s = max(1, math.ceil(rest_s))
    return TooManyRequestsError(f"Too many attempts: wait {wait_s} s.", retry_after_s=wait_s)


async def take_back(database: Database, *subjects: str) -> None:
    """Forget an attempt that succeeded."""
    async with database.write() as session:
        for subject in sorted(subjects):
            await session.execute(_TAKE_BACK, {"subject": subject})
