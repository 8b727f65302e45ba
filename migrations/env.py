"""Runs the migrations over asyncpg, with a lock timeout, one migrator at a time (Alembic's environment)."""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.advisory_lock_keys import MIGRATION
from migrations.tables import load_metadata


def _run(connection: Connection, settings: DatabaseSettings) -> None:
    milliseconds = round(settings.lock_timeout_s * 1000)
    # Every later query queues behind a migration that waits for a lock, so it fails early and is retried.
    connection.execute(text(f"SET lock_timeout = {milliseconds}"))
    connection.execute(text("SET statement_timeout = 0"))
    # Policies apply to owners too: without this a migration would see no rows in the tables of tenants.
    connection.execute(text("SET vigie.reach = 'all'"))
    connection.commit()
    context.configure(connection=connection, target_metadata=load_metadata(), transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def _main() -> None:
    settings: DatabaseSettings = context.config.attributes["settings"]
    engine = create_async_engine(settings.sqlalchemy_url, poolclass=pool.NullPool)
    try:
        async with engine.connect() as guard:
            # Several processes may start at the same time: the second one waits, and then has nothing to do.
            await guard.execute(text(f"SELECT pg_advisory_lock({MIGRATION})"))
            await guard.commit()
            async with engine.connect() as connection:
                await connection.run_sync(_run, settings)
    finally:
        await engine.dispose()


asyncio.run(_main())
