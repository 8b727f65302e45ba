from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.platform.db.database import Database


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A raw connection to this test's database."""
    opened = await database.connect()
    yield opened
    await opened.close()
