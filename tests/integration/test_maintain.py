"""The maintenance role: one works, and one job that fails does not keep the others from their turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.core.database import Database
from app.core.role import Role
from app.core.settings import Settings
from app.maintain import maintain


@asynccontextmanager
async def maintaining(settings: Settings, database: Database) -> AsyncIterator[Role]:
    role = Role("maintain", settings, database)
    working = asyncio.create_task(maintain(role))
    yield role
    role.stop.set()
    await asyncio.wait_for(working, 10)


async def test_one_works_and_the_other_stands_by(settings: Settings, database: Database) -> None:
    async with maintaining(settings, database) as first:
        await asyncio.sleep(0.5)
        async with maintaining(settings, database) as second:
            states = set()
            for _ in range(30):
                await asyncio.sleep(0.1)
                states.add((first.state, second.state))
            assert states == {("working", "standby")}
            first.stop.set()
            async with asyncio.timeout(5):
                while second.state != "working":  # noqa: ASYNC110 (the role's word)
                    await asyncio.sleep(0.05)


async def test_a_job_that_fails_keeps_no_other_from_its_turn(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    broker = settings.broker.model_copy(update={"password_file": tmp_path / "absent" / "passwords"})
    connection = await database.connect()
    await connection.execute(
        "INSERT INTO heartbeats VALUES ('api', 'gone', 'serving', now() - interval '1 hour')"
    )
    async with maintaining(settings.model_copy(update={"broker": broker}), database):
        async with asyncio.timeout(5):
            while await connection.fetchval("SELECT count(*) FROM heartbeats WHERE instance = 'gone'"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    await connection.close()
