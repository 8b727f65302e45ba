"""The ingest role for a test, ready to be published to."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import text

from app.platform.db.database import Database
from tests.scenarios.processes import role, until


@contextlib.asynccontextmanager
async def consuming(database: Database, folder: Path) -> AsyncIterator[None]:
    """Run the consumer, once its session exists: what is published before it, no broker keeps."""
    wanted = text("SELECT count(*) FROM heartbeats WHERE role = 'ingest' AND state = 'consuming'")

    async def ready() -> bool:
        async with database.read() as session:
            return bool(await session.scalar(wanted))

    async with role("ingest", folder):
        await until(ready)
        yield
