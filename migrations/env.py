"""Alembic's environment: runs the migrations over asyncpg, with a lock timeout, one migrator at a time."""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.platform.config.settings import DatabaseSettings
from app.platform.db.advisory_locks import MIGRATION
from migrations.tables import load_metadata


def _run(connection: Connection, settings: DatabaseSettings) -> None:
    milliseconds = round(settings.lock_timeout_s * 1000)
    # A migration that waits for a lock makes every later query wait behind it: better to fail and retry.
    connection.execute(text(f"SET lock_timeout = {milliseconds}"))
    connection.execute(text("SET statement_timeout = 0"))
    # Policies hold for owners too: without this a migration would find all tables of tenants empty.
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
            # Several roles may start at once: the second waits here, and then finds nothing to do.
            await guard.execute(text(f"SELECT pg_advisory_lock({MIGRATION})"))
            await guard.commit()
            async with engine.connect() as connection:
                await connection.run_sync(_run, settings)
    finally:
        await engine.dispose()


asyncio.run(_main())
