"""Runs the migrations over asyncpg, with a lock timeout, one migrator at a time (Alembic's environment)."""

import asyncio
import time
from typing import Final

from alembic import context
from alembic.migration import MigrationContext
from sqlalchemy import Connection, pool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.advisory_lock_keys import MIGRATION
from app.platform.db.primary_connection import PrimaryConnector
from app.platform.db.schema_upgrade import (
    READ_OLDEST_PROGRAM,
    SchemaTooNewError,
    find_revision_fault,
    is_newer_revision,
)
from migrations.tables import load_metadata

# A migration of several tables may wait for a process that waits for the migration. It gives up before
# `deadlock_timeout` (1 s), when PostgreSQL would end one of the two, which may be the process. Besides, every
# later query of the table queues behind it: the pause lets them pass.
_ATTEMPT_S: Final = 0.4
_PAUSE_S: Final = 0.6
_LOCK_CONFLICTS: Final = {"55P03", "40P01"}  # lock timeout, deadlock


def _run(connection: Connection, settings: DatabaseSettings) -> None:
    milliseconds = round(min(settings.lock_timeout_s, _ATTEMPT_S) * 1000)
    connection.execute(text(f"SET lock_timeout = {milliseconds}"))
    connection.execute(text("SET statement_timeout = 0"))
    # Policies apply to owners too: without this a migration would see no rows in the tables of tenants.
    connection.execute(text("SET vigie.reach = 'all'"))
    newer = _find_newer_revision(connection)
    connection.commit()
    if newer is not None:
        # The way back after an upgrade: the former program runs on the schema that stays.
        context.config.attributes["newer_revision"] = newer
        return
    _migrate(connection, settings.lock_timeout_s)


def _migrate(connection: Connection, patience_s: float) -> None:
    """Run the migrations, each in a transaction, and repeat one that does not get its locks.

    Raises:
        DBAPIError: One failed, or had not got its locks when `patience_s` was over.
    """
    reached: str | None = ""
    until = 0.0
    while True:
        context.configure(
            connection=connection, target_metadata=load_metadata(), transaction_per_migration=True
        )
        revision = context.get_context().get_current_revision()
        if revision != reached:
            reached, until = revision, time.monotonic() + patience_s
        connection.rollback()
        try:
            with context.begin_transaction():
                context.run_migrations()
        except DBAPIError as error:
            connection.rollback()
            conflict = getattr(error.orig, "sqlstate", None) in _LOCK_CONFLICTS
            if not conflict or time.monotonic() + _PAUSE_S > until:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _find_newer_revision(connection: Connection) -> str | None:
    """Return the database's revision if it is newer than this program, and serves it.

    Raises:
        SchemaTooNewError: It does not serve it.
    """
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None or not is_newer_revision(revision):
        return None
    oldest = str(connection.scalar(text(READ_OLDEST_PROGRAM)))
    if fault := find_revision_fault(revision, oldest):
        raise SchemaTooNewError(f"The database {fault}.")
    return revision


async def _main() -> None:
    settings: DatabaseSettings = context.config.attributes["settings"]
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=PrimaryConnector(settings.url).connect, poolclass=pool.NullPool
    )
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
