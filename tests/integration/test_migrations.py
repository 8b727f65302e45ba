"""The migrations on a real server: up, down, up again, and what they leave is what the models say."""

import asyncio
import sys
import uuid

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.database import Base
from app.core.migrate import downgrade, head, upgrade
from app.core.settings import DatabaseSettings
from app.embedded.postgres import PrivatePostgres
from app.sites.catalogue import CATALOGUE


async def fresh(postgres: PrivatePostgres) -> DatabaseSettings:
    return DatabaseSettings(url=await postgres.create_database(f"migrate_{uuid.uuid4().hex[:8]}"))


async def test_down_to_nothing_and_up_again(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "base")
    await asyncio.to_thread(upgrade, settings)
    await asyncio.to_thread(upgrade, settings)
    connection = await asyncpg.connect(settings.url)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == head()
    await connection.close()


async def test_two_migrators_at_once_do_no_harm(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "base")
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app",
            "migrate",
            env={"VIGIE_DATABASE__URL": settings.url, "PATH": "/usr/bin:/bin"},
        )
        for _ in range(2)
    ]
    assert [await process.wait() for process in processes] == [0, 0]


async def test_the_models_and_the_schema_agree(database_url: str) -> None:
    engine = create_async_engine(DatabaseSettings(url=database_url).sqlalchemy_url)

    def compare(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        # Indexes and constraints stand in the migrations alone; `metrics` and `registry` have no model.
        wanted = {"add_table", "add_column", "remove_column", "modify_type", "modify_nullable"}
        found = []
        for difference in compare_metadata(context, Base.metadata):
            steps = difference if isinstance(difference, list) else [difference]
            found += [str(step) for step in steps if step[0] in wanted]
        return found

    async with engine.connect() as connection:
        assert await connection.run_sync(compare) == []
    await engine.dispose()


async def test_each_metric_has_its_column_and_its_row(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    columns = await connection.fetch(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'samples'"
    )
    types = {name: kind for name, kind in columns}  # noqa: C416 (records are not pairs to `dict`)
    rows = {row["name"]: row for row in await connection.fetch("SELECT * FROM metrics")}
    assert rows.keys() == {metric.name for metric in CATALOGUE}
    for metric in CATALOGUE:
        assert types[metric.name] == metric.storage
        row = rows[metric.name]
        assert (row["unit"], row["minimum"], row["maximum"]) == (metric.unit, metric.minimum, metric.maximum)
    await connection.close()


async def test_a_migration_that_cannot_get_its_lock_fails_soon(postgres: PrivatePostgres) -> None:
    settings = (await fresh(postgres)).model_copy(update={"lock_timeout_s": 0.2})
    connection = await asyncpg.connect(settings.url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE boxes IN ACCESS SHARE MODE")
        failed = None
        try:
            await asyncio.to_thread(downgrade, settings, "base")
        except Exception as error:  # noqa: BLE001 (SQLAlchemy's and asyncpg's names for it differ)
            failed = error
        assert "lock timeout" in str(failed)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == head()
    await connection.close()
