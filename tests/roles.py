"""A process's own connections to a test's database: under its role, which may do no more than it needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.platform.db.database import Database


@asynccontextmanager
async def working_as(process: str, database: Database) -> AsyncIterator[Database]:
    """Open a database as `vigie deliver`, `vigie maintain` … would, whoever the test itself logs in as."""
    opened = Database(database.settings, application="tests", role=f"vigie_{process}")
    try:
        yield opened
    finally:
        await opened.close()
