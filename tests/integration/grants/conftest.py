"""A connection with the rights of the tables' owner."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.platform.db.database import Database


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()
