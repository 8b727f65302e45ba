"""Counting of attempts by several things at once, while others count."""

import asyncio
from uuid import uuid4

from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.identity import attempt_limiter

EXPIRED = text(
    "INSERT INTO claim_attempts (subject, attempts, until) VALUES (:subject, 1, now() - interval '1 hour')"
)
HELD = text("SELECT attempts FROM claim_attempts WHERE subject = :subject FOR UPDATE")
NOBODY_HAS = text("SELECT attempts FROM claim_attempts WHERE subject = :subject FOR UPDATE NOWAIT")
WAITS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def _waits(database: Database) -> bool:
    """Ask in a transaction of its own: PostgreSQL reads `pg_stat_activity` once in a transaction."""
    async with database.read() as reader:
        return bool(await reader.scalar(WAITS))


async def test_who_waits_for_one_count_holds_no_other_that_comes_later(database: Database) -> None:
    first, last = (f"{letter}:{uuid4()}" for letter in "ab")
    async with database.write() as session:
        for subject in (first, last):
            await session.execute(EXPIRED, {"subject": subject})
    async with database.write() as other:
        await other.execute(HELD, {"subject": first})
        counting = asyncio.create_task(
            attempt_limiter.limit_attempts(database, {first: 5, last: 5}, window_s=60)
        )
        async with asyncio.timeout(20):
            while not await _waits(database):  # noqa: ASYNC110 (what is waited for is told by nobody)
                await asyncio.sleep(0.01)
        # Whoever takes them in the same order goes on, and not the two of them in a circle.
        assert await other.scalar(NOBODY_HAS, {"subject": last}) == 1
    await counting
    async with database.read() as reader:
        for subject in (first, last):
            found = await reader.scalar(
                text("SELECT attempts FROM claim_attempts WHERE subject = :subject"), {"subject": subject}
            )
            assert found == 1
