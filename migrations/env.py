"""Alembic's environment: runs the migrations over asyncpg, with a lock timeout, one migrator at a time."""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.alerts import models as _alerts
from app.core import auth as _auth
from app.core.database import Base
from app.core.locks import MIGRATION
from app.core.settings import DatabaseSettings
from app.incidents import models as _incidents
from app.observations import models as _observations
from app.rules import models as _rules
from app.sites import models as _sites
from app.webhooks import models as _webhooks

# Imported so that their tables are in the metadata, which autogenerate compares.
_TABLES = (_alerts, _auth, _incidents, _observations, _rules, _sites, _webhooks)


def _run(connection: Connection, settings: DatabaseSettings) -> None:
    milliseconds = round(settings.lock_timeout_s * 1000)
    # A migration that waits for a lock makes every later query wait behind it: better to fail and retry.
    connection.execute(text(f"SET lock_timeout = {milliseconds}"))
    connection.execute(text("SET statement_timeout = 0"))
    # Policies hold for owners too: without this a migration would find all tables of tenants empty.
    connection.execute(text("SET vigie.reach = 'all'"))
    connection.commit()
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
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
