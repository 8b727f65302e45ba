import asyncio
import gc

import asyncpg

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import Database
from app.platform.observability.gauge_sampling import (
    POOL_IN_USE,
    POOL_SIZE,
    POOL_WAITING,
    update_sampled_gauges,
)
from app.settings import VigieSettings


def shown(pool: str) -> tuple[float, float, float]:
    update_sampled_gauges()
    size, in_use, waiting = (
        each.labels(pool)._value.get() for each in (POOL_SIZE, POOL_IN_USE, POOL_WAITING)
    )
    return size, in_use, waiting


async def _acquire(pool: asyncpg.Pool) -> object:
    return await pool.acquire()


async def test_a_raw_pool_shows_its_use_and_who_waits(database: Database) -> None:
    pool = await database.pool(size=2, name="test-raw")
    assert shown("test-raw") == (2, 0, 0)
    first, _ = await pool.acquire(), await pool.acquire()
    third = asyncio.create_task(_acquire(pool))
    await asyncio.sleep(0)
    assert shown("test-raw") == (2, 2, 1)
    await pool.release(first)
    await third
    assert shown("test-raw") == (2, 2, 0)
    pool.terminate()


async def test_the_pool_of_requests_shows_its_use_and_who_waits(settings: VigieSettings) -> None:
    small = DatabaseSettings.model_validate({**settings.database.model_dump(), "pool_size": 1})
    gc.collect()  # the engines of earlier tests count until they are gone
    before = shown("requests")
    database = Database(small, application="vigie-test")
    async with database.read() as session:
        await session.connection()

        async def wait() -> None:
            async with database.read() as other:
                await other.connection()

        waiting = asyncio.create_task(wait())
        while shown("requests")[2] == before[2]:  # noqa: ASYNC110 (it waits on purpose)
            await asyncio.sleep(0.01)
        assert [now - then for now, then in zip(shown("requests"), before, strict=True)] == [1, 1, 1]
    await waiting
    assert [now - then for now, then in zip(shown("requests"), before, strict=True)] == [1, 0, 0]
    await database.close()
